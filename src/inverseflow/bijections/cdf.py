"""Learned distribution functions of independent coordinates: data to uniform numbers."""

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single, sum_event
from inverseflow.bijections.maps.mixture import MIXTURES, Kind, checked_kind, mixture_bracket, mixture_parameters
from inverseflow.bijections.maps.root import determined
from inverseflow.ops import monotone_root
from inverseflow.ops.mixture import log_normal_cdf
from inverseflow.ops.torch_internals import unwrap_functorch
from inverseflow.utils.arguments import finite_number, whole_number


class CDFTransform(Bijection):
    r"""Distribution function of a learned mixture for each channel: the integral transform of data to uniform numbers.

    .. math:: u_d = F_d(x_d), \qquad \log|\det| = \sum_d \log f_d(x_d), \qquad
        F_d(x) = \sum_k \pi_{dk}\, G\big((x - m_{dk}) / s_{dk}\big)

    The log-determinant is the log density of the mixtures, and trains them. The inverse is the quantile function. It
    finds roots on the scale of G, and raises `ConvergenceError` in a gap between components too flat for the dtype.
    Numbers nearer to 0 or 1 than `epsilon` are clamped, by `forward` with a warning: their data would not come back.
    Computed in at least single precision.

    Args:
        channels: number of channels C.
        components: number of components of each mixture, at least 1.
        kind: G, ``"gaussian"`` or ``"logistic"``.
        epsilon: distance to 0 and 1, between 0 and 0.5 and at least the dtype's resolution; None for the square root
            of the resolution, 3e-4 in float32 and 1e-8 in float64.

    Shape:
        x: ``(B, C, *spatial)``; u: the same.

    Raises:
        ValueError: if u lies outside of [0, 1].

    Reference:
        Papamakarios et al., Normalizing Flows for Probabilistic Modeling and Inference, 2021, section 2.2,
        https://arxiv.org/abs/1912.02762.

    Example:
        >>> u, log_density = CDFTransform(3)(torch.randn(5, 3))
        >>> bool(((u > 0) & (u < 1)).all())
        True
    """

    full_precision = True

    def __init__(
        self, channels: int, *, components: int = 8, kind: Kind = "gaussian", epsilon: float | None = None
    ) -> None:
        super().__init__(channels=whole_number("channels", channels, at_least=1))
        self.components = whole_number("components", components, at_least=1)
        self.kind = checked_kind(kind)
        self.epsilon = None if epsilon is None else finite_number("epsilon", epsilon, above=0, below=0.5)
        self.mixture = nn.Parameter(torch.zeros(3 * self.components, channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        mixture = self._mixture(x)
        z, _ = MIXTURES[self.kind](x, *mixture)
        cdf = log_normal_cdf(z).exp() if self.kind == "gaussian" else z.sigmoid()
        return self._clamp(cdf, warn=True), sum_event(self._log_density(x, *mixture))

    def _inverse(self, u: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        u, mixture = self._clamp(u, warn=False), self._mixture(u)
        z = torch.special.ndtri(u) if self.kind == "gaussian" else u.logit()
        start, reach = mixture_bracket(z.detach(), *(tensor.detach() for tensor in mixture))
        root = monotone_root(MIXTURES[self.kind], z, *mixture, start=start, reach=reach)
        x = determined(root, self)
        return x, -sum_event(self._log_density(x, *mixture))

    def _mixture(self, x: Tensor) -> list[Tensor]:
        parameters = mixture_parameters(at_least_single(self.mixture), self.kind)
        return [tensor.view(-1, 1, x.shape[1], *[1] * (x.ndim - 2)) for tensor in parameters]

    def _log_density(self, x: Tensor, log_weights: Tensor, means: Tensor, scales: Tensor) -> Tensor:
        """Return the logarithm of the mixture's density, which the slope of G⁻¹(F) would lose in flat gaps."""
        u = (x - means) / scales
        if self.kind == "gaussian":
            of_components = -0.5 * u**2 - 0.5 * math.log(2 * math.pi)
        else:
            of_components = F.logsigmoid(u) + F.logsigmoid(-u)
        return (log_weights + of_components - scales.log()).logsumexp(0)

    def _clamp(self, u: Tensor, *, warn: bool) -> Tensor:
        resolution = torch.finfo(u.dtype).eps
        epsilon = resolution**0.5 if self.epsilon is None else max(self.epsilon, resolution)  # 1 - epsilon is below 1
        outside = 0 if torch.compiler.is_compiling() else int(_outside(u, epsilon, 1 - epsilon))
        if outside and warn:
            warnings.warn(
                f"{outside} of {u.numel()} probabilities are clamped to [{epsilon:.1g}, 1 - {epsilon:.1g}], and their "
                "values do not come back; lower epsilon and compute in float64, or use MixtureCDF, whose latents are "
                "unbounded",
                stacklevel=2,
            )
        if outside and not warn and _outside(u, 0, 1):
            raise ValueError(f"probabilities lie between 0 and 1, got {int(_outside(u, 0, 1))} others of {u.numel()}")
        return u.clamp(epsilon, 1 - epsilon)


def _outside(u: Tensor, low: float, high: float) -> Tensor:
    numbers = unwrap_functorch(u)
    return ((numbers < low) | (numbers > high)).sum()
