"""Checks of options that several commands share. They need nothing heavy, so that a mistake is reported at once."""

from pathlib import Path

from inverseflow.errors import OptionError
from inverseflow.training.run import Run


def check_run(run: Run) -> None:
    """Check that there is a run in the folder, with settings that can be used."""
    run.options()


def check_counts(**values: int | None) -> None:
    """Check that each value that was given is at least 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise OptionError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


def check_seed(seed: int) -> None:
    """Check that a random generator accepts the seed."""
    if not 0 <= seed < 2**63:
        raise OptionError(f"--seed must be at least 0 and below 2^63, got {seed}")


def check_output(path: Path | None, *suffixes: str) -> None:
    """Check that an output is no folder, and that its name ends in one of `suffixes` if any are given."""
    if path is None:
        return
    if suffixes and path.suffix not in suffixes:
        *others, last = suffixes
        ends = f"{', '.join(others)} or {last}" if others else last
        raise OptionError(f"--output must end in {ends}, got {path}")
    if path.is_dir():
        raise OptionError(f"--output must be a file, and {path} is a folder")
    if path.parent.exists() and not path.parent.is_dir():
        raise OptionError(f"--output must be a file in a folder, and {path.parent} is a file")
