"""Cumulative distribution functions of mixtures as maps of single elements."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.bijections.maps.root import MIN_SLOPE, RootMap
from inverseflow.ops.mixture import gaussian_mixture, logistic_mixture
from inverseflow.utils.arguments import one_of, whole_number

MIN_SCALE = 1e-3

Kind = Literal["logistic", "gaussian"]
MIXTURES = {"logistic": logistic_mixture, "gaussian": gaussian_mixture}
VARIANCES = {"logistic": math.pi**2 / 3, "gaussian": 1.0}


@dataclass(frozen=True)
class MixtureCDF(RootMap):
    r"""The distribution function of a mixture, taken back to the real line, plus a fiftieth of the identity.

    .. math:: z = 0.98\,G^{-1}\Big(\sum_k \pi_k\, G\big((x - m_k) / s_k\big)\Big) + 0.02\,x

    with G the standard logistic or normal distribution function. The last term keeps the slope at 0.02 at least, so
    that no gap between components is too flat to be inverted; apart from it, z is logistic or normal if x is a draw of
    the mixture. The parameters are K logits of the weights π, K shifts of the means m, and K raw scales: s is their
    softplus plus 0.001. If all are zero, the means are spread evenly and the map is close to the identity. The inverse
    is a root, `inverseflow.ops.monotone_root`.

    Args:
        components: number of components K, at least 1.
        kind: ``"logistic"`` or ``"gaussian"``.

    Reference:
        Ho et al., Flow++, 2019, section 3.2, https://arxiv.org/abs/1902.00275.

    Example:
        >>> map = MixtureCDF(components=4)
        >>> x, parameters = torch.randn(2, 3), torch.randn(2, map.num_parameters, 3)
        >>> z, log_derivative = map.forward(x, parameters)
        >>> torch.allclose(map.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    components: int = 8
    kind: Kind = "logistic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", whole_number("components", self.components, at_least=1))
        checked_kind(self.kind)

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: 3 components."""
        return 3 * self.components

    def _prepare(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return mixture_parameters(parameters, self.kind)

    def _bracket(self, z: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor]:
        start, reach = mixture_bracket(z, *prepared)
        return start, torch.maximum(reach, (z - start).abs())  # the linear term alone has its root at z

    def _evaluate(self, x: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor]:
        z, slope = MIXTURES[self.kind](x, *prepared)
        return (1 - MIN_SLOPE) * z + MIN_SLOPE * x, (1 - MIN_SLOPE) * slope + MIN_SLOPE


def checked_kind(kind: Kind) -> Kind:
    """Return the kind of a mixture, or raise ValueError if there is no such kind."""
    return one_of("kind", kind, get_args(Kind))


def mixture_parameters(parameters: Tensor, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
    """Return logarithms of weights, means and scales ``(K, *rest)`` of unbounded parameters ``(3 K, *rest)``."""
    logits, shifts, raw_scales = parameters.chunk(3)
    components = logits.shape[0]
    # Means spread over 2.4 deviations of the whole, and equal scales such that it has the variance of G.
    places = torch.arange(1 - components, components, 2, dtype=shifts.dtype, device=shifts.device) / components
    places = places.view(-1, *[1] * (logits.ndim - 1))
    spread = 1.2 * math.sqrt(VARIANCES[kind])
    share = 1 - 1.2**2 * sum((2 * k + 1 - components) ** 2 for k in range(components)) / components**3
    zero = math.log(math.expm1(math.sqrt(share) - MIN_SCALE))
    return logits.log_softmax(0), shifts + spread * places, F.softplus(raw_scales + zero) + MIN_SCALE


def mixture_bracket(z: Tensor, log_weights: Tensor, means: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return where to start looking for a quantile, and how far from there it may be."""
    quantiles = means + scales * z  # of each component: the quantile of the mixture lies between them
    low, high = quantiles.aminmax(dim=0)
    weights = log_weights.exp()
    mean = (weights * means).sum(0)
    deviation = (weights * ((means - mean) ** 2 + scales**2)).sum(0).sqrt()
    start = torch.minimum(torch.maximum(mean + deviation * z, low), high)
    return start, torch.maximum(high - start, start - low)
