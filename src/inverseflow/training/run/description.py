"""What a run folder says about its data: enough to build the flow and to name classes and columns without the data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from inverseflow.errors import DataError, RunError
from inverseflow.utils.files import write_json


@dataclass(frozen=True)
class Description:
    """Content of data.json."""

    title: str
    """Name of the data to print."""
    event_shape: tuple[int, ...]
    """Shape of every example."""
    levels: int | None
    """Number of gray levels, None for continuous data."""
    condition: Any = None
    """What contexts say, None without contexts."""
    columns: tuple[str, ...] = ()
    """Names of the elements of an example that is a row of a table."""
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of the categories of each column that holds categories."""
    sampling_rate: int | None = None
    """Samples a second of audio, None for other data."""
    lattices: Mapping[str, Any] = field(default_factory=dict)
    """The `Lattice` of each column whose elements number the places of one."""

    @classmethod
    def of(cls, data: Any) -> "Description":
        """Return the description of a data set."""
        return cls(**{item.name: getattr(data, item.name) for item in fields(cls)})

    def check_same(self, other: "Description", where: Path) -> None:
        """Check that a run described by this can go on with other data: its contexts and columns mean the same.

        Args:
            other: describes the data.
            where: the run folder, in the error.

        Raises:
            DataError: if shape, gray levels, classes, columns, categories or sampling rate differ.
        """
        for name, mine, theirs in (
            ("shape", self.event_shape, other.event_shape),
            ("gray levels", self.levels, other.levels),
            ("columns", self.columns, other.columns),
            ("categories", self.categories, other.categories),
            ("lattices", self.lattices, other.lattices),
            ("condition", _plain(self.condition), _plain(other.condition)),
            ("sampling rate", self.sampling_rate, other.sampling_rate),
        ):
            if mine != theirs:
                raise DataError(
                    f"{other.title} has changed since {where} was trained: its {name} changed from {mine} to {theirs}; "
                    "restore the data, or train another run"
                )

    def write(self, path: Path) -> None:
        """Write the description as JSON."""
        lattices = {name: vars(lattice) for name, lattice in self.lattices.items()}
        mappings = {"categories": dict(self.categories), "lattices": lattices}
        write_json(path, {**vars(self), "condition": _plain(self.condition), **mappings})

    @classmethod
    def read(cls, path: Path) -> "Description":
        """Read what `write` wrote.

        Raises:
            RunError: if the file is damaged.
        """
        from inverseflow.data import Lattice, condition_from_mapping

        try:
            content = json.loads(path.read_text("utf-8"))
            condition = content["condition"]
            return cls(
                str(content["title"]),
                tuple(map(int, content["event_shape"])),
                content["levels"],
                None if condition is None else condition_from_mapping(condition),
                tuple(content["columns"]),
                {name: tuple(names) for name, names in content["categories"].items()},
                content.get("sampling_rate"),
                {name: Lattice(**lattice) for name, lattice in content.get("lattices", {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, DataError) as error:
            raise RunError(f"{path} is damaged; `train --resume` writes it anew") from error


def _plain(condition: Any) -> Any:
    return None if condition is None else condition.to_mapping()
