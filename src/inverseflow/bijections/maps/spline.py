"""Monotone splines of single elements."""

from dataclasses import dataclass

from torch import Tensor

from inverseflow.bijections.maps.base import ElementwiseMap
from inverseflow.ops.spline import MIN_BIN, elementwise_spline
from inverseflow.utils.arguments import finite_number, whole_number


@dataclass(frozen=True)
class RationalQuadratic(ElementwiseMap):
    r"""Monotone rational-quadratic spline on [-bound, bound], the identity outside.

    Its n widths, n heights and n - 1 inner derivatives are those of `inverseflow.ops.rational_quadratic_spline`, after
    a multiplication by the gain: of equal networks and learning rates, a higher gain learns sharp densities in fewer
    steps.

    Args:
        bins: number of bins n, at least 2.
        bound: half the length of the interval, positive and finite.
        gain: factor of all parameters, positive and finite.

    Reference:
        Durkan et al., Neural Spline Flows, 2019, section 3.1, https://arxiv.org/abs/1906.04032.

    Example:
        >>> spline = RationalQuadratic(bins=4)
        >>> x, parameters = torch.randn(2, 3), torch.randn(2, spline.num_parameters, 3)
        >>> z, log_derivative = spline.forward(x, parameters)
        >>> torch.allclose(spline.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    bins: int = 8
    bound: float = 5.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", spline_bins("bins", self.bins))
        object.__setattr__(self, "bound", finite_number("bound", self.bound, above=0))
        object.__setattr__(self, "gain", finite_number("gain", self.gain, above=0))

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: 3 bins - 1."""
        return 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the spline."""
        return elementwise_spline(x, parameters * self.gain, bins=self.bins, bound=self.bound)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the inverse of the spline."""
        return elementwise_spline(z, parameters * self.gain, bins=self.bins, bound=self.bound, inverse=True)


def spline_bins(name: str, bins: int) -> int:
    """Return a number of bins of a spline as `int`, or raise if a spline can't have it."""
    bins = whole_number(name, bins, at_least=2)
    if bins * MIN_BIN >= 1:
        raise ValueError(
            f"{name} must be below {1 / MIN_BIN:g}, because each takes {MIN_BIN} of the interval, got {bins}"
        )
    return bins
