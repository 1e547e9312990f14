"""The invertible network that hides pictures in a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from applications.pictures import LEVELS
from applications.steganography.distortions import jpeg_surrogate
from inverseflow.bijections import Bijection, Compose, Inverse, TwoBranch, WaveletSqueeze
from inverseflow.bijections.base import LogDet, Shape, TypedModuleList
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.errors import CheckpointError, OptionError
from inverseflow.flows import Flow
from inverseflow.nets import ConvNet
from inverseflow.training import Loss
from inverseflow.utils.arguments import finite_number, whole_number
from inverseflow.utils.files import atomic_write

BLOCK = 4
"""Side of the blocks of pixels that become the channels of the network: two levels of the Haar transform."""
COLORS = 3
BANDS = COLORS * BLOCK**2
_ROTATION = ((1 / 3**0.5,) * 3, (1 / 2**0.5, -1 / 2**0.5, 0.0), (1 / 6**0.5, 1 / 6**0.5, -2 / 6**0.5))
_GRAY = 0.5
_ROOM = 4 / LEVELS
_ROUNDING = 1 / (12 * LEVELS**2)
_PROBE = 6 / LEVELS
_LEAST = 0.01

Distortion = Callable[[Tensor], Tensor]
"""What happens to containers ``(B, 3, H, W)`` on their way, differentiable."""


class Bands(Bijection):
    r"""Two levels of Haar bands of lightness and colors, for several pictures that lie one behind the other.

    Each picture is centered and turned by an orthonormal matrix to lightness (R+G+B)/√3, (R−G)/√2 and (R+G−2B)/√6;
    then both levels split all bands. Log-determinant 0.

    Shape:
        x: ``(B, 3 n, H, W)``; z: ``(B, 48 n, H/4, W/4)``.

    Example:
        >>> Bands()(torch.rand(1, 6, 8, 8))[0].shape
        torch.Size([1, 96, 2, 2])
    """

    def __init__(self) -> None:
        super().__init__(spatial_axes=2)
        self.haar = Compose(WaveletSqueeze(), WaveletSqueeze())

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        pictures = x.unflatten(1, (-1, COLORS)).flatten(0, 1) - _GRAY
        z, _ = self.haar(torch.einsum("ij,bjhw->bihw", _rotation(x), pictures))
        return z.unflatten(0, (len(x), -1)).flatten(1, 2), 0.0

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        pictures, _ = self.haar.inverse(z.unflatten(1, (-1, BANDS)).flatten(0, 1))
        x = torch.einsum("ji,bjhw->bihw", _rotation(z), pictures) + _GRAY
        return x.unflatten(0, (len(z), -1)).flatten(1, 2), 0.0

    def output_shape(self, shape: Shape) -> Shape:
        """Return ``(48 n, H/4, W/4)``."""
        self._check_shape(shape)
        return self.haar.output_shape(shape)

    def input_shape(self, shape: Shape) -> Shape:
        """Return ``(3 n, H, W)``."""
        self._check_shape(shape)
        return self.haar.input_shape(shape)


def _rotation(like: Tensor) -> Tensor:
    return torch.tensor(_ROTATION, dtype=like.dtype, device=like.device)


class _Conditioner(nn.Module):
    """A linear map of each pixel plus a `ConvNet`; both start at zero."""

    def __init__(self, in_channels: int, out_channels: int, *, width: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.net = ConvNet(in_channels, out_channels, width)

    def forward(self, x: Tensor) -> Tensor:
        prediction: Tensor = self.linear(x) + self.net(x)
        return prediction


class _Cascade(Bijection):
    """Change a host and each of n other branches in turn: the host that one stage returns is that of the next."""

    def __init__(self, *stages: Bijection) -> None:
        super().__init__(channels=BANDS * (1 + len(stages)))
        self.stages: TypedModuleList[Bijection] = TypedModuleList(stages)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        host, *branches = x.split(BANDS, 1)
        total: LogDet = 0.0
        for number, stage in enumerate(self.stages):
            z, log_det = stage(torch.cat([host, branches[number]], 1), context)
            host, branches[number] = z.split(BANDS, 1)
            total = total + log_det
        return torch.cat([host, *branches], 1), total

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        host, *branches = z.split(BANDS, 1)
        total: LogDet = 0.0
        for number in reversed(range(len(self.stages))):
            x, log_det = self.stages[number].inverse(torch.cat([host, branches[number]], 1), context)
            host, branches[number] = x.split(BANDS, 1)
            total = total + log_det
        return torch.cat([host, *branches], 1), total


@dataclass(frozen=True)
class Options:
    """Architecture of a `HidingFlow`."""

    secrets: int = 1
    """Number of secrets n."""
    blocks: int = 3
    """Number of two-branch couplings K for each secret. With 0 nothing is hidden."""
    width: int = 32
    """Hidden channels of the networks."""
    robust: bool = False
    """Whether containers are JPEG files. The network is then told the level: 1 − quality/100, or 0 for a PNG file."""

    def __post_init__(self) -> None:
        for name, least in (("secrets", 1), ("blocks", 0), ("width", 1)):
            whole_number(name, getattr(self, name), at_least=least)


class HidingFlow(Flow):
    r"""Map a cover and n secrets to a container, which looks like the cover, and a rest, which is thrown away.

    .. math:: (y, r) = f(c, s), \qquad \hat s = f^{-1}(y, 0)

    f is K two-branch couplings of the Haar bands of cover and secret. More secrets make a cascade: each is hidden by K
    couplings of its own in the container of those before it. f is exactly invertible: with the true r the secrets come
    back to rounding. Everything is convolutional, so pictures of any size divisible by 4 will do.

    Without training, two couplings do what is linear: the bands of the secret with the most energy, scaled down, take
    the place of the bands of the cover with the least (`start`). The networks learn the rest.

    Args:
        event_shape: shape ``(3 + 3 n, H, W)`` of the cover and the secrets that it is trained with.
        options: the architecture.

    Reference:
        Lu et al., Large-capacity image steganography based on invertible neural networks, 2021, section 3,
        https://doi.org/10.1109/CVPR46437.2021.01067; the cascade: Guan et al., DeepMIH, 2023, section 3,
        https://doi.org/10.1109/TPAMI.2022.3141725, without its map of importance. The linear start is ours.

    Example:
        >>> flow = HidingFlow((6, 8, 8), Options(width=4))
        >>> container, rest = flow.hide(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
        >>> flow.reveal(container).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, event_shape: Shape = (2 * COLORS, 64, 64), options: Options | None = None) -> None:
        options = Options() if options is None else options
        net = partial(_Conditioner, width=options.width)
        stages = [
            Compose(
                *(
                    TwoBranch(2 * BANDS, net, num_first=BANDS, context_channels=1 if options.robust else None)
                    for _ in range(options.blocks)
                )
            )
            for _ in range(options.secrets)
        ]
        bands = Bands()
        super().__init__(Compose(bands, _Cascade(*stages), Inverse(bands)), event_shape)
        self.options = options

    def hide(self, cover: Tensor, secrets: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the container before it is rounded, ``(B, 3, H, W)``, and the rest r, ``(B, 3 n, H, W)``."""
        z, _ = self.bijection(torch.cat([cover, secrets], 1), context)
        return z[:, :COLORS], z[:, COLORS:]

    def reveal(self, container: Tensor, context: Tensor | None = None, *, rest: Tensor | None = None) -> Tensor:
        """Return the secrets ``(B, 3 n, H, W)`` in a container, with 0 for the rest unless it is known."""
        if rest is None:
            rest = torch.full_like(container, _GRAY).repeat(1, self.options.secrets, 1, 1)  # a rest of bands of 0
        x, _ = self.bijection.inverse(torch.cat([container, rest], 1), context)
        return x[:, COLORS:]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return mean squared errors ``(B, 3)``, with 8 bits in between.

        They are of the container, of the secrets, and of the container's coarsest bands.
        """
        cover, secrets = x[:, :COLORS], x[:, COLORS:]
        container, _ = self.hide(with_room(cover), secrets, context)
        revealed = self.reveal(_arrived(round_to_levels(container), context), context)
        change = container - cover
        coarse = F.avg_pool2d(change, BLOCK)
        return torch.stack([error.square().mean((1, 2, 3)) for error in (change, revealed - secrets, coarse)], 1)

    @torch.no_grad()
    def start(
        self, pictures: Tensor, *, gain: float = 0.028, share: float = 5 / 12, distort: Distortion | None = None
    ) -> None:
        r"""Set the first two couplings of each secret to the linear exchange of bands.

        A band of the secret with root mean square a is scaled by :math:`\gamma q^{1/4} / \sqrt a`, where q is the
        mean squared error of the container's band on its way, divided by the share of it that arrives, in units of
        that of rounding. This balances what is added to the container and what its distortion adds to the secret.
        The bands that give way are those for which the sum of their energy and of what is added is least.

        Args:
            pictures: ``(B, 3, H, W)``, which tell the energy of the bands.
            gain: the factor γ.
            share: of the bands of the cover that give way, to all secrets together.
            distort: what happens to a container on its way besides rounding, None for nothing.
        """
        bands = Bands()
        z, _ = bands(pictures)
        sizes = z.square().mean((0, 2, 3)).sqrt()
        noise = torch.ones(BANDS)
        if distort is not None:
            sent = round_to_levels(bands.inverse(z + _PROBE * torch.randn_like(z))[0])
            before, after = (bands(picture)[0].transpose(0, 1).flatten(1) for picture in (sent, distort(sent)))
            kept = (before * after).mean(1) / before.square().mean(1)  # how much of a band arrives
            error = (after - kept[:, None] * before).square().mean(1) / kept.clamp_min(_LEAST).square()
            noise = (error / _ROUNDING).clamp_min(1)
        order = sizes.argsort(descending=True).tolist()
        each = int(share * BANDS) // self.options.secrets
        carried = order[:each]
        added = 2 * gain**2 * noise.sqrt() * sizes[carried[each // 2]]
        slots = sorted(range(BANDS), key=(sizes.square() + added).tolist().__getitem__)
        conditioners = [module for module in self.modules() if isinstance(module, _Conditioner)]
        for number in range(self.options.secrets):
            first, back, second, *_ = conditioners[2 * self.options.blocks * number :]
            own = sorted(slots[number * each :][:each], key=noise.tolist().__getitem__)
            for slot, band in zip(own, carried, strict=True):
                scale = gain * float(noise[slot].sqrt() / sizes[band]) ** 0.5
                first.linear.weight[slot, band] = second.linear.weight[slot, band] = scale
                back.linear.weight[BANDS + band, slot] = -1 / scale  # behind the scales


@dataclass(frozen=True)
class HidingLoss:
    r"""Minimize the mean squared errors of container, secrets, and the container's coarsest bands.

    .. math:: \lVert y - c \rVert^2 + \lambda \lVert \hat s - s \rVert^2 + \lVert LL(y) - LL(c) \rVert^2

    with means over pixels and colors, and LL the mean of each block of 4×4 pixels.

    Args:
        secret_weight: the weight λ.
    """

    secret_weight: float = 0.3

    def __post_init__(self) -> None:
        finite_number("secret_weight", self.secret_weight, above=0)

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch, and errors as peak signal-to-noise ratios in decibels."""
        container, secret, coarse = model(batch.x, batch.context).mean(0)
        total = 1000 * (container + self.secret_weight * secret + coarse)
        names = {"container": container, "secret": secret, "coarse": coarse}
        return Loss(total, {f"{name}_db": -10 * error.clamp_min(1e-9).log10() for name, error in names.items()})


def _arrived(container: Tensor, context: Tensor | None) -> Tensor:
    """Return containers as they arrive at the levels of distortion of the context ``(B, 1)``."""
    if context is None:
        return container
    parts = []
    for picture, level in zip(container.split(1), context[:, 0].tolist(), strict=True):
        parts.append(jpeg_surrogate(picture, quality_of(level)) if level else picture)
    return torch.cat(parts)


def quality_of(level: float) -> int:
    """Return the quality of JPEG at a level of distortion.

    Example:
        >>> quality_of(0.1)
        90
    """
    return round(100 * (1 - level))


def with_room(cover: Tensor) -> Tensor:
    """Move black and white by four levels at most, so that what is added to them is seldom clipped."""
    return cover.clamp(_ROOM, 1 - _ROOM)


def round_to_levels(container: Tensor) -> Tensor:
    """Round to 8 bits and clip, with the gradient of clipping alone."""
    clipped = container.clamp(0, 1)
    return clipped + ((clipped * LEVELS).round() / LEVELS - clipped).detach()


def save_flow(flow: HidingFlow, path: Path) -> None:
    """Write the weights in half precision and the architecture as one safetensors file."""
    weights = {name: tensor.half().contiguous() for name, tensor in flow.state_dict().items()}
    with atomic_write(path) as temporary:
        save_file(weights, temporary, metadata={"options": json.dumps(asdict(flow.options))})


def load_flow(path: Path) -> HidingFlow:
    """Read what `save_flow` wrote.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            options = Options(**json.loads((file.metadata() or {})["options"]))
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        flow = HidingFlow((COLORS * (1 + options.secrets), BLOCK, BLOCK), options)
        flow.load_state_dict(weights)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no model {path}: train one with the command train") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no model of this application, or damaged: {error}") from error
    return flow.eval()


def shipped_flow(secrets: int, *, robust: bool = False) -> HidingFlow:
    """Return the trained network of this folder that hides so many secrets, or one that survives JPEG.

    Raises:
        OptionError: if there is none.
    """
    name = _SHIPPED.get((secrets, robust))
    if name is None:
        raise OptionError(f"there is no {'robust ' * robust}model for {secrets} secrets in this folder: train one")
    return load_flow(Path(__file__).with_name(name))


_SHIPPED = {(1, False): "one.safetensors", (2, False): "two.safetensors", (1, True): "robust.safetensors"}
