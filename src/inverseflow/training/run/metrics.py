"""The file metrics.csv of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from inverseflow.errors import RunError
from inverseflow.utils.files import atomic_write, errors_naming

_COLUMNS = ("step", "train_bits_per_dim", "val_bits_per_dim", "learning_rate", "gradient_norm", "ms_per_step")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows without their empty cells, and without a last row that was cut off."""
    try:
        with errors_naming(path), path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
        numbers = [{name: float(value) for name, value in row.items() if value} for row in rows]
        if all("step" in row for row in numbers):
            return numbers
    except (ValueError, csv.Error):
        pass
    raise RunError(f"{path} is damaged; move it away to go on without the rows so far")


def begin_metrics(path: Path, step: int) -> None:
    """Make the file, with the rows up to a step that the previous file had: later steps are made again."""
    kept = [row for row in read_metrics(path) if row["step"] <= step] if step and path.exists() else []
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(map(_as_text, kept))


def append_metrics(path: Path, row: Mapping[str, float]) -> None:
    """Append one row."""
    with errors_naming(path), path.open("a", newline="") as file:
        csv.DictWriter(file, _COLUMNS).writerow(_as_text(row))


def _as_text(row: Mapping[str, float]) -> dict[str, str]:
    return {name: str(int(value)) if name == "step" else f"{value:.6g}" for name, value in row.items()}
