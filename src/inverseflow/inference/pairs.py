"""Pairs of parameters and observations: from files, and checked where they enter."""

import re
import warnings
from collections.abc import Sequence
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
    parameters, observations = _names("parameters", parameters), _names("observations", observations)
    where = printable(file.name)
    whole = _whole_arrays(file) if file.suffix.lower() == ".npz" else {}
    x_array, y_array = _single(parameters, whole), _single(observations, whole)
    columns = {} if x_array is not None and y_array is not None else dict(read_table(file)[0])
    for array in (x_array, y_array):  # its columns are not left for the other
        for name in () if array is None else _columns_of(array, whole):
            columns.pop(name, None)
    if not parameters and not observations:
        raise DataError(
            f"which columns of {where} are parameters and which observations? It has {', '.join(columns)}: "
            "name the parameters"
        )
    for name in (*parameters, *observations):
        if name not in columns and name not in (x_array, y_array):
            has = ", ".join(map(printable, [*columns, *(array for array in whole if array not in columns)]))
            raise DataError(f"{where} has no column {name!r}{_unit_hint(name, tuple(columns))}: it has {has}")
    if twice := [name for name in parameters if name in observations]:
        raise DataError(f"{twice[0]!r} can't be both a parameter and an observation: leave it out of one")
    if x_array is None:
        parameters = parameters or tuple(name for name in columns if name not in observations)
        x = _matrix(columns, parameters, where)
    else:
        x, parameters = _array(whole[x_array], x_array, where), ()
        parameters = tuple(f"{x_array}{index}" for index in range(x.shape[1])) if x.shape[1] > 1 else (x_array,)
    if y_array is None:
        observations = observations or tuple(name for name in columns if name not in parameters)
        y = _matrix(columns, observations, where)
    else:
        y = _array(whole[y_array], y_array, where)
        observations = tuple(f"{y_array}{index}" for index in range(y.shape[1])) if y.ndim == 2 else ()
    if x.ndim != 2:
        raise DataError(f"the parameters in {where} must be an array (N, D), got {tuple(x.shape)}: flatten them")
    if len(x) != len(y):
        raise DataError(f"{where} has {len(x)} rows of parameters and {len(y)} of observations: give as many of both")
    x, y = drop_non_finite(x, y, f"rows of {where}")
    return Pairs(x, y, parameters, observations)


def read_observations(path: str | PathLike[str], observations: Sequence[str]) -> Tensor:
    """Read observations ``(m, M)`` from a file, by the names that a posterior was trained with.

    Args:
        path: a CSV, Parquet, NPZ or NPY file; other columns are ignored.
        observations: names of the columns.

    Raises:
        DataError: if the file cannot be read, or a column is missing or holds something else than finite numbers.
    """
    file = Path(path).expanduser()
    columns = dict(read_table(file)[0])
    return named_columns(columns, tuple(observations), printable(file.name))


def named_columns(columns: Any, names: Names, where: str) -> Tensor:
    """Return columns by their names as finite numbers ``(N, len(names))``, in float64; raise DataError."""
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(
            f"{where} has no column {missing[0]!r}{_unit_hint(missing[0], tuple(columns))}: the posterior was trained "
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


def _names(option: str, names: Sequence[str]) -> Names:
    names = (names,) if isinstance(names, str) else tuple(map(str, names))
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{option} name {twice[0]!r} twice: name it once")
    return names


def _unit_hint(name: str, columns: Names) -> str:
    """Say so if a column has the same name with another unit."""
    bare = re.sub(r"\s*\[.*\]$", "", name)
    near = [column for column in columns if re.sub(r"\s*\[.*\]$", "", column) == bare]
    return f" but {near[0]!r}, in another unit (convert it, and rename it)" if near else ""


def _whole_arrays(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, KeyError):
        return {}  # read_table says what is wrong


def _single(names: Names, arrays: dict[str, Any]) -> str | None:
    """Return the name of the one array that holds all, None if the names are columns."""
    return names[0] if len(names) == 1 and names[0] in arrays and arrays[names[0]].ndim > 1 else None


def _columns_of(array: str, arrays: dict[str, Any]) -> list[str]:
    values, named = arrays[array], arrays.get("columns")
    if values.ndim != 2:
        return []
    own = named is not None and named.shape == values.shape[1:]
    return list(map(str, named.tolist())) if own else [f"{array}{index}" for index in range(values.shape[1])]  # type: ignore[union-attr]


def _array(values: Any, name: str, where: str) -> Tensor:
    return as_tensor(f"{name} of {where}", values).double()


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
