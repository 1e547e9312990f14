"""Fixed points, and inverses that have to be iterated, with the residual that was reached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverseflow.errors import ConvergenceError
from inverseflow.utils.arguments import finite_number

MAX_DAMPING = 1024.0


@dataclass(frozen=True)
class FixedPoint:
    r"""The solution found by an iteration, and how well it solves the equation."""

    value: Tensor
    """The solution, ``(B, ...)``."""
    residual: float
    r"""The largest :math:`\lVert g(x) - x \rVert_\infty / \max(1, \lVert x \rVert_\infty)` of an event."""
    iterations: int
    """Number of evaluations of g."""


def default_tolerance(dtype: torch.dtype) -> float:
    """Return a residual that iterations reach in this dtype: 2e-12 in float64, 6e-6 in float32."""
    return float(torch.finfo(dtype).eps ** 0.75)


@torch.no_grad()
def fixed_point(
    update: Callable[[Tensor], Tensor], start: Tensor, *, tolerance: float | None = None, max_iterations: int = 1000
) -> FixedPoint:
    r"""Solve x = g(x) by iteration, damped where it overshoots.

    .. math:: x \leftarrow x + (g(x) - x) / \alpha

    Each element has its own α, at first 1. It is doubled when g(x) - x changes its sign and shrinks by less than half,
    and halved again, down to 1, when the sign stays. An event within the tolerance is not updated any more, so the
    result for an event does not depend on its batch. An element within a tenth of the tolerance is not updated either:
    its rounding could keep others from settling.

    Args:
        update: g, from a batch to a batch of the same shape, event by event.
        start: where to start, ``(B, ...)``.
        tolerance: the largest residual accepted, None for `default_tolerance` of the dtype.
        max_iterations: most evaluations of g.

    Returns:
        The solution and its residual. It has no gradient: see `invert_triangular`.

    Raises:
        ValueError: if the tolerance is not positive and finite.
        ConvergenceError: if the residual of an event is above the tolerance, or nan, after the last iteration.

    Example:
        >>> solution = fixed_point(torch.cos, torch.zeros(1, 1, dtype=torch.float64))
        >>> solution.value
        tensor([[0.7391]], dtype=torch.float64)
        >>> solution.residual < 1e-11
        True
    """
    tolerance = finite_number("tolerance", default_tolerance(start.dtype) if tolerance is None else tolerance, above=0)
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
    r"""Solve f(x) = z, where the Jacobian of f is triangular in some order of the elements, with a positive diagonal.

    .. math:: x \leftarrow x + (z - f(x)) / \operatorname{diag} J_f(x)

    Near the solution each iteration multiplies the error by a strictly triangular matrix, so that it vanishes after
    finitely many. Convergence is only local. The solution has the first and second derivatives of the implicit
    function; they solve linear triangular systems by the same iteration. Compiled code leaves its graph here.

    Args:
        function: from x to f(x) and the diagonal of its Jacobian, both of x's shape, event by event.
        z: the values, ``(B, ...)``.
        start: where to start, of z's shape.
        tolerance: the largest residual accepted, None for `default_tolerance` of the dtype.
        max_iterations: most evaluations of f.

    Raises:
        ConvergenceError: if the tolerance is not reached, in the solution or in its gradient.
        RuntimeError: if a third derivative is taken.

    Reference:
        `Song et al., MintNet, 2019 <https://arxiv.org/abs/1907.07945>`_, section 3.3.

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
    jacobian = _Jacobian(function, solution.value.detach(), options)
    return FixedPoint(_differentiable(z, jacobian, solution.value), solution.residual, solution.iterations)


def invert_residual(
    g: Callable[[Tensor], Tensor], z: Tensor, *, tolerance: float | None = None, max_iterations: int = 1000
) -> FixedPoint:
    r"""Solve x + g(x) = z, where g is a contraction: its Lipschitz constant L in the 2-norm is below 1.

    .. math:: x_0 = z, \quad x_{n+1} = z - g(x_n), \qquad
        \lVert x_n - x \rVert_2 \le \frac{L^n}{1 - L} \lVert x_1 - x_0 \rVert_2

    The steps of a contraction become shorter until only rounding is left; there the iteration stops, for each event on
    its own. The solution has the first and second derivatives of the implicit function; they solve linear systems by
    the same iteration. Compiled code leaves its graph here.

    Args:
        g: from a batch to a batch of the same shape, event by event.
        z: the values, ``(B, ...)``.
        tolerance: the largest residual accepted, None for `default_tolerance` of the dtype.
        max_iterations: most evaluations of g.

    Raises:
        ConvergenceError: if the residual of an event is above the tolerance, or nan, where its steps stop getting
            shorter or after the last iteration.
        RuntimeError: if a third derivative is taken.

    Reference:
        Behrmann et al., Invertible Residual Networks, 2019, section 2, https://arxiv.org/abs/1811.00995.

    Example:
        >>> invert_residual(lambda x: 0.5 * x, torch.tensor([[3.0]])).value.item()
        2.0
    """
    invert = torch.compiler.disable(_invert_residual) if torch.compiler.is_compiling() else _invert_residual
    solution: FixedPoint = invert(g, z, tolerance, max_iterations)
    return solution


def _invert_residual(
    g: Callable[[Tensor], Tensor], z: Tensor, tolerance: float | None, max_iterations: int
) -> FixedPoint:
    solution = _contract(lambda x: z - g(x), z.detach(), tolerance, max_iterations)
    if not torch.is_grad_enabled():
        return solution

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        return x + g(x), torch.ones_like(x)

    jacobian = _ContractionJacobian(function, solution.value.detach(), tolerance, max_iterations)
    return FixedPoint(_differentiable(z, jacobian, solution.value), solution.residual, solution.iterations)


@torch.no_grad()
def _contract(
    update: Callable[[Tensor], Tensor], x: Tensor, tolerance: float | None, max_iterations: int
) -> FixedPoint:
    tolerance = finite_number("tolerance", default_tolerance(x.dtype) if tolerance is None else tolerance, above=0)
    batch = x.shape[0]
    length, residual = x.new_full((batch,), torch.inf), x.new_full((batch,), torch.inf)
    active = torch.ones_like(length, dtype=torch.bool)
    iteration = 0
    while bool(active.any()) and iteration < max_iterations:
        iteration += 1
        step = update(x) - x
        before, length = length, torch.linalg.vector_norm(step.flatten(1), dim=1)
        residual = torch.where(active, _largest(step) / _largest(x).clamp_min(1), residual)
        active = active & (length < before) & (length > 0)
        x = torch.where(_per_event(active, x), x + step, x)
    worst = float(residual.max()) if batch else 0.0
    if worst <= tolerance:
        return FixedPoint(x, worst, iteration)
    raise ConvergenceError(
        f"a fixed-point iteration stopped at a residual of {worst:.2g}, above its tolerance of {tolerance:.2g}, after "
        f"{iteration} iterations; it needs a function with a Lipschitz constant below 1, and more of them the closer "
        "to 1: lower it, allow more with max_iterations, or loosen tolerance"
    )


def triangular_fixed_point(update: Callable[[Tensor], Tensor], start: Tensor, *, passes: int) -> FixedPoint:
    r"""Solve x = g(x), where the Jacobian of g is strictly triangular in some order of the elements.

    .. math:: x \leftarrow g(x)

    After each pass one more element in that order is exact, whatever the start, so that as many passes as there are
    elements always suffice. Mostly it takes far fewer: the iteration stops when no element changes by more than its
    rounding. The solution has the first and second derivatives of the implicit function, which take as many passes at
    most. Compiled code leaves its graph here.

    Args:
        update: g, from a batch to a batch of the same shape, event by event.
        start: where to start, ``(B, ...)``. Where it is already the solution, no more than one pass is needed.
        passes: most passes: the number of elements of an event, or of the blocks that g makes exact together.

    Raises:
        RuntimeError: if a third derivative is taken.

    Reference:
        Song et al., Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving, 2021, section 3,
        https://arxiv.org/abs/2002.03629.

    Example:
        >>> def update(x):
        ...     return torch.stack([torch.ones_like(x[:, 0]), 2 * x[:, 0], x[:, 0] * x[:, 1]], 1)
        >>> triangular_fixed_point(update, torch.zeros(1, 3), passes=3).value.tolist()
        [[1.0, 2.0, 2.0]]
    """
    iterate = _triangular_fixed_point
    iterate = torch.compiler.disable(iterate) if torch.compiler.is_compiling() else iterate
    return iterate(update, start, passes)


def _triangular_fixed_point(update: Callable[[Tensor], Tensor], start: Tensor, passes: int) -> FixedPoint:
    solution = _repeat(update, start.detach(), passes)
    if not torch.is_grad_enabled():
        return solution

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        return x - update(x), torch.ones_like(x)

    jacobian = _UnitJacobian(function, solution.value.detach(), passes)
    zero = torch.zeros_like(solution.value)
    return FixedPoint(_differentiable(zero, jacobian, solution.value), solution.residual, solution.iterations)


@torch.no_grad()
def _repeat(update: Callable[[Tensor], Tensor], x: Tensor, passes: int) -> FixedPoint:
    rounding = 16 * torch.finfo(x.dtype).eps
    for number in range(1, passes + 1):
        before, x = x, update(x)
        residual = float(((x - before).abs() / before.abs().clamp_min(1)).max()) if x.numel() else 0.0
        if residual <= rounding or number == passes:
            return FixedPoint(x, residual, number)
    raise ValueError(f"passes must be at least 1, got {passes}")


def _differentiable(z: Tensor, jacobian: "_Jacobian", x: Tensor) -> Tensor:
    """Return the solution x of f(x) = z with its derivatives by z and whatever f depends on."""
    # Two steps of x ← x + J⁻¹ (z - f(x)) from the solution, with J as it is there. They change no value; each makes the
    # derivatives right to one more order. A first derivative needs the first step alone.
    first_residual = z - jacobian.value
    first = _Step.apply(first_residual, x, jacobian, None)  # type: ignore[no-untyped-call]
    second_residual = z - jacobian.function(first)[0]
    second: Tensor = _Step.apply(second_residual, first, jacobian, first_residual)  # type: ignore[no-untyped-call]
    return second


class _Jacobian:
    """The Jacobian of f at one point; solves linear systems with it by the iteration that inverts f."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, options: dict[str, Any]) -> None:
        self.function = function
        self._options = options
        self._x = x.requires_grad_()
        self.value, self._diagonal = function(self._x)

    def solve_transposed(self, right: Tensor) -> Tensor:
        """Return u with Jᵀ u = right."""
        with torch.enable_grad():
            return self._solve(lambda u: torch.autograd.grad(self.value, self._x, u, retain_graph=True)[0], right)

    def solve(self, right: Tensor) -> Tensor:
        """Return v with J v = right; J v is the derivative of Jᵀ w in the direction v, whatever w."""
        with torch.enable_grad():
            value = self.function(self._x)[0]  # the graph of `self.value` may be freed by now
            w = torch.zeros_like(value, requires_grad=True)
            (product,) = torch.autograd.grad(value, self._x, w, create_graph=True)
            return self._solve(lambda v: torch.autograd.grad(product, w, v, retain_graph=True)[0], right)

    def _solve(self, multiply: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
        diagonal = self._diagonal.detach()
        scale = _per_event(_largest(right), right)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        scaled = right / scale
        solution = fixed_point(lambda u: u + (scaled - multiply(u)) / diagonal, scaled / diagonal, **self._options)
        return scale * solution.value


class _UnitJacobian(_Jacobian):
    """A Jacobian that is triangular in some order, with ones on its diagonal."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, passes: int) -> None:
        super().__init__(function, x, {})
        self._passes = passes

    def _solve(self, multiply: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
        scale = _per_event(_largest(right), right)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        scaled = right / scale
        return scale * _repeat(lambda u: u + scaled - multiply(u), scaled, self._passes).value


class _ContractionJacobian(_Jacobian):
    """I + J for a J whose spectral norm is below 1."""

    def __init__(
        self,
        function: Callable[[Tensor], tuple[Tensor, Tensor]],
        x: Tensor,
        tolerance: float | None,
        max_iterations: int,
    ) -> None:
        super().__init__(function, x, {})
        self._limits = tolerance, max_iterations

    def _solve(self, multiply: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
        scale = _per_event(_largest(right), right)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        scaled = right / scale
        return scale * _contract(lambda u: u + scaled - multiply(u), scaled, *self._limits).value


class _Step(torch.autograd.Function):
    """x + J⁻¹ r for a residual r that is zero in value.

    With a shortcut r₁, where the gradient will not be differentiated, x₁ + J⁻¹ r₁ for a constant x₁. That has the same
    first derivative if x = x₁ + J⁻¹ r₁: the gradient of x is zero then, as r depends on x by -J.
    """

    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, jacobian: _Jacobian, shortcut: Tensor | None) -> Tensor:
        ctx.jacobian, ctx.has_shortcut = jacobian, shortcut is not None
        ctx.set_materialize_grads(False)  # zeros would cost a solve
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, Tensor | None]:
        if gradient is None:
            return None, None, None, None
        if ctx.has_shortcut and not torch.is_grad_enabled():
            return None, None, None, ctx.jacobian.solve_transposed(gradient)
        return _SolveTransposed.apply(gradient, ctx.jacobian), gradient, None, None  # type: ignore[no-untyped-call]


class _SolveTransposed(torch.autograd.Function):
    """J⁻ᵀ g, linear in g; J is constant."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, jacobian: _Jacobian) -> Tensor:
        ctx.jacobian = jacobian
        return jacobian.solve_transposed(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("differentiable twice, not three times; leave out create_graph in the second backward")
        return ctx.jacobian.solve(gradient), None


def _largest(x: Tensor) -> Tensor:
    return x.abs().flatten(1).amax(1)


def _per_event(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.ndim - 1))
