"""The ready-made inverse problems by name."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from inverseflow.inference.problem import Problem

MakerT = TypeVar("MakerT", bound=Callable[..., Problem])
_PROBLEMS: dict[str, Callable[..., Problem]] = {}


def register(name: str) -> Callable[[MakerT], MakerT]:
    """Enter a function that returns a problem into the registry.

    Args:
        name: the name for `create` and the command line.

    Raises:
        ValueError: if the name is taken.

    Example:
        >>> from torch.distributions import Independent, Normal
        >>> from inverseflow.inference import problems
        >>> @problems.register("identity")
        ... def identity(dims=2):
        ...     return Problem("identity", Independent(Normal(torch.zeros(dims), 1.0), 1), lambda x: x)
        >>> problems.create("identity", dims=3).dims
        3
    """

    def enter(make: MakerT) -> MakerT:
        if name in _PROBLEMS:
            raise ValueError(f"the name {name!r} already belongs to {_PROBLEMS[name].__name__}")
        _PROBLEMS[name] = make
        return make

    return enter


def problem_names() -> list[str]:
    """Return the names of all registered problems."""
    return sorted(_PROBLEMS)


def create(name: str, **options: Any) -> Problem:
    """Build a registered problem.

    Args:
        name: one of `problem_names`.
        options: arguments of its function.

    Raises:
        ValueError: if the name is unknown, or the problem has no such option.

    Example:
        >>> from inverseflow.inference import problems
        >>> x, y = problems.create("ballistics").simulate(5)
        >>> x.shape, y.shape
        (torch.Size([5, 4]), torch.Size([5, 1]))
    """
    if name not in _PROBLEMS:
        raise ValueError(f"unknown problem {name!r}: choose one of {', '.join(problem_names())}")
    known = list(inspect.signature(_PROBLEMS[name]).parameters)
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"{name!r} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    return _PROBLEMS[name](**options)
