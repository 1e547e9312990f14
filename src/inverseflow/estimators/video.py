"""Anomalies in video: flows of what a clip shows and of how it moves."""

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from typing_extensions import Self

from inverseflow.densities import Autoencoder, Density
from inverseflow.errors import DataError
from inverseflow.estimators.base import Array, Options, finite, log_density
from inverseflow.estimators.detector import Detector
from inverseflow.flows import NSF
from inverseflow.training import ReconstructionLoss, fit
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import derived_seed, seeded

_FITTING: Options = {"max_steps": 2000, "patience": 5, "progress": False}
_AT_ONCE = 256


class VideoFlowDetector(Detector):
    r"""Detector of anomalous clips: an autoencoder with a static and a dynamic code, and a flow of each code.

    .. math:: \text{score} = \log p_s(E_s(x_T)) + \log p_d(E_d(x_2 - x_1, \dots, x_T - x_{T-1}))

    The static encoder sees the last frame, the dynamic one the differences of successive frames, and one decoder
    rebuilds the clip from both codes. That the dynamic encoder sees differences instead of frames is our choice: so it
    can't tell what stands still.

    Args:
        static: length of the static code, at least 2.
        dynamic: length of the dynamic code, at least 2.
        channels: channels of the first convolution of each encoder.
        width: hidden units of the decoder.
        steps: steps of each flow.
        false_alarm_rate: rate of false alarms among normal clips; see `DensityOutlierDetector`. None trains with all
            clips and promises no rate.
        calibration: share of the clips that is held out to set the threshold, at least 100.
        fit_options: arguments of `inverseflow.fit` for the autoencoder and for the flows.
        random_state: seed of the weights, the held-out clips and the training.

    Attributes:
        autoencoder_: the trained autoencoder.
        flows_: the flows of the static and of the dynamic code.
        offset_: the threshold.
        false_alarm_interval_: Clopper–Pearson interval of the rate of false alarms at a level of 95 %.

    Reference:
        Cho et al., `Unsupervised video anomaly detection via normalizing flows with implicit latent features
        <https://doi.org/10.1016/j.patcog.2022.108703>`_, 2022, section 3.

    Example:
        >>> clips = np.random.default_rng(0).random((30, 4, 8, 8))
        >>> detector = VideoFlowDetector(false_alarm_rate=None, fit_options={"max_steps": 3, "progress": False})
        >>> detector.fit(clips).log_prob_by_stream(clips).shape
        (30, 2)
    """

    autoencoder_: "TwoStreamAutoencoder"
    flows_: list[Density]

    def __init__(
        self,
        *,
        static: int = 8,
        dynamic: int = 8,
        channels: int = 8,
        width: int = 128,
        steps: int = 3,
        false_alarm_rate: float | None = 0.01,
        calibration: float = 0.2,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        self.static = static
        self.dynamic = dynamic
        self.channels = channels
        self.width = width
        self.steps = steps
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.fit_options = fit_options
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the autoencoder from normal clips, and the flows from their codes.

        Args:
            X: normal clips ``(N, T, H, W)`` of T gray frames, of about unit variance.
            y: ignored.

        Raises:
            DataError: if clips are not finite, have fewer than two frames, or are too few for a threshold.
        """
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        clips = _clips(X)
        train, held_out = self._divided(len(clips), self.calibration, seed)
        options = {**_FITTING, "seed": seed, **(self.fit_options or {})}
        with seeded(seed, "weights"):
            self.autoencoder_ = TwoStreamAutoencoder(
                tuple(clips.shape[1:]), self.static, self.dynamic, channels=self.channels, width=self.width
            )
        fit(self.autoencoder_, clips[train], objective=ReconstructionLoss(), **options)
        self.flows_ = []
        for number, codes in enumerate(self._codes(clips[train])):
            own = derived_seed(seed, number) % 2**31
            with seeded(own, "weights"):
                flow = NSF((codes.shape[1],), steps=self.steps)
            fit(flow, codes, **{**options, "seed": own})
            self.flows_.append(flow)
        self._calibrate(self._by_stream(clips[held_out]).sum(1))
        return self

    def log_prob_by_stream(self, X: Any) -> Array:
        """Return the log density of the static and of the dynamic code of each clip ``(N, 2)``."""
        check_is_fitted(self)
        return finite(self._by_stream(_clips(X)))

    def score_samples(self, X: Any) -> Array:
        """Return the log density of both codes ``(N,)``; less is more anomalous."""
        check_is_fitted(self)
        return finite(self._by_stream(_clips(X)).sum(1))

    def _by_stream(self, clips: Tensor) -> Array:
        pairs = zip(self.flows_, self._codes(clips), strict=True)
        return np.stack([log_density(flow, codes.numpy()) for flow, codes in pairs], 1)

    @torch.no_grad()
    def _codes(self, clips: Tensor) -> list[Tensor]:
        codes = torch.cat([self.autoencoder_.encode(chunk) for chunk in clips.split(_AT_ONCE)])
        return list(codes.split([self.static, self.dynamic], 1))


class TwoStreamAutoencoder(Autoencoder):
    """Autoencoder of clips whose code has two parts: of the last frame, and of the differences of successive frames.

    Args:
        event_shape: shape ``(T, H, W)`` of a clip, at least two frames.
        static: length of the first part.
        dynamic: length of the second part.
        channels: channels of the first convolution of each encoder; the second has twice as many.
        width: hidden units of the decoder.

    Example:
        >>> TwoStreamAutoencoder((4, 8, 8), 3, 2).encode(torch.rand(5, 4, 8, 8)).shape
        torch.Size([5, 5])
    """

    def __init__(
        self, event_shape: tuple[int, ...], static: int, dynamic: int, *, channels: int = 8, width: int = 128
    ) -> None:
        super().__init__(event_shape, static + dynamic, width=width, depth=1)
        frames, height, width = self.event_shape
        self.static = _encoder(1, channels, height, width, whole_number("static", static, at_least=2))
        self.dynamic = _encoder(frames - 1, channels, height, width, whole_number("dynamic", dynamic, at_least=2))
        self.encoder = nn.Identity()  # type: ignore[assignment]

    def _encode(self, x: Tensor, context: Tensor | None) -> Tensor:
        return torch.cat([self.static(x[:, -1:]), self.dynamic(x.diff(dim=1))], 1)


def _encoder(inputs: int, channels: int, height: int, width: int, code: int) -> nn.Sequential:
    """Build two convolutions, each of which halves the sides, and a linear map."""
    size = -(-height // 4) * -(-width // 4)
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(2 * channels * size, code),
    )


def _clips(X: Any) -> Tensor:
    clips = torch.as_tensor(X)
    if clips.ndim != 4 or clips.shape[1] < 2:
        raise DataError(f"X must be clips (N, T, H, W) of at least two frames, got the shape {tuple(clips.shape)}")
    if not bool(clips.isfinite().all()):
        raise DataError(f"{int((~clips.isfinite()).sum())} values of X are not finite: leave these clips out")
    return clips.float()
