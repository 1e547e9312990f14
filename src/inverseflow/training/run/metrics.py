"""The file metrics.csv of a run."""

from __future__ import annotations

import csv
from pathlib import Path

from inverseflow.errors import RunError

COLUMNS = ("step", "train_bits_per_dim", "val_bits_per_dim", "learning_rate", "gradient_norm", "ms_per_step")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.csv, without their empty cells. A last row that was cut off is left out.

    Args:
        path: the file.

    Raises:
        RunError: if the file cannot be read or holds something else.
    """
    damaged = RunError(f"{path} is damaged; move it away to go on without the rows so far")
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        complete = [row for row in rows if None not in row and None not in row.values()]
        numbers = [{name: float(value) for name, value in row.items() if value} for row in complete]
    except OSError as error:
        raise RunError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, csv.Error) as error:
        raise damaged from error
    if not all("step" in row for row in numbers):
        raise damaged
    return numbers
