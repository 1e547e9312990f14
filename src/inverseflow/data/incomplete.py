"""Tables with missing cells: read for a density, and filled with what it drew."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inverseflow.data.condition import category_name, few
from inverseflow.data.looks import Lattice
from inverseflow.data.table import Array, Columns, missing_cells, numbers_of, rows_in_words
from inverseflow.errors import DataError

_OFF = 1e-6  # of a step


def incomplete_rows(
    table: Columns,
    names: Sequence[str],
    categories: Mapping[str, tuple[str, ...]],
    lattices: Mapping[str, Lattice],
    where: str,
) -> npt.NDArray[np.float64]:
    """Return columns as `load_table` numbers them, ``(N, D)``, with NaN where a cell is empty.

    Args:
        table: columns by name. One that is not there is missing in all rows.
        names: the columns of the density.
        categories: the names of the categories of the columns that hold categories.
        lattices: the lattices of the columns on which they lie.
        where: the table, in messages.

    Raises:
        DataError: if no column is there, or a known cell is none that the density could have seen: no finite number, no
            category of these or no value on the lattice. The message names it.

    Example:
        >>> table = {"a": np.array([1.5, np.nan]), "site": np.array(["south", None], dtype=object)}
        >>> incomplete_rows(table, ("a", "b", "site"), {"site": ("north", "south")}, {}, "points.csv")
        array([[1.5, nan, 1. ],
               [nan, nan, nan]])
    """
    if not {*names} & {*table}:
        raise DataError(f"{where} has none of the columns {few(names)}: it has {few([*table])}")
    rows = np.full((len(next(iter(table.values()))), len(names)), np.nan)
    for place, name in enumerate(names):
        if name not in table:
            continue
        known = np.flatnonzero(~missing_cells(table[name]))
        if name in categories:
            values = [category_name(value) for value in table[name][known].tolist()]
            if other := [
                row for row, value in zip(known.tolist(), values, strict=True) if value not in categories[name]
            ]:
                raise DataError(
                    f"the column {name!r} of {where} holds {table[name][other[0]]!r} in {rows_in_words(other)}: choose "
                    f"one of {few(categories[name])}"
                )
            rows[known, place] = [categories[name].index(value) for value in values]
            continue
        rows[known, place] = numbers = _known_numbers(name, table[name], known, where)
        if name in lattices:
            lattice = lattices[name]
            rows[known, place] = lattice.numbers(numbers)
            off = known[np.abs(lattice.values(rows[known, place]) - numbers) > _OFF * lattice.step]
            if len(off):
                raise DataError(
                    f"the column {name!r} of {where} holds {table[name][off[0]]} in {rows_in_words(off.tolist())}, but "
                    f"{lattice} in the training: round it"
                )
    return rows


def filled(column: Array | None, drawn: Array, missing: npt.NDArray[np.bool_]) -> Array:
    """Return a column of a table, None if it has none, with its missing cells filled with drawn values."""
    if column is None:
        return drawn
    values: Array = np.array(column, dtype=object)
    values[missing] = drawn[missing]
    return values.astype(drawn.dtype) if drawn.dtype.kind == "f" else values.astype(str)


def _known_numbers(name: str, column: Array, known: npt.NDArray[Any], where: str) -> npt.NDArray[np.float64]:
    values: Array = np.full(len(column), 0.0, dtype=object)
    values[known] = column[known]
    numbers = numbers_of(name, values, where)
    if numbers is None:
        raise DataError(f"the column {name!r} of {where} holds text, but numbers in the training")
    beyond = np.flatnonzero(~(np.abs(numbers) <= np.finfo(np.float32).max)).tolist()
    if beyond:
        raise DataError(f"the column {name!r} of {where} is infinite or above 3.4e38 in {rows_in_words(beyond)}")
    found: npt.NDArray[np.float64] = numbers[known]
    return found
