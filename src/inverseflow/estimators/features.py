"""Anomalies in images, with a map of where they are, by flows of the features of a network."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.estimators.base import (
    Array,
    Options,
    damage_explained,
    finite,
    read_densities,
    read_estimator,
    write_estimator,
)
from inverseflow.estimators.detector import Detector
from inverseflow.flows import RealNVP
from inverseflow.training import fit
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import derived_seed, seeded

_IMAGES_AT_ONCE = 16
_FITTING: Options = {"max_steps": 2000, "patience": 5, "progress": False}
_LEARNED = ("peaks_", "offset_", "false_alarm_interval_")


class FeatureFlowDetector(Detector):
    r"""Detector of anomalous images: conditional flows of a network's features at each position, given the position.

    The features of a layer at a position are a vector. A flow for each layer learns its density in normal images, given
    a code of the position. The normality of a pixel is

    .. math:: \sum_l \exp\!\Big(\frac{\log p_l(v_l \mid \text{position})}{C_l} - m_l\Big)

    with the number of channels C and the largest value m in held-out images, each layer interpolated to the size of the
    image. An image is as anomalous as its worst pixel. The network stays as it is; it may be pretrained, or random.

    Args:
        network: maps images ``(N, *shape)``, as it expects them, to anything.
        layers: names of submodules, each with feature maps ``(N, C, H, W)``, as ``network.named_modules()`` has them.
        steps: steps of each flow.
        width: hidden units of its networks; None for twice the number of channels.
        position_channels: length of the code of a position, a multiple of 4; 0 for none, so that a feature is as normal
            in one place as in another.
        log_det: whether the map is of densities. Without, it is of the densities of the latents alone, as the code of
            the publication has it.
        vectors: largest number of vectors of each layer that train.
        false_alarm_rate: rate of false alarms among normal images; see `DensityOutlierDetector`. None trains with all
            images and promises no rate.
        calibration: share of the images that is held out to set the threshold, at least 100.
        fit_options: arguments of `inverseflow.fit`.
        random_state: seed of the weights, the vectors, the held-out images and the training.

    Attributes:
        flows_: the flow of each layer.
        channels_: the channels of each layer that are not constant; the others are left out.
        peaks_: m of each layer.
        offset_: the threshold.
        false_alarm_interval_: Clopper–Pearson interval of the rate of false alarms at a level of 95 %.

    Reference:
        Gudovskiy et al., `CFLOW-AD <https://arxiv.org/abs/2107.12571>`_, WACV 2022, section 3. Its flows minimize
        another loss, whose gradient vanishes where a feature is likely; these maximize the likelihood.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh())
        >>> images = torch.rand(9, 1, 8, 8)
        >>> options = {"max_steps": 5, "progress": False}
        >>> detector = FeatureFlowDetector(network, ["1"], steps=2, false_alarm_rate=None, fit_options=options)
        >>> detector.fit(images).anomaly_map(images).shape, detector.predict(images).shape
        ((9, 8, 8), (9,))
    """

    flows_: list[RealNVP]
    channels_: list[Tensor]
    peaks_: Array

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        *,
        steps: int = 8,
        width: int | None = None,
        position_channels: int = 128,
        log_det: bool = True,
        vectors: int = 50_000,
        false_alarm_rate: float | None = 0.01,
        calibration: float = 0.2,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        self.network = network
        self.layers = layers
        self.steps = steps
        self.width = width
        self.position_channels = position_channels
        self.log_det = log_det
        self.vectors = vectors
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.fit_options = fit_options
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the features of normal images.

        Args:
            X: normal images ``(N, *shape)``.
            y: ignored.

        Raises:
            DataError: if images or features are not finite, all channels of a layer are constant, or there are too few
                images for a threshold.
            OptionError: if the network has no such layer, or it has no feature maps.
        """
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        images = _images(X)
        train, held_out = self._divided(len(images), self.calibration, seed)
        self.flows_, self.channels_ = [], []
        for number, (vectors, places) in enumerate(self._sampled(images[train], seed)):
            deviation = vectors.std(0)
            kept = (deviation > 1e-6 * deviation.max()).nonzero().flatten()
            if len(kept) < 2:
                raise DataError(f"{len(kept)} channels of layer {self.layers[number]!r} vary, and a flow needs 2")
            own = derived_seed(seed, number) % 2**31
            with seeded(own, "weights"):
                flow = RealNVP(
                    (len(kept),),
                    steps=self.steps,
                    zero_start=True,  # as the normal distribution of the channels
                    width=2 * len(kept) if self.width is None else self.width,
                    depth=1,
                    context_channels=self.position_channels or None,
                )
            context = places if self.position_channels else None
            fit(flow, vectors[:, kept], context, **{**_FITTING, "seed": own, **(self.fit_options or {})})
            self.flows_.append(flow)
            self.channels_.append(kept)
        return self.calibrate(images[held_out])

    def calibrate(self, X: Any) -> Self:
        """Set the peaks and the threshold anew, as after a change of `log_det` or `false_alarm_rate`.

        Args:
            X: normal images ``(N, *shape)`` that trained nothing, at least 100 unless no rate is stated.

        Raises:
            DataError: if there are too few images for a threshold, or they are not finite.
        """
        check_is_fitted(self)
        images = _images(X)
        self.peaks_ = np.zeros(len(self.layers))
        normality = self._normality(images)
        self.peaks_ = np.array([float(maps.max()) for maps in normality])
        self._calibrate(-self._combined(normality, images).amax((1, 2)).double().numpy())
        return self

    def anomaly_map(self, X: Any) -> Array:
        """Return how anomalous each pixel ``(N, H, W)`` is; the most normal pixels have about 0."""
        check_is_fitted(self)
        images = _images(X)
        return self._combined(self._normality(images), images).numpy()

    def score_samples(self, X: Any) -> Array:
        """Return minus the largest value of each anomaly map ``(N,)``; less is more anomalous."""
        scores: Array = -self.anomaly_map(X).astype(np.float64).max((1, 2))
        return finite(scores)

    def save(self, folder: str | Path) -> None:
        """Write the trained detector into a folder, JSON and safetensors, without the network.

        `random_state` is kept if it is a whole number.

        Args:
            folder: the folder, made if it does not exist.

        Raises:
            CheckpointError: if the files can't be written.
        """
        check_is_fitted(self)
        params = {name: value for name, value in self.get_params(deep=False).items() if name != "network"}
        learned = {name: getattr(self, name) for name in _LEARNED}
        learned |= {"channels_": [kept.tolist() for kept in self.channels_], "network": _fingerprint(self.network)}
        flows = {f"layer_{number}": flow for number, flow in enumerate(self.flows_)}
        write_estimator(type(self), folder, params, learned, flows)

    @classmethod
    def load(cls, folder: str | Path, network: nn.Module) -> Self:
        """Return the detector that `save` wrote.

        Args:
            folder: the folder.
            network: the network whose features were learned.

        Raises:
            CheckpointError: if files are missing or damaged, or the network has other weights.
        """
        folder = Path(folder).expanduser()
        with damage_explained(folder):
            content = read_estimator(cls, folder)
            learned = content["learned"]
            detector = cls(network, **content["params"])
            for name in _LEARNED:
                setattr(detector, name, learned[name])
            detector.channels_ = [torch.tensor(kept) for kept in learned["channels_"]]
            same = learned["network"] == _fingerprint(network)
        if not same:
            raise CheckpointError(
                f"{folder} was learned on features of a network with other weights: give that network"
            )
        detector.flows_ = list(read_densities(content, folder).values())  # type: ignore[arg-type]
        sizes = [[len(kept), flow.dims] for kept, flow in zip(detector.channels_, detector.flows_, strict=False)]
        if len(sizes) != len(detector.layers) or any(one != other for one, other in sizes):
            raise CheckpointError(f"{folder} holds flows of other layers than it says: train the detector anew")
        return detector

    def _combined(self, normality: list[Tensor], images: Tensor) -> Tensor:
        """Return the anomaly maps ``(N, H, W)`` of the mean log densities of all layers."""
        total = torch.zeros(len(normality[0]), *images.shape[-2:])
        for maps, peak in zip(normality, self.peaks_, strict=True):
            share = (maps - float(peak)).exp()[:, None]
            total += F.interpolate(share, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return len(normality) - total

    @torch.no_grad()
    def _normality(self, images: Tensor) -> list[Tensor]:
        """Return log p / C of each layer ``(N, h, w)``."""
        maps: list[list[Tensor]] = [[] for _ in self.layers]
        for chunk in images.split(_IMAGES_AT_ONCE):
            for number, features in enumerate(feature_maps(self.network, self.layers, chunk)):
                count, _, height, width = features.shape
                kept = features[:, self.channels_[number]]
                flow, vectors = self.flows_[number], _vectors(kept)
                context = self._places(height, width).repeat(count, 1) if self.position_channels else None
                if self.log_det:
                    log_prob = flow.log_prob(vectors, context)
                else:
                    log_prob = flow.base.log_prob(flow.encode(vectors, context))
                log_prob = log_prob.nan_to_num(-math.inf, neginf=-math.inf)
                maps[number].append((log_prob / vectors.shape[1]).reshape(count, height, width))
        return [torch.cat(layer) for layer in maps]

    def _sampled(self, images: Tensor, seed: int) -> list[tuple[Tensor, Tensor]]:
        """Return random vectors of each layer ``(n, C)`` and the codes of their places ``(n, position_channels)``."""
        limit = whole_number("vectors", self.vectors, at_least=2)
        generator = torch.Generator().manual_seed(seed)
        found: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in self.layers]
        for chunk in images.split(_IMAGES_AT_ONCE):
            for number, features in enumerate(feature_maps(self.network, self.layers, chunk)):
                count, _, height, width = features.shape
                share = min(1.0, limit / (len(images) * height * width))
                chosen = torch.rand(count * height * width, generator=generator) < share
                found[number][0].append(_vectors(features)[chosen])
                found[number][1].append(self._places(height, width).repeat(count, 1)[chosen])
        return [(torch.cat(vectors), torch.cat(places)) for vectors, places in found]

    def _places(self, height: int, width: int) -> Tensor:
        return position_code(self.position_channels, height, width).flatten(1).T


def position_code(channels: int, height: int, width: int) -> Tensor:
    r"""Return a code of the positions of a grid ``(channels, height, width)``: sines and cosines of both coordinates.

    .. math:: \sin(\omega_i x), \cos(\omega_i x), \sin(\omega_i y), \cos(\omega_i y), \qquad
        \omega_i = 10000^{-4i / P}, \quad i < P / 4

    Args:
        channels: length P of the code, a multiple of 4.
        height: number of rows.
        width: number of columns.

    Raises:
        ValueError: if the number of channels is no multiple of 4.

    Example:
        >>> position_code(8, 2, 3)[:4, 0, 1]
        tensor([0.8415, 0.0100, 0.5403, 0.9999])
    """
    channels = whole_number("position_channels", channels, at_least=0)
    if channels % 4:
        raise ValueError(f"position_channels must be a multiple of 4, got {channels}")
    if not channels:
        return torch.zeros(0, height, width)
    omega = 10_000.0 ** (-4 * torch.arange(channels // 4) / channels)
    across = omega[:, None, None] * torch.arange(width).expand(1, height, width)
    down = omega[:, None, None] * torch.arange(height)[:, None].expand(1, height, width)
    return torch.cat([across.sin(), across.cos(), down.sin(), down.cos()])


@torch.no_grad()
def feature_maps(network: nn.Module, layers: Sequence[str], images: Tensor) -> list[Tensor]:
    """Return the outputs ``(N, C, H, W)`` of some submodules of a network, in evaluation mode.

    Args:
        network: the network, which is left as it was.
        layers: the names of the submodules.
        images: ``(N, *shape)``.

    Raises:
        OptionError: if there is no such submodule, or its output is no feature map.
        DataError: if a feature is not finite.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.MaxPool2d(2))
        >>> [maps.shape for maps in feature_maps(network, ["0", "1"], torch.zeros(5, 3, 8, 8))]
        [torch.Size([5, 8, 6, 6]), torch.Size([5, 8, 3, 3])]
    """
    modules = dict(network.named_modules())
    if missing := [name for name in layers if name not in modules]:
        raise OptionError(f"the network has no layer {missing[0]!r}; it has {', '.join(list(modules)[1:9])} ...")
    found: dict[str, Any] = {}
    handles = [modules[name].register_forward_hook(_keep(found, name)) for name in layers]
    training = {module: module.training for module in network.modules()}
    try:
        network.eval()(images)
    finally:
        for module, mode in training.items():
            module.training = mode
        for handle in handles:
            handle.remove()
    for name in layers:
        if not isinstance(found.get(name), Tensor) or found[name].ndim != 4:
            raise OptionError(f"layer {name!r} has no feature maps (N, C, H, W): choose a convolution, or what follows")
        if not bool(found[name].isfinite().all()):
            raise DataError(f"features of layer {name!r} are not finite: check the images and the network")
    return [found[name].float().cpu() for name in layers]


def _fingerprint(network: nn.Module) -> str:
    """Return a digest of the weights of a network."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _keep(found: dict[str, Any], name: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        found[name] = output

    return hook


def _vectors(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _images(X: Any) -> Tensor:
    images = torch.as_tensor(X)
    if images.ndim != 4:
        raise DataError(f"X must be images (N, C, H, W), got an array of shape {tuple(images.shape)}")
    if not bool(images.isfinite().all()):
        raise DataError(f"{int((~images.isfinite()).sum())} values of X are not finite: leave these images out")
    return images.float()
