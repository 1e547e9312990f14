"""Checks of arguments: numbers are converted or refused where they enter."""

import csv
import math
import operator
import os
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from inverseflow.errors import OptionError

Choice = TypeVar("Choice", bound=str)


def whole_number(name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None) -> int:
    """Return a number that has ``__index__``, such as NumPy's, as an `int`; raise TypeError or ValueError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {_shown(value)}") from None
    if (at_least is not None and number < at_least) or (at_most is not None and number > at_most):
        raise ValueError(f"{name} must be {_range(at_least, at_most)}, got {_shown(number)}")
    return number


def finite_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    remedy: str = "",
) -> float:
    """Return a number that has ``__float__``, such as NumPy's, as a `float`; raise TypeError or ValueError."""
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TypeError(f"{name} must be a number, got {_shown(value)}") from None
    if not (math.isfinite(number) and above < number < below and at_least <= number <= at_most):
        raise ValueError(f"{name} must {_interval(above, below, at_least, at_most)}, got {value}{remedy}")
    return number


def one_of(name: str, value: Choice, options: Iterable[Choice]) -> Choice:
    """Return a word that is one of several; raise ValueError otherwise."""
    options = tuple(options)
    if value not in options:
        *others, last = map(repr, options)
        raise ValueError(f"unknown {name} {value!r}: choose {', '.join(others)}{' or ' if others else ''}{last}")
    return value


def whole_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return a sequence of whole numbers, each at least 1, as a tuple of `int`; raise TypeError or ValueError."""
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise TypeError(f"{name} must be a sequence of whole numbers such as (1, 28, 28), got {shape!r}")
    sizes = tuple(whole_number(f"each size of {name}", size) for size in shape)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{name} must have at least one size, each at least 1, got {sizes}")
    return sizes


def whole_numbers(
    name: str, values: Any, *, at_least: int | None = None, at_most: int | None = None
) -> tuple[int, ...]:
    """Return a sequence of numbers that have ``__index__`` as a tuple of `int`; raise TypeError or ValueError."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of whole numbers such as [0, 2], got {_shown(values)}")
    return tuple(whole_number(f"each of {name}", value, at_least=at_least, at_most=at_most) for value in values)


def builtin_numbers(value: Any) -> Any:
    """Return numbers of NumPy and PyTorch as Python's own, and sequences of them as tuples; leave the rest alone."""
    if isinstance(value, (list, tuple)):
        return tuple(builtin_numbers(item) for item in value)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # arrays and tensors, zero-dimensional ones included
        return builtin_numbers(value.tolist()) if value.shape else value.item()
    return value


def convert_fields(options: Any, prefix: str = "") -> None:
    """Convert every field of a frozen dataclass to its annotated type, in place; raise OptionError.

    ``Annotated[KIND, check]`` has ``check(NAME, VALUE)`` convert a value. Names in errors begin with `prefix`.
    """
    hints = get_type_hints(type(options), include_extras=True)
    for item in fields(options):
        try:
            value = _converted(prefix + item.name, getattr(options, item.name), hints[item.name])
        except (TypeError, ValueError) as error:
            raise OptionError(str(error)) from None
        object.__setattr__(options, item.name, value)


def _converted(name: str, value: Any, annotation: Any) -> Any:
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if value is None and type(None) in kinds:
        return None
    (kind,) = (kind for kind in kinds if kind is not type(None))
    if get_origin(kind) is Annotated:
        return get_args(kind)[1](name, value)
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
        return value
    if kind is Path and isinstance(value, (str, os.PathLike)):
        if "\0" in os.fspath(value):
            raise ValueError(f"{name} must be a path without NUL characters, got {os.fspath(value)!r}")
        return Path(os.path.expanduser(value))  # unlike Path.expanduser, leaves the name of an unknown user as it is
    if not isinstance(value, kind):
        what = "a group of settings" if is_dataclass(kind) else _KINDS.get(kind, kind.__name__)
        raise TypeError(f"{name} must be {what}, got {_shown(value)}")
    return value


_KINDS = {bool: "true or false", str: "a string", Path: "a path"}


def _interval(above: float, below: float, at_least: float, at_most: float) -> str:
    if at_most < math.inf:
        return f"be above {above:g} and at most {at_most:g}"
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


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def listed(text: str) -> list[str]:
    """Return the parts of a text between commas, without spaces around them; double quotes protect commas.

    Example:
        >>> listed('a, "speed, in m/s",c')
        ['a', 'speed, in m/s', 'c']
    """
    return [part.strip() for part in next(csv.reader([text.replace("\n", " ")], skipinitialspace=True), [])]
