"""Check the fields of an options dataclass against their annotations and ranges."""

from __future__ import annotations

import math
import operator
import os
import types
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, SupportsFloat, Union, get_args, get_origin, get_type_hints

from inverseflow.errors import OptionError


def convert_fields(options: Any, prefix: str = "") -> None:
    """Convert every field of a frozen dataclass to its annotated type, in place.

    Anything with ``__index__`` is a whole number and anything with ``__float__`` a number, NumPy's numbers included. A
    string is a path where a path is expected, and its leading ``~`` is expanded.

    Args:
        options: the dataclass.
        prefix: put before the name of a field in messages.

    Raises:
        OptionError: if a value does not fit its annotation. The message names the field.
    """
    kind: Any = type(options)
    hints = _hints(kind)
    for item in fields(options):
        value = _converted(getattr(options, item.name), hints[item.name], prefix + item.name)
        object.__setattr__(options, item.name, value)


def require_range(
    options: Any,
    *names: str,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    remedy: str | None = None,
    prefix: str = "",
) -> None:
    """Check that fields of `options` lie in a range; None is in every range.

    Args:
        options: the object whose attributes are checked.
        names: the attributes.
        at_least: smallest value.
        above: largest value that is too small.
        at_most: largest value.
        below: smallest value that is too large.
        remedy: what to do instead, the end of the message.
        prefix: put before the name of a field in messages.

    Raises:
        OptionError: if a value is out of range. The message names the field.

    Example:
        >>> require_range(types.SimpleNamespace(steps=0), "steps", at_least=1, remedy="leave it out for the default")
        Traceback (most recent call last):
        inverseflow.errors.OptionError: steps must be at least 1, got 0; leave it out for the default
    """
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    wording = " and ".join(f"{words} {_number(bound)}" for words, bound in bounds.items() if bound is not None)
    for name in names:
        value = getattr(options, name)
        if value is None:
            continue
        fits = (
            (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (at_most is None or value <= at_most)
            and (below is None or value < below)
        )
        if not fits:
            end = "" if remedy is None else f"; {remedy}"
            raise OptionError(f"{prefix}{name} must be {wording}, got {_number(value)}{end}")


def _converted(value: Any, annotation: Any, name: str) -> Any:
    kinds = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if value is None and type(None) in kinds:
        return None
    (kind,) = (kind for kind in kinds if kind is not type(None))
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise OptionError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
        return value
    if kind is int:
        return _whole(value, name)
    if kind is float:
        return _real(value, name)
    if kind is Path:
        return _path(value, name)
    if not isinstance(value, kind):
        what = {bool: "true or false", str: "a string"}.get(kind, kind.__name__)
        if is_dataclass(kind):
            what = "a group of settings"
        raise OptionError(f"{name} must be {what}, got {_shown(value)}")
    return value


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise OptionError(f"{name} must be a whole number, got {_shown(value)}")


def _real(value: Any, name: str) -> float:
    if isinstance(value, SupportsFloat) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise OptionError(f"{name} must be a finite number, got {_shown(value)}")


def _path(value: Any, name: str) -> Path:
    if not isinstance(value, (str, os.PathLike)):
        raise OptionError(f"{name} must be a path, got {_shown(value)}")
    text = os.fspath(value)
    if "\0" in text:
        raise OptionError(f"{name} must be a path without NUL characters, got {text!r}")
    return Path(os.path.expanduser(text))  # unlike Path.expanduser, leaves the name of an unknown user as it is


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _number(value: float) -> str:
    return _shown(value) if isinstance(value, int) else f"{value:g}"


@lru_cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)
