"""Roots of increasing functions, element by element, by Newton's method inside of a bracket."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from inverseflow.errors import ConvergenceError
from inverseflow.ops.fixed_point import default_tolerance
from inverseflow.ops.torch_internals import forward_mode_active, transforms_active, unwrap_functorch

Increasing = Callable[..., tuple[Tensor, Tensor]]
"""A function of x and parameters that returns f(x) and f'(x), both of x's shape."""


FEW = 2048
"""Fewer elements are evaluated again sooner than they are told apart."""


@dataclass(frozen=True)
class Root:
    """The solution of f(x) = z, and how well it solves the equation."""

    value: Tensor
    """The solution x, of z's shape."""
    residual: float
    r"""The largest :math:`|f(x) - z| / \max(1, |z|)`, measured before a last step of Newton's method."""
    error: float
    r"""How far rounding f may move x: the largest :math:`\epsilon \max(1, |z|) / f'(x)`, relative to max(1, \|x\|)."""
    evaluations: int
    """Number of evaluations of f."""


def monotone_root(
    function: Increasing,
    z: Tensor,
    *parameters: Tensor,
    start: Tensor,
    reach: Tensor | float = 1.0,
    max_evaluations: int = 200,
) -> Root:
    r"""Solve f(x; θ) = z for every element of z, where f increases in x.

    .. math:: x \leftarrow x + (z - f(x)) / f'(x)

    An element takes this step while it stays inside of the element's bracket and is at most half the step before.
    Otherwise the bracket is halved. While an end of the bracket is missing, the element moves towards it by `reach`,
    doubled each time. An element is found when a step and its residual are within `default_tolerance`, or when its
    bracket is at the resolution of the dtype. Found elements are left out of further evaluations.

    The solution has the first and second derivatives of the implicit function, by z and the parameters, in
    `torch.func` too; what else f depends on is a constant. Where z is not finite, x is z; where f is nan, x is nan.
    Compiled code leaves its graph here.

    Args:
        function: from x and the parameters to f(x) and f'(x), both of x's shape, element by element: it is called with
            fewer elements as others are found.
        z: the values, of any shape.
        parameters: θ, ``(..., *shape)`` with a shape that broadcasts to z's.
        start: where to start, of a shape that broadcasts to z's.
        reach: how far from the start the root is expected, positive; its error costs evaluations, no accuracy.
        max_evaluations: most evaluations of f.

    Raises:
        ConvergenceError: if a root is not found, such as for a value that f does not reach.

    Example:
        >>> def function(x, scale):
        ...     return x + scale * x**3, 1 + 3 * scale * x**2
        >>> z = torch.tensor([2.0, 10.0, -3e8], requires_grad=True)
        >>> x = monotone_root(function, z, torch.ones(1), start=torch.zeros(3)).value
        >>> x
        tensor([   1.0000,    2.0000, -669.4324], grad_fn=...)
        >>> x.sum().backward()
        >>> z.grad[:2]
        tensor([0.2500, 0.0769])
    """
    # How often a loop runs depends on values, so compiled code leaves its graph; only it needs what `disable` imports.
    search = torch.compiler.disable(_search) if torch.compiler.is_compiling() else _search
    constants = [tensor.detach() for tensor in parameters]
    root: Root = search(function, z.detach(), constants, start.detach(), torch.as_tensor(reach), max_evaluations)
    differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (z, *parameters))
    if not (differentiable or transforms_active() or forward_mode_active()):
        return root
    # Two steps of Newton's method from the solution, with the slope as it is there and residuals that are zero in
    # value: the first makes the first derivatives right, the second the second ones.
    x, slope = root.value, None
    for _ in range(2):
        value, derivative = function(x, *parameters)
        slope = derivative.detach() if slope is None else slope
        x = x + ((z - z.detach()) - (value - value.detach())) / slope
    return Root(x, root.residual, root.error, root.evaluations)


@torch.no_grad()
def _search(
    function: Increasing, z: Tensor, parameters: list[Tensor], start: Tensor, reach: Tensor, max_evaluations: int
) -> Root:
    eps, tolerance = torch.finfo(z.dtype).eps, default_tolerance(z.dtype)
    reach = reach.detach().to(z)
    # Every tensor that an element has a part in: when half of the elements are found, they are dropped.
    x, scale, last, stride = (tensor.expand(z.shape) for tensor in (start.to(z), reach, 2 * reach, reach))
    lower, upper = torch.full_like(z, -torch.inf), torch.full_like(z, torch.inf)
    pending, places = z.isfinite(), torch.arange(z.numel(), device=z.device).view(z.shape)
    everything = results = torch.stack([z, torch.zeros_like(z), torch.zeros_like(z)])  # root, residual, error
    for evaluations in count(1):
        value, slope = function(x, *parameters)
        residual = z - value
        step = residual / slope
        lower, upper = torch.where(residual < 0, lower, x), torch.where(residual > 0, upper, x)
        target, size, resolution = x + step, step.abs(), x.abs() + scale
        close = (size <= tolerance * resolution) & (residual.abs() <= tolerance * (1 + z.abs()))
        found = pending & (close | (upper - lower <= 2 * eps * resolution) | residual.isnan())
        answer = torch.where(close, target, torch.where(residual.isnan(), residual, x))
        quality = residual.abs() / z.abs().clamp_min(1), eps * z.abs().clamp_min(1) / slope / x.abs().clamp_min(1)
        results = torch.where(found, torch.stack([answer, *quality]), results)
        pending = pending & ~found
        left = int(unwrap_functorch(pending).sum())
        if not left:
            break
        if evaluations == max_evaluations:
            first = unwrap_functorch(pending)
            sought, low, high = (float(unwrap_functorch(tensor)[first][0]) for tensor in (z, lower, upper))
            raise ConvergenceError(
                f"no root was found for {left} values, such as {sought:.6g}, within {evaluations} evaluations, "
                f"that came to [{low:.6g}, {high:.6g}]; pass values that the function reaches, or a closer start"
            )
        inside = (lower < target) & (target < upper) & (size <= 0.5 * last)
        bounded = (upper - lower).isfinite()
        fallback = torch.where(bounded, lower + 0.5 * (upper - lower), x + stride * residual.sign())
        stride = torch.where(inside | bounded, stride, 2 * stride)
        new = torch.where(inside, target, fallback)
        x, last = new, (new - x).abs()
        if 2 * left <= places.numel() >= FEW and not transforms_active():
            everything = _put(results, places, everything)
            index = pending.flatten().nonzero()[:, 0]
            parameters = [_select(tensor, x.shape, index) for tensor in parameters]
            state = (z, x, scale, last, stride, lower, upper, places)
            z, x, scale, last, stride, lower, upper, places = (
                _select(tensor, pending.shape, index) for tensor in state
            )
            results, pending = results.flatten(1).index_select(1, index), torch.ones_like(z, dtype=torch.bool)
    root, misses, errors = _put(results, places, everything)
    return Root(root, _largest(misses), _largest(errors), evaluations)


def _select(tensor: Tensor, shape: torch.Size, index: Tensor) -> Tensor:
    """Select from the last axes, which broadcast to a shape and are flattened."""
    leading = tensor.shape[: max(0, tensor.ndim - len(shape))]
    return tensor.expand(*leading, *shape).reshape(*leading, -1).index_select(-1, index)


def _put(results: Tensor, places: Tensor, everything: Tensor) -> Tensor:
    """Put the columns of results at their places among everything."""
    if results.numel() == everything.numel():
        return results  # nothing was dropped
    return everything.flatten(1).index_copy(1, places.flatten(), results.flatten(1)).view_as(everything)


def _largest(x: Tensor) -> float:
    return float(unwrap_functorch(x).max()) if x.numel() else 0.0
