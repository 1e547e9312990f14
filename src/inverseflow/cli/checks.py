"""Checks of options that several commands share, made before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from inverseflow.errors import OptionError


def check_counts(**values: int | None) -> None:
    """Checks that each value that was given is at least 1.

    Raises:
        OptionError: If one is not; it is named.
    """
    for name, value in values.items():
        if value is not None and value < 1:
            raise OptionError(f"{name} must be at least 1, not {value}")


def check_seed(seed: int) -> None:
    """Checks that a generator takes the seed.

    Raises:
        OptionError: If it is out of range.
    """
    if not 0 <= seed < 2**63:
        raise OptionError(f"seed must be in [0, 2^63), not {seed}")


def check_output(path: Path | None, *suffixes: str) -> None:
    """Checks that the name of a file says what is written into it.

    Raises:
        OptionError: If it ends in none of `suffixes`.
    """
    if path is not None and path.suffix not in suffixes:
        *others, last = suffixes
        ends = f"{', '.join(others)} or {last}" if others else last
        raise OptionError(f"cannot write {path}: its name should end in {ends}")
