"""Kinds of arguments. They are stricter than the parser's own, which rounds 1.5 and takes '' for a folder."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter, Token

from inverseflow.training.run import Run

_T = TypeVar("_T")


def _whole_number(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"must be a whole number, got {word!r}") from None


def _finite_number(word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number, got {word!r}")
    return number


def _path(word: str) -> Path:
    if not word or "\0" in word:
        raise ValueError(f"must be the name of a file or folder, got {word!r}")
    return Path(os.path.expanduser(word))  # unlike Path.expanduser, leaves the name of an unknown user


def _run(word: str) -> Run:
    if not word or "\0" in word:
        raise ValueError(f"RUN must be the name of a folder, got {word!r}")
    return Run(_path(word))


def _by(convert: Callable[[str], _T]) -> Callable[[Any, Sequence[Token]], _T]:
    return lambda kind, tokens: convert(tokens[0].value)


def _by_or_null(convert: Callable[[str], _T]) -> Callable[[Any, Sequence[Token]], _T | None]:
    return lambda kind, tokens: None if tokens[0].value == "null" else convert(tokens[0].value)


Whole = Annotated[int, Parameter(converter=_by(_whole_number))]
Real = Annotated[float, Parameter(converter=_by(_finite_number))]
File = Annotated[Path, Parameter(converter=_by(_path))]
Number = Annotated[int, Parameter(converter=_by(_whole_number), alias="-n")]
Output = Annotated[Path, Parameter(converter=_by(_path), alias="-o")]
RunFolder = Annotated[Run, Parameter(converter=_by(_run), n_tokens=1, accepts_keys=False)]

STRICT: dict[Any, Any] = {
    int: Whole,
    float: Real,
    Path: File,
    int | None: Annotated[int | None, Parameter(converter=_by_or_null(_whole_number))],
    float | None: Annotated[float | None, Parameter(converter=_by_or_null(_finite_number))],
    tuple[str, ...]: str | None,  # names separated by commas
    Path | None: Annotated[Path | None, Parameter(converter=_by_or_null(_path))],
}
"""The strict kind of argument for each plain annotation."""
