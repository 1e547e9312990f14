"""Fixed points, and inverses that have to be iterated, with the residual that was reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverseflow.errors import ConvergenceError

MAX_DAMPING = 1024.0


@dataclass(frozen=True)
class FixedPoint:
    r"""Where an iteration ended."""

    value: Tensor
    """The solution, ``(B, ...)``."""
    residual: float
    r"""The largest :math:`\lVert g(x) - x \rVert_\infty / \max(1, \lVert x \rVert_\infty)` of an event."""
    iterations: int
    """How many times g was evaluated."""


def default_tolerance(dtype: torch.dtype) -> float:
    """Return a residual that iterations in this dtype reach: 2e-12 in float64, 6e-6 in float32."""
    return float(torch.finfo(dtype).eps ** 0.75)


@torch.no_grad()
def fixed_point(
    update: Callable[[Tensor], Tensor], start: Tensor, *, tolerance: float | None = None, max_iterations: int = 1000
) -> FixedPoint:
    r"""Solve x = g(x) by iteration, damped where it overshoots.

    .. math:: x \leftarrow x + (g(x) - x) / \alpha

    Each element has its own α, at first 1. It is doubled when g(x) - x changes its sign and shrinks by less than half,
    and halved again, down to 1, when it keeps its sign. An event whose residual is within the tolerance is left alone,
    so that the events of a batch do not see each other; so is an element within a tenth of it, lest its rounding
    keeps others from settling.

    Args:
        update: g, from a batch to a batch of the same shape, event by event.
        start: where to start, ``(B, ...)``.
        tolerance: the largest residual accepted, None for `default_tolerance` of the dtype.
        max_iterations: how many times g may be evaluated.

    Returns:
        The solution and the residual it was accepted with. No gradient passes: see `invert_triangular`.

    Raises:
        ConvergenceError: an event's residual is above the tolerance, or not a number, after the last iteration.

    Example:
        >>> solution = fixed_point(torch.cos, torch.zeros(1, 1, dtype=torch.float64))
        >>> solution.value
        tensor([[0.7391]], dtype=torch.float64)
        >>> solution.residual < 1e-11
        True
    """
    tolerance = default_tolerance(start.dtype) if tolerance is None else tolerance
    x = start
    damping, previous = torch.ones_like(x), torch.zeros_like(x)
    residual = x.new_full((len(x),), torch.inf)
    for iteration in range(1, max_iterations + 1):
        change = update(x) - x
        scale = _largest(x).clamp_min(1)
        residual = _largest(change) / scale
        done = residual <= tolerance
        if bool(done.all()):
            return FixedPoint(x, float(residual.max()) if len(x) else 0.0, iteration)
        change = torch.where(change.abs() > _per_event(0.1 * tolerance * scale, x), change, 0)
        turned = change * previous < 0
        overshot = turned & (change.abs() > 0.5 * previous.abs())
        damping = torch.where(overshot, 2 * damping, torch.where(turned, damping, damping / 2)).clamp(1, MAX_DAMPING)
        previous = change
        x = torch.where(_per_event(done, x), x, x + change / damping)
    raise ConvergenceError(
        f"an iteration stopped at a residual of {float(residual.max()):.2g}, above its tolerance of {tolerance:.2g}, "
        f"after {max_iterations} iterations; allow more with max_iterations, or loosen tolerance"
    )


def invert_triangular(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    z: Tensor,
    start: Tensor,
    *,
    tolerance: float | None = None,
    max_iterations: int = 1000,
) -> FixedPoint:
    r"""Solve f(x) = z for x, where f has a triangular Jacobian, in any order of the elements, of positive diagonal.

    .. math:: x \leftarrow x + (z - f(x)) / \operatorname{diag} J_f(x)

    Near the solution the error after each iteration is the product of it with a strictly triangular matrix, hence it
    vanishes after finitely many. Far from it nothing is promised, but that an error is raised in place of a wrong
    answer. The solution has the gradient of the implicit function, which solves a linear triangular system by the same
    iteration; it is differentiable once. Compiled code leaves its graph here.

    Args:
        function: from x to f(x) and the diagonal of its Jacobian, both of x's shape, event by event.
        z: the values, ``(B, ...)``.
        start: where to start, of z's shape.
        tolerance: the largest residual accepted, None for `default_tolerance` of the dtype.
        max_iterations: how many times f may be evaluated.

    Raises:
        ConvergenceError: if the tolerance is not reached, in the solution or in its gradient.
        NotImplementedError: if a gradient of the solution is differentiated again.

    Reference:
        Song et al., MintNet, 2019, section 3.3.

    Example:
        >>> def function(x):
        ...     return x + x**3, 1 + 3 * x**2
        >>> z = torch.tensor([[2.0], [10.0]], requires_grad=True)
        >>> x = invert_triangular(function, z, torch.zeros(2, 1)).value
        >>> x.flatten()
        tensor([1., 2.], grad_fn=...)
        >>> x.sum().backward()
        >>> z.grad.flatten()
        tensor([0.2500, 0.0769])
    """
    # How often a loop runs depends on values, so compiled code leaves its graph; only it needs what `disable` imports.
    invert = torch.compiler.disable(_invert_triangular) if torch.compiler.is_compiling() else _invert_triangular
    solution: FixedPoint = invert(function, z, start, tolerance=tolerance, max_iterations=max_iterations)
    return solution


def _invert_triangular(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], z: Tensor, start: Tensor, **options: Any
) -> FixedPoint:
    def update(x: Tensor) -> Tensor:
        value, diagonal = function(x)
        return x + (z - value) / diagonal

    solution = fixed_point(update, start.detach(), **options)
    if not torch.is_grad_enabled():
        return solution
    x = solution.value.detach().requires_grad_()
    value, diagonal = function(x)

    def solve_transposed(gradient: Tensor) -> Tensor:
        scale = _per_event(_largest(gradient), gradient)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))

        def update(u: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(value, x, u, retain_graph=True)
            return u + (gradient / scale - product) / diagonal

        return scale * fixed_point(update, gradient / scale / diagonal, **options).value

    attached: Tensor = _Implicit.apply(  # type: ignore[no-untyped-call]
        z - value, solution.value, solve_transposed
    )
    return FixedPoint(attached, solution.residual, solution.iterations)


class _Implicit(torch.autograd.Function):
    """The solution x of f(x) = z as a function of the residual z - f(x), in which the gradients of z and of f meet."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, solve_transposed: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.solve_transposed = solve_transposed
        value = x.clone()
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        solution: Tensor = ctx.solve_transposed(gradient.detach())
        if torch.is_grad_enabled():
            (value,) = ctx.saved_tensors
            solution = _DifferentiableOnce.apply(solution, value)  # type: ignore[no-untyped-call]
        return solution, None, None


class _DifferentiableOnce(torch.autograd.Function):
    """A gradient that depends on a value in a way that is not differentiated: to ask for that is an error.

    `torch.autograd.function.once_differentiable` would not do. It takes the gradient for a constant where the gradient
    that came in is one.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, value: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError(
            "an iterated inverse has first derivatives only; differentiate the other direction a second time instead"
        )


def _largest(x: Tensor) -> Tensor:
    return x.abs().flatten(1).amax(1)


def _per_event(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.ndim - 1))
