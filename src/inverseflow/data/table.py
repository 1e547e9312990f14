"""Tables of numbers and categories."""

import gzip
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from inverseflow.data.condition import ColumnCondition, category_name
from inverseflow.data.examples import Splits, TensorExamples
from inverseflow.data.looks import LatticePolicy, look_at
from inverseflow.data.paths import printable
from inverseflow.data.splitting import HELD_OUT, check_seed, split_rows
from inverseflow.errors import DataError, MissingPackageError
from inverseflow.utils.packages import packages_for

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]

MAX_CATEGORIES = 1000
"""Most categories of a column: more are likely names of rows."""
MIN_ROWS = 10

_COARSE = 1e-3  # refuse a column that float32 rounds to steps of this share of its standard deviation, or more


def load_table(
    path: str | PathLike[str],
    *,
    columns: Sequence[str] = (),
    context_columns: Sequence[str] = (),
    categorical_columns: Sequence[str] = (),
    lattice: LatticePolicy = "dequantize",
    split_seed: int = 0,
) -> Splits[TensorExamples]:
    r"""Load a table, split 80 : 10 : 10 by row for training, validation and test. Equal rows stay in one split.

    The file is one of these:

    * CSV (``.csv``, ``.tsv``, also ``.gz``) with the names of the columns in its first line, separated by commas,
      semicolons or tabs.
    * Parquet (``.parquet``, ``.pq``).
    * NPY (``.npy``): an array ``(N, D)`` or ``(N,)``, with columns called ``"0"``, ``"1"`` ..., or a structured array.
    * NPZ (``.npz``): arrays ``(N,)``, each a column, and ``(N, D)``, each D columns, where N is the most common length.
      The columns of an array ``X`` are called ``X0``, ``X1`` ..., or by an array ``columns`` of D names.
      The result's `notes` name the other arrays. Pickled objects are not read.

    Numbers are ``float32`` in the units of the file. Categories, which are columns of text, of truth values and the
    `categorical_columns`, are numbered from 0 on in the order of their names. In the context each becomes a one at its
    place.

    Modeled numbers are looked at. Where values lie on a lattice, repeat, or follow from other columns, a density of
    continuous data has no bound: it would be measured by its spikes. Whole numbers and numbers in equal steps are
    therefore numbered, too: the element k stands for the value ``offset + k · step`` of the result's `lattices`, and a
    flow dequantizes it, as it does categories. A column that holds one value in over 5 % of the rows, and one that
    depends linearly on others, are refused.

    Args:
        path: the file.
        columns: the columns that are modeled. Without them all but the `context_columns`.
        context_columns: the columns that are the context.
        categorical_columns: columns of numbers that stand for categories.
        lattice: ``"dequantize"`` does so, ``"refuse"`` raises instead, ``"ignore"`` models all numbers as continuous
            and says so in `notes`.
        split_seed: chooses which rows go into which split.

    Raises:
        DataError: if the file or a column cannot be read, a value is missing or not finite, or a column has no
            density. The message names it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "points.csv")
        ...     _ = path.write_text("a,site\n" + "".join(f"{n / 10},{'ns'[n % 2]}\n" for n in range(100)))
        ...     splits = load_table(path, context_columns=["site"])
        >>> splits.columns, splits.condition
        (('a',), ColumnCondition(columns=('site',), categories={'site': ('n', 's')}))
        >>> splits.train
        TensorExamples(80 × (1,))
    """
    check_seed(split_seed)
    file = Path(path).expanduser()
    table, notes = read_table(file)
    where = printable(file.name)
    context_names = _known("context_columns", context_columns, table, where)
    names = _known("columns", columns, table, where) or tuple(name for name in table if name not in context_names)
    categorical = _known("categorical_columns", categorical_columns, table, where)
    for name in categorical:
        if name not in (*names, *context_names):
            raise DataError(f"categorical_columns names {name!r}, which is neither modeled nor context: leave it out")
    if twice := [name for name in names if name in context_names]:
        raise DataError(f"the column {twice[0]!r} cannot be both modeled and context: leave it out of one")
    if not names:
        raise DataError(f"{where} has no column left to model: name fewer context_columns")

    if (count := len(table[names[0]])) < MIN_ROWS:
        raise DataError(f"{where} has {count} rows, too few to split: at least {MIN_ROWS} are needed")
    refuse_missing({name: table[name] for name in (*names, *context_names)}, where)
    modeled = encode_columns(table, names, categorical, where)
    context = encode_columns(table, context_names, categorical, where)
    numeric = {
        name: column for name, column in zip(names, modeled.values.T, strict=True) if name not in modeled.categories
    }
    lattices, doubts = look_at(numeric, {name: _precision(table[name]) for name in numeric}, lattice, where)
    modeled = replace(
        modeled,
        values=np.stack(
            [
                lattices[name].numbers(column) if name in lattices else column
                for name, column in zip(names, modeled.values.T, strict=True)
            ],
            1,
        ),
    )
    rows = np.concatenate([modeled.values, context.values], 1)
    parts = split_rows(rows, HELD_OUT, HELD_OUT, seed=split_seed)
    for encoded in (modeled, context):
        encoded.refuse_constant(parts[0].numpy(), where)
        encoded.refuse_coarse(where)
    examples = TensorExamples(torch.from_numpy(modeled.values).float())
    condition = None
    if context_names:
        condition = ColumnCondition(context_names, context.categories)
        examples = examples.with_context(context.one_hot(torch.float32))
    train, validation, test = map(examples.select, parts)
    return Splits(
        name="table",
        title=printable(file.name.removesuffix(".gz").rpartition(".")[0]),
        levels=None,
        event_shape=examples.shape,
        train=train,
        validation=validation,
        test=test,
        notes=(*notes, *doubts),
        condition=condition,
        columns=names,
        categories=modeled.categories,
        lattices=lattices,
    )


def _precision(column: Array) -> float:
    """Return the relative rounding error of the numbers in a column."""
    return float(np.finfo(column.dtype if column.dtype.kind == "f" else np.float64).eps)


@dataclass(frozen=True)
class EncodedColumns:
    """Columns as numbers."""

    names: tuple[str, ...]
    values: npt.NDArray[np.float64]
    """``(N, D)``: numbers as they are, and the number of each category."""
    categories: dict[str, tuple[str, ...]]
    """Names of the categories of the columns that hold categories."""

    def one_hot(self, dtype: torch.dtype) -> Tensor:
        """Return contexts ``(N, K)``: numbers as they are, and a one at the place of each category."""
        values = torch.from_numpy(self.values)
        parts = [
            one_hot(column.long(), len(self.categories[name])) if name in self.categories else column[:, None]
            for name, column in zip(self.names, values.unbind(1), strict=True)
        ]
        return torch.cat([part.to(dtype) for part in parts], 1)

    def refuse_constant(self, training: Array, where: str) -> None:
        """Refuse columns that are constant in the training rows."""
        for name, column in zip(self.names, self.values[training].T, strict=True):
            if column.min() == column.max():
                value = self.categories[name][int(column[0])] if name in self.categories else f"{column[0]:g}"
                raise DataError(
                    f"the column {name!r} of {where} is {value} in all {len(column)} training rows: leave it out"
                )

    def refuse_coarse(self, where: str) -> None:
        """Refuse columns that ``float32`` rounds too coarsely."""
        for name, column in zip(self.names, self.values.T, strict=True):
            step, deviation = float(np.spacing(np.float32(np.abs(column).max()))), column.std()
            if step > _COARSE * deviation > 0:
                offset = float(f"{column.mean():.6g}")
                raise DataError(
                    f"float32 rounds the column {name!r} of {where} to steps of {step:.3g}, but its standard deviation "
                    f"is {deviation:.3g}: subtract an offset such as {offset}, or change its units"
                )


def encode_columns(table: Columns, names: Sequence[str], categorical: Sequence[str], where: str) -> EncodedColumns:
    """Return columns without missing values as numbers and categories."""
    categories: dict[str, tuple[str, ...]] = {}
    encoded: list[Array] = []
    for name in names:
        column = table[name]
        if column.ndim != 1 or column.dtype.kind not in "biufOUS":
            kind = "dates or times" if column.dtype.kind in "mM" else f"{column.dtype} of shape {column.shape}"
            raise DataError(f"the column {name!r} of {where} holds {kind}: convert it to numbers, or leave it out")
        numbers = None if name in categorical or column.dtype.kind == "b" else numbers_of(name, column, where)
        if numbers is None:
            column, categories[name] = _categories(name, column, where)
            encoded.append(column)
            continue
        if infinite := np.flatnonzero(~(np.abs(numbers) <= np.finfo(np.float32).max)).tolist():
            raise DataError(
                f"the column {name!r} of {where} is infinite or above 3.4e38 in {rows_in_words(infinite)}: "
                "leave these rows out"
            )
        encoded.append(numbers)
    count = len(next(iter(table.values())))
    values = np.stack(encoded, 1).astype(np.float64) if encoded else np.empty((count, 0))
    return EncodedColumns(tuple(names), values + 0.0, categories)  # −0 + 0 is 0


def numbers_of(name: str, column: Array, where: str) -> npt.NDArray[np.float64] | None:
    """Return a column as numbers, or None if it is all text or all truth values."""
    if column.dtype.kind in "iuf":
        return column.astype(np.float64)
    values: list[float] = []
    refused: list[int] = []
    for row, value in enumerate(column.tolist()):
        if not isinstance(value, (str, bool, Real, Decimal)):
            raise DataError(f"the column {name!r} of {where} holds {value!r} in row {row}: leave the column out")
        try:
            values.append(float("a truth value" if isinstance(value, bool) else value))
        except (TypeError, ValueError):
            refused.append(row)
    if len(refused) == len(column) or (all(isinstance(value, str) for value in column) and not refused):
        return None
    if refused:
        raise DataError(
            f"the column {name!r} of {where} holds {column[refused[0]]!r} in {rows_in_words(refused)}, but numbers "
            "elsewhere: repair it, or name it among categorical_columns (--categorical-columns)"
        )
    return np.array(values)


def _categories(name: str, column: Array, where: str) -> tuple[Array, tuple[str, ...]]:
    if column.dtype.kind in "iuf":
        distinct, numbers = np.unique(column, return_inverse=True)
        names = [category_name(value) for value in distinct.tolist()]
    else:
        distinct, numbers = np.unique([category_name(value) for value in column.tolist()], return_inverse=True)
        names = distinct.tolist()
        if all(re.fullmatch(r"[-+]?\d+,\d+", value) for value in names):
            raise DataError(
                f"the column {name!r} of {where} holds numbers with a decimal comma such as {names[0]!r}: "
                "write them with a point"
            )
    if len(names) > MAX_CATEGORIES or len(names) == len(column):
        raise DataError(
            f"the column {name!r} of {where} holds {len(names)} different categories such as {names[0]!r} in "
            f"{len(column)} rows (at most {MAX_CATEGORIES} are taken, and fewer than rows): "
            "leave it out, or convert it to numbers"
        )
    return numbers.reshape(-1), tuple(names)


def refuse_missing(table: Columns, where: str) -> None:
    """Refuse missing values, naming their columns and rows."""
    missing = {name: np.flatnonzero(missing_cells(column)).tolist() for name, column in table.items()}
    found = [f"{name!r} in {rows_in_words(rows)}" for name, rows in missing.items() if rows]
    if found:
        raise DataError(f"{where} has no value of {', '.join(found)}: leave these columns or rows out, or fill them in")


def missing_cells(column: Array) -> npt.NDArray[np.bool_]:
    """Return which values of a column ``(N,)`` are missing."""
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    if column.dtype.kind in "mM":
        return np.asarray(np.isnat(column))
    if column.dtype.kind in "OUS":
        return np.array([_is_missing(value) for value in column.tolist()], dtype=bool)
    return np.zeros(len(column), dtype=bool)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    # The missing values of pandas neither equal nor differ from anything.
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def rows_in_words(rows: Sequence[int]) -> str:
    """Return the count and the first three rows, counted from 0."""
    shown = ", ".join([*map(str, rows[:3]), *(["..."] if len(rows) > 3 else [])])
    return f"{len(rows)} rows (counted from 0: {shown})" if len(rows) > 1 else f"row {shown} (counted from 0)"


def _known(option: str, names: Sequence[str], table: Columns, where: str) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(map(str, names))
    for name, count in Counter(names).items():
        if name not in table:
            raise DataError(f"{where} has no column {name!r}: it has {', '.join(map(printable, table))}")
        if count > 1:
            raise DataError(f"{option} names {name!r} twice: name it once")
    return names


def read_table(file: Path) -> tuple[Columns, tuple[str, ...]]:
    """Read a file: the columns by name, each ``(N,)``, and notes for the user."""
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "does not exist"
        raise DataError(f"{printable(file)} {problem}: give a CSV, Parquet, NPZ or NPY file (--data-dir)")
    kind = Path(file.name.lower().removesuffix(".gz")).suffix
    if kind not in (".csv", ".tsv", ".parquet", ".pq", ".npz", ".npy"):
        raise DataError(
            f"{printable(file)} is no table by its name: save it as .csv, .tsv, .csv.gz, .parquet, .pq, .npz or .npy"
        )
    notes: tuple[str, ...] = ()
    with _reading(file):
        content = file.read_bytes()
        if not content:
            raise ValueError("it is empty")
        if kind in (".csv", ".tsv"):
            columns = _read_csv(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)
        elif kind in (".parquet", ".pq"):
            with packages_for("reading Parquet files"):
                import pyarrow.parquet
            columns = _arrow_columns(pyarrow.parquet.read_table(io.BytesIO(content)))
        elif kind == ".npy":
            columns = array_columns(np.load(io.BytesIO(content), allow_pickle=False))
        else:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                columns, notes = _npz_columns(dict(arrays))
        table = dict(columns)
        if repeated := [name for name, count in Counter(name for name, _ in columns).items() if count > 1]:
            raise ValueError(f"it has several columns called {repeated[0]!r}")
        if not table or len(next(iter(table.values()))) == 0:
            raise ValueError("it has no rows")
    return table, notes


def _read_csv(content: bytes) -> list[tuple[str, Array]]:
    with packages_for("reading CSV files"):
        from pyarrow import csv
    header = re.sub(rb'"[^"]*"', b"", content.partition(b"\n")[0])
    delimiter = max(",;\t", key=lambda letter: header.count(letter.encode()))
    table = csv.read_csv(
        io.BytesIO(content),
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(strings_can_be_null=True),
    )
    columns = [(name.strip(), column) for name, column in _arrow_columns(table)]
    if any(str(column.type) == "binary" for column in table.columns):
        raise ValueError("its text is not UTF-8; save it as UTF-8")
    if all(_is_number(name) for name, _ in columns):
        raise ValueError("its first line holds numbers, but must name the columns")
    return columns


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _arrow_columns(table: Any) -> list[tuple[str, Array]]:
    return [(name, column.to_numpy()) for name, column in zip(table.column_names, table.columns, strict=True)]


def array_columns(array: Array, prefix: str = "") -> list[tuple[str, Array]]:
    """Return the columns of an array ``(N, D)``, or of a structured array ``(N,)``."""
    if array.dtype.names:
        return [(name, array[name]) for name in array.dtype.names]
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"it has the shape {array.shape}, expected (N, D)")
    return [(f"{prefix}{index}", column) for index, column in enumerate(array.T)]


def _npz_columns(arrays: dict[str, Array]) -> tuple[list[tuple[str, Array]], tuple[str, ...]]:
    named = arrays.get("columns")
    lengths = Counter(len(array) for name, array in arrays.items() if array.ndim in (1, 2) and name != "columns")
    if not lengths:
        raise ValueError("it holds no arrays (N,) or (N, D)")
    count = max(lengths, key=lambda length: (lengths[length], length))
    columns: list[tuple[str, Array]] = []
    others: list[str] = []
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or len(array) != count or array is named:
            others += [] if array is named else [f"{name} {array.shape}"]
        elif array.ndim == 1:
            columns.append((name, array))
        elif named is not None and named.shape == array.shape[1:]:
            columns += zip(map(str, named.tolist()), array.T, strict=True)
        else:
            columns += array_columns(array, name)
    return columns, (f"arrays left out: {', '.join(others)}",) if others else ()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn any error inside the block into one that names the file."""
    try:
        yield
    except MissingPackageError:
        raise
    except Exception as error:  # damaged content raises nearly anything
        raise DataError(
            f"{printable(path)} cannot be read as a table ({_reason(error)}): repair or replace it"
        ) from error


def _reason(error: Exception) -> str:
    """Return why content can't be read; the advice of numpy to unpickle it is not for files of unknown origin."""
    text = str(error).partition("\n")[0].rstrip(".:")
    if isinstance(error, UnicodeDecodeError):
        return "its text is not UTF-8; save it as UTF-8"
    if "Object arrays" in text:
        return "it holds arrays of Python objects, which are not read; save text as arrays of dtype str"
    if "pickle" in text:
        return "it is no NumPy file"
    return getattr(error, "strerror", None) or text or type(error).__name__
