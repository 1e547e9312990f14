"""The monotone rational-quadratic spline."""

import math
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
    width: Tensor
    y: Tensor
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
    dtype = x.dtype
    x, widths, heights, derivatives = map(at_least_single, (x, widths, heights, derivatives))
    inside = x.detach().abs() < bound
    moved = torch.where(inside, x, 0.0)
    segment = _segment_at(moved, widths, heights, derivatives, bound, inverse)
    value, log_derivative = _inverse(moved, segment) if inverse else _forward(moved, segment)
    return torch.where(inside, value, x).to(dtype), (log_derivative * inside).to(dtype)


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


def _segment_at(point: Tensor, widths: Tensor, heights: Tensor, raw: Tensor, bound: float, inverse: bool) -> _Segment:
    inner = _inner_knots(torch.stack([widths, heights]), bound)
    slopes = MIN_DERIVATIVE + F.softplus(raw + math.log(math.expm1(1 - MIN_DERIVATIVE)))
    positions = F.pad(F.pad(inner, (1, 0), value=-bound), (0, 1), value=bound)
    # One gather for both ends of all three: at small sizes the number of operations is what takes the time.
    knots = torch.cat([positions, F.pad(slopes, (1, 1), value=1.0)[None]])
    searched, points = inner.detach()[int(inverse)], point.detach()
    if transforms_active():  # `torch.vmap` lays tensors out so that the search would warn
        index = (points[..., None] >= searched[..., None, :]).sum(-1)
    else:
        index = torch.searchsorted(searched, points.contiguous(), right=True)
    ends = torch.stack([index, index + 1]).expand(3, 2, *index.shape)
    x, right_x, y, top_y, *at_ends = knots[:, None].expand(3, 2, *knots.shape[1:]).gather(-1, ends).flatten(0, 1)
    return _Segment(x, right_x - x, y, top_y - y, *at_ends)


def _inner_knots(unnormalized: Tensor, bound: float) -> Tensor:
    """Return the n - 1 knots between the ends; bins are differences of knots, so that no point is outside its bin."""
    bins = unnormalized.shape[-1]
    shares = MIN_BIN + (1 - MIN_BIN * bins) * unnormalized.softmax(-1)
    return 2 * bound * shares[..., :-1].cumsum(-1) - bound


def _forward(x: Tensor, at: _Segment) -> tuple[Tensor, Tensor]:
    place = _place((x - at.x) / at.width)
    slope = at.height / at.width
    twice_slope = 2 * slope
    denominator = slope + (at.left_slope + at.right_slope - twice_slope) * place.mixed
    y = at.y + at.height * (slope * place.square + at.left_slope * place.mixed) / denominator
    return y, _log_derivative(place, slope, twice_slope, denominator, at)


def _inverse(y: Tensor, at: _Segment) -> tuple[Tensor, Tensor]:
    slope = at.height / at.width
    twice_slope = 2 * slope
    curvature = at.left_slope + at.right_slope - twice_slope
    eta = y - at.y
    a = at.height * (slope - at.left_slope) + eta * curvature
    b = at.height * at.left_slope - eta * curvature
    c = -slope * eta
    root = (b.square() - 4 * a * c).clamp_min(0).sqrt()
    # Two forms of the same root: neither subtracts nearly equal numbers where it is taken.
    xi = torch.where(b > 0, 2 * c, root - b) / torch.where(b > 0, -b - root, 2 * a)
    place = _place(xi.clamp(0, 1))
    denominator = slope + curvature * place.mixed
    return at.x + place.xi * at.width, -_log_derivative(place, slope, twice_slope, denominator, at)


class _Place(NamedTuple):
    """The place of each point in its bin, from 0 to 1, and its products."""

    xi: Tensor
    rest: Tensor
    square: Tensor
    mixed: Tensor


def _place(xi: Tensor) -> _Place:
    rest = 1 - xi
    return _Place(xi, rest, xi.square(), xi * rest)


def _log_derivative(place: _Place, slope: Tensor, twice_slope: Tensor, denominator: Tensor, at: _Segment) -> Tensor:
    numerator = at.right_slope * place.square + twice_slope * place.mixed + at.left_slope * place.rest.square()
    return 2 * slope.log() + numerator.log() - 2 * denominator.log()
