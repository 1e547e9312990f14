"""Pairs of parameters and observations: from files, and checked where they enter."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverseflow.data.memory import as_tensor, frame_columns, is_frame
from inverseflow.data.paths import printable
from inverseflow.data.table import read_table
from inverseflow.errors import DataError

_MOST_BROKEN = 0.01
Names = tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """Parameters x with the observations y that they led to."""

    x: Tensor
    """``(N, D)``, float64."""
    y: Tensor
    """``(N, M)`` or ``(N, *shape)``, float64."""
    parameters: Names
    """Names of the columns of x."""
    observations: Names
    """Names of the columns of y; empty if an observation is no vector."""


def read_pairs(path: str | PathLike[str], *, parameters: Sequence[str] = (), observations: Sequence[str] = ()) -> Pairs:
    r"""Read pairs from a CSV, Parquet, NPZ or NPY file, as `inverseflow.data.load_table` reads tables.

    A name is a column, or in an NPZ file an array: ``(N, D)`` holds D parameters, and observations have any shape
    ``(N, ...)``. Units belong to the name, such as ``"radius [m]"``. Rows with missing or infinite values are dropped
    with a warning.

    Args:
        path: the file.
        parameters: columns of the parameters; all but the observations if left out.
        observations: columns of the observations; all but the parameters if left out.

    Raises:
        DataError: if the file cannot be read, both are left out, a name is unknown, given twice or no column of
            numbers, or over 1 % of the rows are not finite.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.csv")
        ...     _ = path.write_text("radius [m],mass,area\n1.5,2,7.1\n2,3,12.6\n")
        ...     pairs = read_pairs(path, observations=["area"])
        >>> pairs.parameters, pairs.y
        (('radius [m]', 'mass'), tensor([[ 7.1000],
                [12.6000]], dtype=torch.float64))
    """
    file = Path(path).expanduser()
    parameters, observations = distinct("parameters", parameters), distinct("observations", observations)
    content = _File.read(file)
    if not parameters and not observations:
        raise DataError(
            f"which columns of {content.where} are parameters, and which observations? It has "
            f"{', '.join(map(printable, content.columns))}: name the parameters"
        )
    of_x, of_y = content.columns_of(parameters), content.columns_of(observations)
    if twice := [name for name in of_x if name in of_y]:
        raise DataError(f"{twice[0]!r} can't be both a parameter and an observation: leave it out of one")
    x, x_names = content.take(parameters or tuple(name for name in content.columns if name not in of_y))
    y, y_names = content.take(observations or tuple(name for name in content.columns if name not in of_x))
    if x.ndim != 2:
        raise DataError(f"the parameters in {content.where} must be (N, D), got {tuple(x.shape)}: flatten them")
    if len(x) != len(y):
        raise DataError(f"{content.where} has {len(x)} rows of parameters and {len(y)} of observations")
    x, y = drop_non_finite(x, y, f"rows of {content.where}")
    return Pairs(x, y, x_names, y_names)


@dataclass(frozen=True)
class _File:
    """The columns of a table, and the whole arrays of an NPZ file, by name."""

    where: str
    columns: dict[str, Any]
    arrays: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> "_File":
        columns, arrays = dict(read_table(file)[0]), {}
        if file.suffix.lower() == ".npz":
            with np.load(file, allow_pickle=False) as content:
                arrays = {name: array for name, array in content.items() if array.ndim > 1}
        return cls(printable(file.name), columns, arrays)

    def columns_of(self, names: Names) -> Names:
        """Return the columns that names stand for, or refuse an unknown one."""
        if array := self._array(names):
            return tuple(name for name in self.columns if re.fullmatch(rf"{re.escape(array)}\d+", name)) or (array,)
        for name in names:
            if name not in self.columns:
                has = ", ".join(map(printable, {**self.columns, **self.arrays}))
                raise DataError(f"{self.where} has no column {name!r}{_unit_hint(name, self.columns)}: it has {has}")
        return names

    def take(self, names: Names) -> tuple[Tensor, Names]:
        """Return the numbers of columns, or of one array, and the names of their columns."""
        if not (array := self._array(names)):
            return _matrix(self.columns, names, self.where), names
        values = as_tensor(f"{array} of {self.where}", self.arrays[array]).double()
        return values, tuple(f"{array}{index}" for index in range(values.shape[1])) if values.ndim == 2 else ()

    def _array(self, names: Names) -> str:
        """Return the name of the one array that holds all, empty if the names are columns."""
        return names[0] if len(names) == 1 and names[0] in self.arrays else ""


def read_observations(path: str | PathLike[str], observations: Sequence[str]) -> Tensor:
    """Read observations ``(m, M)`` from a file, by the names that a posterior was trained with.

    Args:
        path: a CSV, Parquet, NPZ or NPY file; other columns are ignored, with a warning that names them.
        observations: names of the columns.

    Raises:
        DataError: if the file cannot be read, or a column is missing or holds something else than finite numbers.
    """
    file = Path(path).expanduser()
    columns, where = dict(read_table(file)[0]), printable(file.name)
    values = named_columns(columns, tuple(observations), where)
    if others := [printable(name) for name in columns if name not in observations]:
        what = (
            "columns that are no observations, and are"
            if len(others) > 1
            else "a column that is no observation, and is"
        )
        warnings.warn(f"{where} has {what} ignored: {', '.join(others)}", stacklevel=2)
    return values


def named_columns(columns: Any, names: Names, where: str) -> Tensor:
    """Return columns by their names as finite numbers ``(N, len(names))``, in float64; raise DataError."""
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(
            f"{where} has no column {missing[0]!r}{_unit_hint(missing[0], columns)}: the posterior was trained "
            f"on {', '.join(names)}, and {where} has {', '.join(map(str, columns))}"
        )
    values = _matrix(columns, names, where)
    return finite(values, where, names)


def numbers(name: str, values: Any) -> tuple[Tensor, Names]:
    """Return parameters or observations ``(N, ...)`` as float64 on the CPU, and the names of a frame's columns.

    Raises:
        DataError: if they are no array of numbers.
    """
    if is_frame(values):
        columns = frame_columns(values, name)
        return _matrix(columns, tuple(columns), name), tuple(columns)
    tensor = as_tensor(name, values).double()
    return tensor[:, None] if tensor.ndim == 1 else tensor, ()


def distinct(what: str, names: Sequence[str]) -> Names:
    """Return names of parameters or observations, one or several, as text; raise DataError if one comes twice."""
    names = (names,) if isinstance(names, str) else tuple(map(str, names))
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{what} name {twice[0]!r} twice: name it once")
    return names


def has_doubles(values: Any) -> bool:
    """Return whether an array, a tensor or a column of a frame is of double precision; lists of numbers are not."""
    if is_frame(values):
        columns = values if isinstance(values, Mapping) else frame_columns(values, "x")
        return any(map(has_doubles, columns.values()))
    return str(getattr(values, "dtype", "")) in ("torch.float64", "float64")


def finite(values: Tensor, what: str, names: Names = ()) -> Tensor:
    """Return values ``(N, ...)``, or raise DataError if one is NaN or infinite."""
    broken = ~values.isfinite()
    if bool(broken.any()):
        row = int(broken.flatten(1).any(1).nonzero()[0])
        column = int(broken[row].flatten().nonzero()[0])
        place = repr(names[column]) if len(names) == values[row].numel() else f"element {column}"
        count = int(broken.flatten(1).any(1).sum())
        raise DataError(
            f"{what} holds values that are not finite in {count} of {len(values)} rows, first {place} in row {row}: "
            "leave these rows out"
        )
    return values


def drop_non_finite(x: Tensor, y: Tensor, what: str = "simulations") -> tuple[Tensor, Tensor]:
    """Drop pairs with a value that is NaN or infinite, and warn of their number.

    Raises:
        DataError: if they are over 1 %.
    """
    broken = ~(x.flatten(1).isfinite().all(1) & y.flatten(1).isfinite().all(1))
    count = int(broken.sum())
    if count > _MOST_BROKEN * len(x):
        raise DataError(
            f"{count} of {len(x)} {what} are not finite (over {_MOST_BROKEN:.0%}), so the rest is no sample of the "
            f"prior: mend the simulator, or restrict the prior; the first has the parameters {_shown(x[broken][0])}"
        )
    if not count:
        return x, y
    warnings.warn(f"{count} of {len(x)} {what} are not finite and were dropped", stacklevel=3)
    return x[~broken], y[~broken]


def _shown(x: Tensor) -> str:
    return ", ".join(f"{value:.6g}" for value in x.flatten().tolist()[:8]) + (", ..." if x.numel() > 8 else "")


def _unit_hint(name: str, columns: Iterable[str]) -> str:
    """Say so if a column has the same name with another unit, or with one of the two missing."""
    bare, unit = _without_unit(name)
    near = next((column for column in columns if _without_unit(column)[0] == bare), None)
    if near is None:
        return ""
    if not unit:
        return f" but {near!r}, whose unit is part of its name"
    kind = "in another unit (convert it, and rename it)" if _without_unit(near)[1] else "without a unit (rename it)"
    return f" but {near!r}, {kind}"


def _without_unit(name: str) -> tuple[str, str]:
    """Return a name without the unit in brackets at its end, and the unit."""
    bare, unit = re.fullmatch(r"(.*?)\s*(\[.*\])?", name, re.DOTALL).groups("")  # type: ignore[union-attr]
    return bare, unit


def _matrix(columns: Any, names: Names, where: str) -> Tensor:
    """Return columns as numbers ``(N, len(names))``, missing ones as NaN."""
    if not names:
        raise DataError(f"{where} has no column left: name fewer of the others")
    values = []
    for name in names:
        column = np.asarray(columns[name])
        try:
            if column.dtype.kind not in "biufO":
                raise ValueError
            values.append(column.astype(np.float64))
        except (ValueError, TypeError):
            raise DataError(
                f"the column {name!r} of {where} holds {column.dtype.name}, not numbers: leave it out, or convert it"
            ) from None
    return torch.from_numpy(np.stack(values, 1))
