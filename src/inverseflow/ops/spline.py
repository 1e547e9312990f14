"""The monotone rational-quadratic spline."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.ops.precision import at_least_single
from inverseflow.ops.torch_internals import transforms_active

MIN_BIN = 1e-3
MIN_DERIVATIVE = 1e-3


class _Segment(NamedTuple):
    """The bin of each point: left knot, extent, slopes at both ends."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left_slope: Tensor
    right_slope: Tensor


def rational_quadratic_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, *, bound: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Evaluate monotone rational-quadratic splines on [-bound, bound], the identity outside, or their inverses.

    In the bin with left knot :math:`(x_k, y_k)`, width w, height h, slope s = h / w, knot derivatives :math:`d_0,
    d_1` and :math:`\xi = (x - x_k) / w`,

    .. math:: y = y_k + \frac{h\,(s\xi^2 + d_0\,\xi(1-\xi))}{s + (d_0 + d_1 - 2s)\,\xi(1-\xi)}

    Bins are normalized by softmax and at least 0.001 of the interval. Knot derivatives are a softplus plus 0.001, such
    that zeros everywhere give the identity; the two outermost are 1. Points outside are moved to 0 before the
    arithmetic, so that their gradients are never nan.

    Args:
        x: points, ``(*functions, M)``: M points for each function. Half precision is computed in float32.
        widths: unnormalized bin widths, ``(*functions, n)``.
        heights: unnormalized bin heights, ``(*functions, n)``.
        derivatives: unnormalized derivatives at the n - 1 inner knots, ``(*functions, n - 1)``.
        bound: half the length of the interval; finite.
        inverse: evaluate the inverse function instead.

    Returns:
        The values and the logarithms of the derivatives at the points, both ``(*functions, M)``.

    Raises:
        ValueError: if a shape or the bound does not fit, or a bin would be shorter than 0.001 of the interval.
        TypeError: if an input is of an integer dtype, or two dtypes differ.

    Reference:
        `Durkan et al., Neural Spline Flows, 2019 <https://arxiv.org/abs/1906.04032>`_, section 3.1 (after Gregory and
        Delbourgo, 1982).

    Example:
        >>> x = torch.linspace(-2, 2, 5)
        >>> y, log_derivative = rational_quadratic_spline(x, torch.randn(4), torch.randn(4), torch.randn(3), bound=1.0)
        >>> bool(y[0] == x[0]), bool((y.diff() > 0).all())
        (True, True)
    """
    _check(x, widths, heights, derivatives, bound)

    def slopes_at(ends: Tensor) -> Tensor:
        return F.pad(_slopes(derivatives), (1, 1), value=1.0).gather(-1, ends + 1)

    return _evaluate(x, torch.stack([widths, heights], -2), slopes_at, x.ndim - 1, bound, inverse)


def elementwise_spline(
    x: Tensor, parameters: Tensor, *, bins: int, bound: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Evaluate a `rational_quadratic_spline` of its own for each element, or its inverse.

    Args:
        x: ``(B, *rest)``.
        parameters: ``(B, 3 bins - 1, *rest)``, of the dtype of x: the widths, the heights and the inner derivatives.
        bins: number of bins n.
        bound: half the length of the interval.
        inverse: evaluate the inverse function instead.

    Returns:
        The values and the logarithms of the derivatives, both of the shape of x.
    """
    sizes, derivatives = parameters.split([2 * bins, bins - 1], dim=1)

    def slopes_at(ends: Tensor) -> Tensor:
        inner = ends.clamp(0, bins - 2)
        return _slopes(derivatives.gather(1, inner).masked_fill(inner != ends, 0.0))

    # The bins stay on their axis: moving it behind the others would copy all parameters.
    value, log_derivative = _evaluate(x[:, None], sizes.unflatten(1, (2, bins)), slopes_at, 1, bound, inverse)
    return value.squeeze(1), log_derivative.squeeze(1)


def _check(x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float) -> None:
    if not 0 < bound < math.inf:
        raise ValueError(f"bound must be positive and finite, got {bound}; it is half the length of the interval")
    dtypes = [tensor.dtype for tensor in (x, widths, heights, derivatives)]
    if not x.is_floating_point() or len(set(dtypes)) > 1:
        got = ", ".join(map(str, dtypes))
        raise TypeError(
            f"points and parameters of a spline need one floating-point dtype, got {got}; convert with .to()"
        )
    bins = widths.shape[-1]
    if not 1 <= bins < 1 / MIN_BIN:
        raise ValueError(f"a spline needs at least one bin, and fewer than {1 / MIN_BIN:g}, got {bins}")
    expected = tuple((*x.shape[:-1], size) for size in (bins, bins, bins - 1))
    shapes = tuple(tuple(parameter.shape) for parameter in (widths, heights, derivatives))
    if shapes != expected:
        needed = f"points of shape {tuple(x.shape)} need widths, heights and derivatives of shapes {expected}"
        raise ValueError(f"{needed}, got {shapes}")


def _evaluate(
    x: Tensor, sizes: Tensor, slopes_at: Callable[[Tensor], Tensor], axis: int, bound: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    """Evaluate splines.

    Args:
        x: M points of each function along the axis.
        sizes: widths and heights along the axis, bins along the next, unnormalized.
        slopes_at: from numbers of inner knots, -1 and n - 1 for the outermost, to the derivatives there.
        axis: the axis.
        bound: half the length of the interval.
        inverse: evaluate the inverse functions instead.
    """
    dtype = x.dtype
    x = at_least_single(x)
    inside = x.detach().abs() < bound
    moved = torch.where(inside, x, 0.0)
    knots = _right_knots(at_least_single(sizes), axis + 1, bound)
    searched = knots.detach().select(axis, int(inverse))
    index = _count_at_or_below(moved.detach(), searched.narrow(axis, 0, searched.shape[axis] - 1), axis)
    ends = torch.cat([index - 1, index], axis)
    of_both = ends.clamp(min=0).unsqueeze(axis).expand(*knots.shape[: axis + 1], *ends.shape[axis:])
    left, right = _halves(knots.gather(axis + 1, of_both), axis + 1)
    left = left.masked_fill((index == 0).unsqueeze(axis), -bound)
    extents = (right - left).unbind(axis)
    segment = _Segment(*left.unbind(axis), *extents, *_halves(slopes_at(ends), axis))
    value, log_derivative = _inverse(moved, segment) if inverse else _forward(moved, segment)
    return torch.where(inside, value, x).to(dtype), (log_derivative * inside).to(dtype)


def _halves(tensor: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Return the halves along an axis; `Tensor.chunk` would fix the size in an exported graph."""
    size = tensor.shape[axis] // 2
    return tensor.narrow(axis, 0, size), tensor.narrow(axis, size, size)


def _right_knots(sizes: Tensor, axis: int, bound: float) -> Tensor:
    """Return the right end of each bin; bins are differences of knots, so that no point is outside its bin."""
    bins = sizes.shape[axis]
    smallest = 2 * bound * MIN_BIN
    least = torch.linspace(smallest - bound, bins * smallest - bound, bins, dtype=sizes.dtype, device=sizes.device)
    # In place: at these sizes fresh memory costs more than the arithmetic.
    shares = sizes.softmax(axis).cumsum(axis)
    return shares.mul_(2 * bound - bins * smallest).add_(least.view(-1, *[1] * (sizes.ndim - 1 - axis)))


def _slopes(derivatives: Tensor) -> Tensor:
    return MIN_DERIVATIVE + F.softplus(at_least_single(derivatives) + math.log(math.expm1(1 - MIN_DERIVATIVE)))


def _count_at_or_below(points: Tensor, knots: Tensor, axis: int) -> Tensor:
    """Return how many of the inner knots are at or below each point."""
    if axis == points.ndim - 1 and not transforms_active():  # `torch.vmap` lays tensors out so that it would warn
        return torch.searchsorted(knots.contiguous(), points.contiguous(), right=True)
    return (points.unsqueeze(axis + 1) >= knots.unsqueeze(axis)).sum(axis + 1)


def _forward(x: Tensor, at: _Segment) -> tuple[Tensor, Tensor]:
    place = _place((x - at.x) / at.width)
    slope = at.height / at.width
    denominator = torch.addcmul(slope, _curvature(slope, at), place.mixed)
    rise = torch.addcmul(slope * place.square, at.left_slope, place.mixed)
    return at.y + at.height * rise / denominator, _log_derivative(place, slope, denominator, at)


def _inverse(y: Tensor, at: _Segment) -> tuple[Tensor, Tensor]:
    slope = at.height / at.width
    curvature = _curvature(slope, at)
    eta = y - at.y
    # The place ξ is the root of a ξ² + 2 b ξ = c.
    bend = eta * curvature
    a = torch.addcmul(bend, at.height, slope - at.left_slope)
    b = (at.height * at.left_slope - bend) / 2
    c = slope * eta
    root = torch.addcmul(b.square(), a, c).clamp_min(0).sqrt()
    # Two forms of the same root: neither subtracts nearly equal numbers where it is taken.
    rising = b > 0
    xi = torch.where(rising, c, root - b) / torch.where(rising, b + root, a)
    place = _place(xi.clamp(0, 1))
    denominator = torch.addcmul(slope, curvature, place.mixed)
    return torch.addcmul(at.x, place.xi, at.width), -_log_derivative(place, slope, denominator, at)


def _curvature(slope: Tensor, at: _Segment) -> Tensor:
    return torch.sub(at.left_slope + at.right_slope, slope, alpha=2)


class _Place(NamedTuple):
    """The place of each point in its bin, from 0 to 1, and its products."""

    xi: Tensor
    rest: Tensor
    square: Tensor
    mixed: Tensor


def _place(xi: Tensor) -> _Place:
    rest = 1 - xi
    return _Place(xi, rest, xi.square(), xi * rest)


def _log_derivative(place: _Place, slope: Tensor, denominator: Tensor, at: _Segment) -> Tensor:
    numerator = torch.addcmul(at.right_slope * place.square, slope, place.mixed, value=2)
    numerator = torch.addcmul(numerator, at.left_slope, place.rest.square())
    return (numerator * (slope / denominator).square()).log()
