"""Monotone networks of one input as maps of single elements."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.bijections.maps.root import MIN_SLOPE, RootMap
from inverseflow.utils.arguments import whole_number

_HALF, _ONE = (math.log(math.expm1(value)) for value in (0.5, 1.0))


@dataclass(frozen=True)
class MonotoneNetwork(RootMap):
    r"""A network of one input with positive weights: two hidden layers with tanh, and a linear term.

    .. math:: z = a\,x + \sum_j w_j \tanh\Big(\sum_i V_{ji} \tanh(v_i\,x + b_i) + c_j\Big)

    a, v, w and V are positive: softplus of the parameters, a plus 0.02. The sum is bounded, so that the map reaches
    every z, and its slope is at least 0.02. The parameters are a; then v, b, c and w, n each; then V by rows. If all
    are zero, the map is odd, bends over [-3, 3] and has the mean slope 1 there. The inverse is a root,
    `inverseflow.ops.monotone_root`.

    Args:
        width: number n of units in each hidden layer, at least 1.

    Reference:
        Huang et al., Neural Autoregressive Flows, 2018, section 3, https://arxiv.org/abs/1804.00779; positive weights:
        Sill, Monotonic Networks, 1997.

    Example:
        >>> map = MonotoneNetwork(width=4)
        >>> x, parameters = torch.randn(2, 3), torch.randn(2, map.num_parameters, 3)
        >>> z, log_derivative = map.forward(x, parameters)
        >>> torch.allclose(map.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    width: int = 6

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", whole_number("width", self.width, at_least=1))

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: width² + 4 width + 1."""
        return self.width**2 + 4 * self.width + 1

    def _prepare(self, parameters: Tensor) -> tuple[Tensor, ...]:
        n = self.width
        linear, first, bias, hidden_bias, last, hidden = parameters.split([1, n, n, n, n, n * n])
        places = torch.arange(1 - n, n, 2, dtype=bias.dtype, device=bias.device) * (3 / n)
        return (
            F.softplus(linear[0] + _HALF) + MIN_SLOPE,
            F.softplus(first + _ONE),
            bias + places.view(-1, *[1] * (bias.ndim - 1)),
            hidden_bias,
            F.softplus(last + math.log(math.expm1(2 / n))),
            F.softplus(hidden + math.log(math.expm1(1 / n))).unflatten(0, (n, n)),
        )

    def _bracket(self, z: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor]:
        linear, *_, last, _ = prepared
        bound = last.sum(0)
        low, high = (z - bound) / linear, (z + bound) / linear
        start = torch.minimum(torch.maximum(z, low), high)  # where the map is the identity, or as near as it can be
        return start, torch.maximum(high - start, start - low)

    def _evaluate(self, x: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor]:
        linear, first, bias, hidden_bias, last, hidden = prepared
        h = (first * x + bias).tanh()
        g = ((hidden * h).sum(1) + hidden_bias).tanh()
        slopes = (hidden * (first * (1 - h * h))).sum(1)
        return linear * x + (last * g).sum(0), linear + (last * (1 - g * g) * slopes).sum(0)
