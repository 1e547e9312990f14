"""Inputs of a network for which it returns a target: one loop, and a table of step rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.errors import NonFiniteError, OptionError
from inverseflow.inference.inversion.boundary import Boundary
from inverseflow.inference.inversion.descent import gradient, lbfgs
from inverseflow.inference.inversion.direct import Coordinate, NelderMead
from inverseflow.inference.inversion.exhaustive import Exhaustive
from inverseflow.inference.inversion.genetic import Genetic
from inverseflow.inference.inversion.misfit import Misfit, Network
from inverseflow.inference.inversion.search import Box, Rule, Search
from inverseflow.inference.inversion.wlk import input_deltas
from inverseflow.utils.arguments import builtin_numbers, finite_number, one_of, whole_number


@dataclass(frozen=True)
class InversionMethod:
    """A way to search for inputs."""

    build: Callable[..., Rule]
    """Returns its step rule for a search and its own options."""
    about: str
    """What it does, in one line."""
    uses_gradient: bool = False
    """Whether the network must be differentiable."""
    tolerance: float = 1e-4
    """Residual of a solution, unless told."""
    restarts: int | None = None
    """Number of searches side by side, None for one search of the whole box."""

    @property
    def needs_box(self) -> bool:
        """Whether the box must be bounded."""
        return self.build in (Exhaustive, Genetic, Boundary)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of its own options."""
        parameters = inspect.signature(self.build).parameters.values()
        return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)


INVERSION_METHODS: dict[str, InversionMethod] = {
    "lbfgs": InversionMethod(lbfgs, "quasi-Newton steps", True, 1e-4, 32),
    "gradient": InversionMethod(
        gradient, "gradient descent, the gradient by automatic differentiation", True, 1e-4, 32
    ),
    "wlk": InversionMethod(gradient, "the same with the deltas written out, for sequential networks", True, 1e-4, 32),
    "coordinate": InversionMethod(Coordinate, "one input at a time, without gradients", False, 1e-4, 32),
    "nelder-mead": InversionMethod(NelderMead, "simplex search, without gradients", False, 1e-4, 32),
    "exhaustive": InversionMethod(Exhaustive, "all points of a grid or a Sobol sequence", False, 1e-2),
    "genetic": InversionMethod(Genetic, "populations of bit strings", False, 1e-2, 4),
    "boundary": InversionMethod(Boundary, "points spread along a level set", False, 1e-2),
}
"""The methods by name."""


@dataclass(frozen=True, eq=False)
class Inversion:
    """Inputs for which a network returns a target, or the best input if there is none."""

    solutions: Tensor
    """Distinct inputs ``(k, n)``, best first; the best input alone ``(1, n)`` if none is within the tolerance."""
    residuals: Tensor
    r"""Distances :math:`\|t - f(x)\|` of their outputs from the target, over the outputs that count, ``(k,)``."""
    tolerance: float
    """Largest residual of a solution."""
    evaluations: int
    """Number of inputs whose outputs were computed."""
    gradients: int
    """Number of inputs whose gradients were computed."""

    @property
    def reached(self) -> Tensor:
        """Which of the inputs are solutions, ``(k,)``."""
        return self.residuals <= self.tolerance

    @property
    def converged(self) -> bool:
        """Whether a solution was found."""
        return bool(self.reached.any())


def invert(
    network: Network | nn.Module,
    target: Any,
    *,
    method: str = "lbfgs",
    inputs: int | None = None,
    box: tuple[Any, Any] | None = None,
    mask: Any = None,
    start: Any = None,
    restarts: int | None = None,
    tolerance: float | None = None,
    separation: float = 1e-3,
    enough: int | None = None,
    max_evaluations: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Inversion:
    r"""Find inputs x for which a network returns a target: :math:`f(x) = t`.

    The network stays as it is: it runs in evaluation mode and its weights get no gradient. Several searches run side by
    side, and one that is stuck starts again elsewhere, until all have found a solution or `max_evaluations` is used up.
    A target that the network cannot reach is reported by ``converged``, with the input that comes nearest to it.

    Args:
        network: f, a module or function from ``(B, n)`` to ``(B, m)``, row by row.
        target: t, m numbers.
        method: a name among `INVERSION_METHODS`: lbfgs, gradient, wlk, coordinate, nelder-mead, exhaustive, genetic or
            boundary.
        inputs: n; by default the length of the bounds, or the inputs of the network's first linear layer.
        box: lower and upper bounds of x, each a number or n numbers, possibly infinite. By default there are none.
            exhaustive, genetic and boundary need them.
        mask: which outputs count, m booleans. By default all.
        start: where the first search starts, n numbers; by default a random point. Methods that need a box take none.
        restarts: number of searches side by side, by default 32, and 4 populations of genetic.
        tolerance: largest residual :math:`\|t - f(x)\|` of a solution, by default 1e-4, and 1e-2 for exhaustive,
            genetic and boundary.
        separation: smallest distance of two distinct solutions in one coordinate, in widths of the box (1 where it has
            none).
        enough: number of solutions that ends the search, distinct or not. By default every search goes on.
        max_evaluations: most inputs that the network is evaluated for in the search, by default 2,000 for each restart,
            and 200,000 for exhaustive, genetic and boundary.
        seed: seed of the starts and of random steps.
        **options: the method's own options, see `INVERSION_METHODS`: step and learning_rate of gradient and wlk, memory
            of lbfgs, grid or points of exhaustive, population, bits, gray, selection, crossover, mutation and elite of
            genetic, points, generations, replaced and neighbors of boundary, patience of those that start again.

    Returns:
        The solutions, their residuals, and whether there are any.

    Raises:
        OptionError: if an argument is invalid, or the network does not suit the method.
        NonFiniteError: if the network returned no finite value for any input.

    Example:
        >>> found = invert(lambda x: x.square(), [4.0], inputs=1)
        >>> found.solutions.sort(0).values, found.converged
        (tensor([[-2.0000],
                 [ 2.0000]]), True)
        >>> invert(lambda x: x.square(), [-1.0], inputs=1, method="nelder-mead", max_evaluations=2000).converged
        False
    """
    method = one_of("method", method, INVERSION_METHODS)
    way = INVERSION_METHODS[method]
    unknown = sorted(set(options) - set(way.options))
    if unknown:
        raise OptionError(f"{method} has no option {unknown[0]!r}; its options are {', '.join(way.options)}")
    if way.restarts is None and restarts is not None:
        raise OptionError(f"{method} searches the whole box once; leave restarts out")
    restarts = whole_number("restarts", way.restarts or 1 if restarts is None else restarts, at_least=1)
    tolerance = finite_number("tolerance", way.tolerance if tolerance is None else tolerance, above=0)
    separation = finite_number("separation", separation, at_least=0)
    enough = None if enough is None else whole_number("enough", enough, at_least=1)
    if max_evaluations is None:
        max_evaluations = 200_000 if way.needs_box else 2_000 * restarts
    max_evaluations = whole_number("max_evaluations", max_evaluations, at_least=1)
    seed = whole_number("seed", seed, at_least=0, at_most=2**63 - 1)
    with torch.inference_mode(False), _frozen(network):
        wanted, counted = _target(network, target, mask)
        bounds = _box(network, wanted, inputs, box, start, seed)
        if way.needs_box and not bounds.bounded:
            raise OptionError(f"{method} searches a bounded box; set box to finite bounds (LOW, HIGH)")
        if way.needs_box and start is not None:
            raise OptionError(f"{method} searches the whole box; leave start out")
        backend = input_deltas(network) if method == "wlk" else way.uses_gradient
        misfit = Misfit(network, wanted, counted, backend)
        goal = (_MARGIN * tolerance) ** 2
        rule = way.build(Search(bounds, restarts, goal, max_evaluations), **options)
        points = _search(rule, misfit, enough)
        solutions, residuals = _distinct(points, misfit, tolerance, separation * bounds.widths)
    return Inversion(solutions, residuals, tolerance, misfit.evaluations, misfit.gradients)


_MARGIN = 0.99  # solutions are evaluated again in other batches, which rounds differently
_BATCH = 4096


def _search(rule: Rule, misfit: Misfit, enough: int | None) -> Tensor:
    """Return the best point that was seen and all solutions: propose, evaluate, keep."""
    best, least = None, torch.inf
    while not rule.finished and (enough is None or len(rule.found) < enough):
        x = rule.propose()
        if misfit.evaluations + len(x) > rule.search.max_evaluations:
            break
        error, gradient = misfit(x)
        first = int(error.argmin())
        if error[first] < least:
            best, least = x[first, None], float(error[first])
        rule.update(x, error, gradient)
    if best is None:
        if misfit.evaluations:
            raise NonFiniteError(
                f"the network returned nan or infinity for all {misfit.evaluations:,} inputs; check it, or set the box "
                "that it is meant for"
            )
        raise OptionError(
            f"max_evaluations must be at least {len(x)}, the points that are evaluated side by side, "
            f"got {rule.search.max_evaluations}"
        )
    return torch.cat([best, rule.found])


def _distinct(points: Tensor, misfit: Misfit, tolerance: float, apart: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct solutions among points, or the best point, and their residuals, best first."""
    with torch.no_grad():
        residuals = torch.cat([misfit.error(batch) for batch in points.split(_BATCH)]).sqrt()
    order = residuals.nan_to_num(nan=torch.inf).argsort()
    order = order[: max(1, int((residuals <= tolerance).sum()))]
    kept = []
    while len(order):
        kept.append(order[0])
        order = order[((points[order] - points[order[0]]).abs() > apart).any(1)]
    which = torch.stack(kept)
    return points[which], residuals[which]


@contextmanager
def _frozen(network: Network | nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while, and check that it did not change."""
    if not isinstance(network, nn.Module):
        yield
        return
    training = [module for module in network.modules() if module.training]
    before = [(name, tensor, tensor.detach().clone()) for name, tensor in _tensors(network)]
    for module in training:
        module.training = False  # `eval` is an error in exported modules
    try:
        yield
    finally:
        for module in training:
            module.training = True
    changed = [name for name, tensor, copy in before if not torch.equal(tensor.nan_to_num(), copy.nan_to_num())]
    if changed:
        raise OptionError(f"the network changes its own {changed[0]} when it is evaluated; pass one that does not")


def _tensors(network: Network | nn.Module) -> list[tuple[str, Tensor]]:
    if not isinstance(network, nn.Module):
        return []
    return [*network.named_parameters(), *network.named_buffers()]


def _target(network: Network | nn.Module, target: Any, mask: Any) -> tuple[Tensor, Tensor]:
    """Return the target in the network's dtype and on its device, and which outputs count."""
    given = _numbers("target", target)
    like = next((tensor for _, tensor in _tensors(network) if tensor.is_floating_point()), None)
    if like is None:
        like = given if given.is_floating_point() else torch.empty(0)
    wanted = given.detach().to(like, copy=True).flatten()
    counted = torch.ones_like(wanted, dtype=torch.bool)
    if mask is not None:
        counted = _numbers("mask", mask).flatten().to(wanted.device)
        if counted.dtype != torch.bool or counted.shape != wanted.shape or not counted.any():
            raise OptionError(
                f"mask must have a boolean for each of {len(wanted)} outputs, one of them true, got {mask}"
            )
    if not wanted.numel() or not wanted[counted].isfinite().all():
        raise OptionError(f"target must be finite numbers, got {target}; leave outputs without one out with mask")
    return wanted, counted


def _numbers(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value if isinstance(value, Tensor) else builtin_numbers(value))
    except (TypeError, ValueError, RuntimeError):
        raise OptionError(f"{name} must be numbers, got {value!r}") from None


def _box(
    network: Network | nn.Module, like: Tensor, inputs: int | None, box: tuple[Any, Any] | None, start: Any, seed: int
) -> Box:
    try:
        low, high = (-torch.inf, torch.inf) if box is None else box
    except (TypeError, ValueError):
        raise OptionError(f"box must be a pair of lower and upper bounds, got {box!r}") from None
    low, high = (_numbers("box", side).to(like) for side in (low, high))
    lengths = {len(side) for side in (low, high) if side.ndim}
    if inputs is not None:
        lengths.add(whole_number("inputs", inputs, at_least=1))
    elif not lengths and isinstance(network, nn.Module):
        linear = (module for module in network.modules() if isinstance(module, nn.Linear))
        lengths |= {module.in_features for module in islice(linear, 1)}
    if len(lengths) != 1 or max(low.ndim, high.ndim) > 1:
        got = " and ".join(map(str, sorted(lengths))) or "none"
        raise OptionError(
            f"the length of the network's input vectors must be known, got {got}; set inputs, and bounds of that length"
        )
    (count,) = lengths
    low, high = (side.expand(count).clone() for side in (low, high))
    if not (low < high).all():
        raise OptionError(
            f"each lower bound of the box must be below the upper one, got {low.tolist()} and {high.tolist()}"
        )
    if start is not None:
        start = _numbers("start", start).to(like)
        if start.shape != (count,) or not start.isfinite().all():
            raise OptionError(f"start must be {count} finite numbers, got the shape {tuple(start.shape)}")
    return Box(low, high, seed=seed, start=start)
