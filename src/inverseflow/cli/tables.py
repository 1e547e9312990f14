"""Write samples as tables."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from inverseflow.data.looks import in_table_units
from inverseflow.training.report import save_points
from inverseflow.training.run.description import Description
from inverseflow.utils.files import atomic_write, write_torch
from inverseflow.utils.packages import packages_for


def write_rows(path: Path, rows: Tensor, data: Description, beside: Mapping[str, Any] | None = None) -> None:
    """Write samples ``(N, *event_shape)``, one in each row, as the suffix of the file says.

    Args:
        path: a file that ends in .csv, .parquet, .npz, .npy, .pt or .png.
        rows: the samples.
        data: names the columns and the categories, and says what numbers on lattices stand for.
        beside: columns ``(N,)`` that are written behind them where columns have names.
    """
    flat = rows.flatten(1)
    names = data.columns or tuple(map(str, range(flat.shape[1])))
    if data.lattices:
        flat = in_table_units(flat, names, data.lattices)
        rows = flat.to(rows.dtype)
    if path.suffix == ".png":
        save_points(path, None, flat, names, f"samples of {data.title}")
    else:
        pairs = zip(names, flat.T.numpy(), strict=True)
        columns = {name: named(column, data.categories.get(name)) for name, column in pairs}
        write_columns(path, {**columns, **(beside or {})}, rows)


def write_columns(path: Path, columns: dict[str, Any], rows: Tensor) -> None:
    """Write columns ``(N,)`` by name into a .csv, .parquet or .npz file, or the tensor `rows` into .npy or .pt."""
    if path.suffix == ".pt":
        write_torch(path, rows)
        return
    with atomic_write(path) as aside:
        _write(aside, path.suffix, columns, rows)


def _write(path: Path, suffix: str, columns: dict[str, Any], rows: Tensor) -> None:
    if suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    elif suffix == ".parquet":
        with packages_for("writing Parquet files"):
            import pyarrow
            from pyarrow import parquet
        parquet.write_table(pyarrow.table(columns), path)
    else:
        with path.open("wb") as file:
            if suffix == ".npy":
                np.save(file, rows.numpy())
            else:
                np.savez_compressed(file, **columns)


def named(column: Any, categories: tuple[str, ...] | None) -> Any:
    """Return numbers of categories as their names."""
    if categories is None:
        return column
    return np.array(categories)[column.round().clip(0, len(categories) - 1).astype(int)]
