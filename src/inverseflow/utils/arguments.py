"""Checks of arguments: numbers are converted or refused where they enter."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, TypeVar

Choice = TypeVar("Choice", bound=str)


def whole_number(name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None) -> int:
    """Return an argument as an `int`.

    Args:
        name: what the error calls the argument.
        value: anything that has ``__index__``, such as a NumPy integer, but no boolean.
        at_least: the smallest value allowed, None for no limit.
        at_most: the largest value allowed, None for no limit.

    Raises:
        TypeError: if the value is not a whole number.
        ValueError: if it is out of range.

    Example:
        >>> whole_number("width", 2.0)
        Traceback (most recent call last):
        ...
        TypeError: width must be a whole number, got 2.0
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if (at_least is not None and number < at_least) or (at_most is not None and number > at_most):
        raise ValueError(f"{name} must be {_range(at_least, at_most)}, got {number}")
    return number


def finite_number(
    name: str, value: Any, *, above: float = -math.inf, below: float = math.inf, at_least: float = -math.inf
) -> float:
    """Return an argument as a finite `float`.

    Args:
        name: what the error calls the argument.
        value: anything that has ``__float__``, such as a NumPy number, but no boolean.
        above: the value must be greater.
        below: the value must be smaller.
        at_least: the value must not be smaller.

    Raises:
        TypeError: if the value is not a number.
        ValueError: if it is infinite, not a number, or out of range.

    Example:
        >>> finite_number("bound", float("inf"), above=0)
        Traceback (most recent call last):
        ...
        ValueError: bound must be finite and above 0, got inf
    """
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not (math.isfinite(number) and above < number < below and number >= at_least):
        raise ValueError(f"{name} must {_interval(above, below, at_least)}, got {value}")
    return number


def one_of(name: str, value: Choice, options: Iterable[Choice]) -> Choice:
    """Return an argument that is one of several words.

    Args:
        name: what the error calls the argument.
        value: the word.
        options: the words allowed.

    Raises:
        ValueError: if the word is another.

    Example:
        >>> one_of("order", "C", ("A", "B"))
        Traceback (most recent call last):
        ...
        ValueError: unknown order 'C': choose 'A' or 'B'
    """
    options = tuple(options)
    if value not in options:
        *others, last = map(repr, options)
        raise ValueError(f"unknown {name} {value!r}: choose {', '.join(others)}{' or ' if others else ''}{last}")
    return value


def whole_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple of `int`.

    Args:
        name: what the error calls the argument.
        shape: a sequence of whole numbers such as a list, a `torch.Size` or an array.

    Raises:
        TypeError: if it is not a sequence of whole numbers.
        ValueError: if it is empty, or a size is below 1.

    Example:
        >>> whole_shape("event_shape", [1, 8, 8])
        (1, 8, 8)
    """
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise TypeError(f"{name} must be a sequence of whole numbers such as (1, 28, 28), got {shape!r}")
    sizes = tuple(whole_number(f"each size of {name}", size) for size in shape)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{name} must have at least one size, each at least 1, got {sizes}")
    return sizes


def builtin_numbers(value: Any) -> Any:
    """Return numbers of NumPy and PyTorch as Python's own, and sequences of them as tuples; leave the rest alone.

    Example:
        >>> import numpy as np
        >>> builtin_numbers([np.float64(0.5), np.int64(3), None])
        (0.5, 3, None)
    """
    if isinstance(value, (list, tuple)):
        return tuple(builtin_numbers(item) for item in value)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # arrays and tensors, zero-dimensional ones included
        return builtin_numbers(value.tolist()) if value.shape else value.item()
    return value


def _interval(above: float, below: float, at_least: float) -> str:
    if above > -math.inf and below < math.inf:
        return f"lie strictly between {above:g} and {below:g}"
    if above > -math.inf:
        return f"be finite and above {above:g}"
    if below < math.inf:
        return f"be at least {at_least:g} and below {below:g}"
    return f"be finite and at least {at_least:g}" if at_least > -math.inf else "be finite"


def _range(at_least: int | None, at_most: int | None) -> str:
    if at_most is None:
        return f"at least {at_least}"
    return f"at most {at_most}" if at_least is None else f"between {at_least} and {at_most}"
