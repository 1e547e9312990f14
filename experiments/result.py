"""Results of experiments: measured rows and the machine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from inverseflow.errors import RunError

Values = dict[str, Any]
"""Values by name, as JSON can hold them."""


@dataclass(frozen=True)
class Row:
    """One measurement of one line of a table."""

    name: str
    """Name of the line, such as "Inverse-Flow"."""
    part: str
    """Name of the measurement, such as "seed 0" or "speed"; a line may have several."""
    settings: Values
    """All settings of the measurement. A row with equal settings is not measured again."""
    values: Values
    """Measured values."""


@dataclass(frozen=True)
class Result:
    """Complete or partial result of an experiment. Means, ratios and verdicts are computed from the rows when printed.

    Example:
        >>> row = Row("Glow", "seed 0", {"steps": 2}, {"bits_per_dim": 1.5})
        >>> result = Result("table2", "smoke", 1, {"device": "cpu"}, True, (row,))
        >>> Result.from_json(result.to_json()) == result
        True
        >>> result.value("Glow", "seed 0", "bits_per_dim")
        1.5
    """

    experiment: str
    """Name of the experiment."""
    budget: str
    """``"smoke"``, ``"quick"`` or ``"full"``."""
    seeds: int
    """Number of seeds, starting at 0."""
    machine: Machine
    """Machine and versions."""
    complete: bool
    """Whether all rows are present."""
    rows: tuple[Row, ...]
    """Rows in printing order."""

    @property
    def names(self) -> list[str]:
        """The lines of the table."""
        return list(dict.fromkeys(row.name for row in self.rows))

    def parts(self, name: str, prefix: str = "") -> list[Row]:
        """Return the rows of one line whose part begins with `prefix`."""
        return [row for row in self.rows if row.name == name and row.part.startswith(prefix)]

    def value(self, name: str, part: str, key: str) -> Any:
        """Return one measured value, or None if it is missing."""
        return next((row.values.get(key) for row in self.rows if (row.name, row.part) == (name, part)), None)

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Result:
        """Read what `to_json` returned."""
        result = Result(**{**data, "rows": tuple(Row(**row) for row in data["rows"])})
        mappings = (result.machine, *(mapping for row in result.rows for mapping in (row.settings, row.values)))
        if not all(isinstance(mapping, dict) for mapping in mappings):
            raise TypeError("settings, values and the machine must be mappings")
        return result


def read_result(path: Path) -> Result:
    """Read a result from its JSON file.

    Args:
        path: the file.

    Raises:
        RunError: if the file holds anything else.
    """
    try:
        return Result.from_json(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{path} is not the result of an experiment; move it, or choose another folder with --out"
        ) from error
