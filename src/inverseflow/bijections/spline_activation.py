"""Elementwise monotone splines with learned knots."""

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.events import at_least_single, elements, sum_event
from inverseflow.bijections.maps import spline_bins
from inverseflow.ops import rational_quadratic_spline
from inverseflow.utils.arguments import finite_number


class SplineActivation(Bijection):
    r"""Monotone rational-quadratic spline on every element, the identity outside [-bound, bound].

    .. math:: z_i = \phi(x_i), \qquad \log|\det| = \sum_i \log \phi'(x_i)

    One spline for all elements, one for each channel, or one for each element of an event of fixed shape. Starts near
    the identity. Computed in at least single precision.

    Args:
        channels: None for one shared spline, else the number of channels C, each with its own spline.
        size: only with `channels`: the spatial shape, such as ``(H, W)``, to give every element its own spline.
        bins: number of bins, at least 2.
        bound: half the length of the interval, positive and finite.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Durkan et al., Neural Spline Flows, 2019, section 3.1, https://arxiv.org/abs/1906.04032; as an activation:
        Keller et al., Self Normalizing Flows, 2021, https://arxiv.org/abs/2011.07248.

    Example:
        >>> z, log_det = SplineActivation(channels=3)(torch.randn(2, 3, 8, 8))
    """

    full_precision = True

    def __init__(
        self, channels: int | None = None, *, size: Shape | None = None, bins: int = 8, bound: float = 10.0
    ) -> None:
        super().__init__(channels=channels, size=size)
        self.bins = spline_bins("bins", bins)
        self.bound = finite_number("bound", bound, above=0)
        if self.size is not None and self.channels is None:
            raise ValueError(f"a spline for each element needs channels too, got size={size} and channels=None")
        functions = (self.channels or 1) * math.prod(self.size or ())
        self.widths = nn.Parameter(0.01 * torch.randn(functions, self.bins))
        self.heights = nn.Parameter(0.01 * torch.randn(functions, self.bins))
        self.derivatives = nn.Parameter(0.01 * torch.randn(functions, self.bins - 1))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._apply_spline(x, inverse=False)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._apply_spline(z, inverse=True)

    def _apply_spline(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        knots = [at_least_single(knot) for knot in (self.widths, self.heights, self.derivatives)]
        functions = len(self.widths)
        by_function = x.reshape(x.shape[0], functions, elements(x) // functions).transpose(0, 1)
        points = by_function.flatten(1)
        value, log_derivative = rational_quadratic_spline(points, *knots, bound=self.bound, inverse=inverse)
        value = value.view(by_function.shape).transpose(0, 1).reshape(x.shape)
        return value, sum_event(log_derivative.view(by_function.shape).transpose(0, 1))
