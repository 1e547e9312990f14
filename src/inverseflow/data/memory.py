"""Data sets from tensors, arrays, data frames and map-style data sets."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.data.condition import ColumnCondition, Condition, LabelCondition, category_name
from inverseflow.data.examples import Examples, Splits, TensorExamples
from inverseflow.data.images import TensorImages
from inverseflow.data.splitting import split_rows
from inverseflow.data.table import MAX_CATEGORIES, EncodedColumns, encode_columns, refuse_missing
from inverseflow.errors import DataError
from inverseflow.utils.arguments import finite_number, whole_number


def as_splits(
    x: Any,
    context: Any = None,
    *,
    validation: float = 0.1,
    seed: int = 0,
    levels: int | None = None,
    classes: Sequence[str] | int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Splits[Examples]:
    """Return data in memory as a data set, with a share of the examples held out for validation and none for test.

    Equal examples stay in one split.

    Args:
        x: examples ``(N, *event_shape)``: a tensor, an array, a data frame (of pandas, polars or pyarrow, or a mapping
            from names to columns; text becomes categories), `Examples`, or a map-style data set of x, of (x, context)
            or of (x, label). `Splits` are returned as they are.
        context: one context for each example: a tensor or an array ``(N, *context_shape)``, a data frame, or N
            labels, which are whole numbers or text. Fractions ``(N,)`` are contexts of length 1.
        validation: share of the examples that is held out, between 0 and 1; at least one is.
        seed: chooses these examples.
        levels: number of gray levels of whole numbers, which then stay ``uint8`` or become ``int64``. Without it
            everything becomes `dtype`.
        classes: the names of the classes, or their number, if the context is labels. Without it the labels tell.
        dtype: floating-point dtype of examples and contexts.

    Raises:
        TypeError, ValueError: if a number is out of range.
        DataError: if examples and contexts do not fit, a value is missing or not finite, or the share leaves nothing.
            The message says what to do.

    Example:
        >>> splits = as_splits(torch.randn(100, 2), ["left", "right"] * 50)
        >>> splits.train, splits.validation, splits.condition
        (TensorExamples(90 × (2,)), TensorExamples(10 × (2,)), LabelCondition(classes=('left', 'right')))
    """
    if isinstance(x, Splits):
        if context is not None:
            raise DataError("Splits bring their contexts: leave context out, or use with_context on each split")
        return x
    if isinstance(x, (str, os.PathLike)):
        raise DataError(
            f"x must be numbers, got the path {os.fspath(x)!r}: read it with inverseflow.data.load_data, such as "
            'load_data("table", data_dir=...), and give the splits'
        )
    validation = finite_number("validation", validation, above=0, below=1, remedy=": it is a share such as 0.1")
    seed = whole_number("seed", seed, at_least=0, at_most=2**32 - 1)
    if not isinstance(x, Examples) and _is_map_style(x):
        x, own = _items(x)
        if context is not None and own is not None:
            raise DataError("the data set has contexts of its own: leave context out")
        context = own if context is None else context
    data = _examples(x, levels, dtype)
    examples, condition = data.examples, None
    if context is not None:
        encoded, condition = _context(context, len(examples), classes, dtype)
        examples = examples.with_context(encoded)
    elif examples.context is not None:
        condition = _unnamed(examples.context.shape[1])
    if len(examples) < 2:
        there = f"{len(examples)} example{'s' * (len(examples) != 1)}"
        raise DataError(f"the data set has {there}: at least 2 are needed, one for validation")
    if round(validation * len(examples)) >= len(examples):
        raise DataError(
            f"validation {validation:g} of {len(examples)} examples leaves nothing to train on: choose a smaller share"
        )
    in_memory = isinstance(examples, (TensorExamples, TensorImages))
    rows = examples.tensor().numpy() if in_memory else np.arange(len(examples))  # others are too many to compare
    remaining, held_out = split_rows(rows, validation, seed=seed)
    return Splits(
        name="memory",
        title="data from memory",
        levels=levels,
        event_shape=examples.shape,
        train=examples.select(remaining),
        validation=examples.select(held_out),
        test=examples.select([]),
        condition=condition,
        columns=data.columns,
        categories=data.categories,
    )


@dataclass(frozen=True)
class _Data:
    examples: Examples
    columns: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _examples(x: Any, levels: int | None, dtype: torch.dtype) -> _Data:
    if isinstance(x, (TensorExamples, TensorImages)):
        examples = _tensor_examples(x.tensor(), levels, dtype)
        return _Data(examples if x.context is None else examples.with_context(x.context.to(dtype)))
    if isinstance(x, Examples):
        return _Data(x)
    if hasattr(x, "to_frame"):  # a column of pandas or polars
        x = x.to_frame()
    if is_frame(x):
        encoded = _encoded_frame(x, "x")
        encoded.refuse_constant(np.arange(len(encoded.values)), "x")
        if dtype != torch.float64:
            encoded.refuse_coarse("x")
        return _Data(TensorExamples(torch.from_numpy(encoded.values).to(dtype)), encoded.names, encoded.categories)
    return _Data(_tensor_examples(as_tensor("x", x), levels, dtype))


def _tensor_examples(tensor: Tensor, levels: int | None, dtype: torch.dtype) -> Examples:
    if tensor.ndim < 2:
        raise DataError(
            f"x must be examples (N, *event_shape), got the shape {tuple(tensor.shape)}: "
            "make N numbers a table of one column with x.reshape(-1, 1)"
        )
    if levels is not None:
        levels = whole_number("levels", levels, at_least=2)
        if tensor.is_floating_point() or tensor.dtype == torch.bool:
            raise DataError(
                f"x must be whole numbers from 0 to {levels - 1}, got {tensor.dtype}: convert it to uint8, or build "
                "the density for real numbers, without levels"
            )
        low, high = (int(value) for value in tensor.long().aminmax()) if tensor.numel() else (0, 0)
        if low < 0 or high >= levels:
            raise DataError(f"x must be whole numbers from 0 to {levels - 1}, got values from {low} to {high}")
        if tensor.dtype == torch.uint8 and tensor.ndim == 4:
            return TensorImages(tensor)
        return TensorExamples(tensor if tensor.dtype == torch.uint8 else tensor.long())
    x = _finite("x", tensor.to(dtype))
    if x.ndim == 2 and x.numel() and tensor.dtype in (torch.float64, torch.int64) and dtype != torch.float64:
        names = tuple(map(str, range(x.shape[1])))
        EncodedColumns(names, tensor.double().numpy(), {}).refuse_coarse("x")
    return TensorExamples(x)


def _context(
    context: Any, count: int, classes: Sequence[str] | int | None, dtype: torch.dtype
) -> tuple[Tensor, Condition]:
    """Return contexts ``(N, *context_shape)`` and what they say."""
    if is_frame(context):
        encoded = _encoded_frame(context, "context")
        _refuse_length(len(encoded.values), count)
        return encoded.one_hot(dtype), ColumnCondition(encoded.names, encoded.categories)
    labels = None if isinstance(context, Tensor) else np.asarray(context)
    if labels is not None and labels.ndim == 1 and (labels.dtype.kind in "US" or _all_text(labels)):
        _refuse_length(len(labels), count)
        refuse_missing({"label": labels}, "context")
        condition = LabelCondition(_names_of(labels.tolist(), classes))
        return condition.encode(labels.tolist()).to(dtype), condition
    tensor = as_tensor("context", context)
    _refuse_length(len(tensor) if tensor.ndim else 0, count)
    if tensor.ndim == 1 and not tensor.is_floating_point():
        highest = int(tensor.max())
        if classes is None and highest >= MAX_CATEGORIES:
            raise DataError(
                f"whole numbers (N,) as context are labels of classes, at most {MAX_CATEGORIES}, but one is {highest}: "
                "give numbers as float (N, 1)"
            )
        if isinstance(classes, int) and highest >= classes:
            raise DataError(
                f"whole numbers (N,) as context are labels of classes, here from 0 to {classes - 1}, but one is "
                f"{highest}: number the classes from 0 on, or give numbers as float (N, 1)"
            )
        condition = LabelCondition(_class_names(highest + 1 if classes is None else classes))
        return condition.one_hot(tensor.long()).to(dtype), condition
    if tensor.ndim == 1:
        return _finite("context", tensor[:, None].to(dtype)), ColumnCondition((str(getattr(context, "name", "c0")),))
    return _finite("context", tensor.to(dtype)), _unnamed(tensor.shape[1])


def _names_of(labels: list[Any], classes: Sequence[str] | int | None) -> tuple[str, ...]:
    """Return the names of the classes of labels in text."""
    found = tuple(sorted(set(map(category_name, labels))))
    if classes is None or (isinstance(classes, int) and not {*found} <= {*_class_names(classes)}):
        if isinstance(classes, int) and len(found) != classes:
            raise DataError(
                f"the context has {len(found)} classes, but there are {classes}: name all of them by "
                "as_splits(x, labels, classes=[...])"
            )
        return found
    return _class_names(classes)


def _class_names(classes: Sequence[str] | int) -> tuple[str, ...]:
    return tuple(map(category_name, range(classes) if isinstance(classes, int) else classes))


def _unnamed(size: int) -> ColumnCondition:
    return ColumnCondition(tuple(f"c{index}" for index in range(size)))


def _refuse_length(found: int, count: int) -> None:
    if found != count:
        raise DataError(f"x has {count} examples, but context has {found}: give one context for each example")


def as_tensor(name: str, values: Any) -> Tensor:
    """Return numbers as a tensor on the CPU."""
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if not isinstance(values, Tensor):
        try:
            listed = isinstance(values, (list, tuple)) and len(values) and isinstance(values[0], Tensor)
            array = np.stack([value.numpy(force=True) for value in values]) if listed else np.asarray(values)
        except (ValueError, RuntimeError, TypeError) as error:
            raise DataError(
                f"{name} cannot be read as one array ({error}): give all examples the same shape"
            ) from error
        if array.dtype.kind not in "biuf":
            raise DataError(
                f"{name} must be numbers, got {array.dtype}: convert it, or give a data frame with categories"
            )
        values = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    if values.is_complex():
        raise DataError(f"{name} must be real numbers, got {values.dtype}: give real and imaginary parts as channels")
    if values.is_meta or values.layout != torch.strided:
        raise DataError(f"{name} must be a dense tensor, got {values.layout} on {values.device}: convert it")
    tensor: Tensor = values.detach().cpu()
    return tensor


def _finite(name: str, values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        rows = (~values.flatten(1).isfinite()).any(1).nonzero().flatten().tolist()
        shown = ", ".join([*map(str, rows[:3]), *(["..."] if len(rows) > 3 else [])])
        raise DataError(
            f"{name} is not finite ({values.dtype}) in {len(rows)} of {len(values)} examples ({shown}): leave them out"
        )
    return values


def _all_text(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind == "O" and len(array) > 0 and any(isinstance(value, str) for value in array)


def is_frame(values: Any) -> bool:
    """Return whether values are columns by name: a data frame, a mapping, or a structured array."""
    structured = isinstance(values, np.ndarray) and values.dtype.names is not None
    return structured or isinstance(values, Mapping) or hasattr(values, "column_names") or hasattr(values, "columns")


def frame_columns(frame: Any, where: str) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a frame by name, all of one length; raise DataError if there are none."""
    if isinstance(frame, np.ndarray):
        frame = {name: frame[name] for name in frame.dtype.names or ()}
    names = list(frame if isinstance(frame, Mapping) else getattr(frame, "column_names", None) or frame.columns)
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{where} has several columns called {twice[0]!r}: rename them")
    columns = {str(name): np.asarray(frame[name]) for name in names}
    if not columns or not all(column.shape for column in columns.values()):
        raise DataError(f"{where} has no columns: give arrays (N,) by name")
    lengths = {len(column) for column in columns.values()}
    if lengths == {0}:
        raise DataError(f"{where} has no rows")
    if len(lengths) > 1:
        raise DataError(f"the columns of {where} have {', '.join(map(str, sorted(lengths)))} rows: give all as many")
    return columns


def _encoded_frame(frame: Any, where: str) -> EncodedColumns:
    columns = frame_columns(frame, where)
    refuse_missing(columns, where)
    return encode_columns(columns, tuple(columns), (), where)


def _is_map_style(values: Any) -> bool:
    known = isinstance(values, (Tensor, np.ndarray, list, tuple)) or hasattr(values, "__array__") or is_frame(values)
    return not known and hasattr(values, "__getitem__") and hasattr(values, "__len__")


def _items(dataset: Any) -> tuple[Any, Any]:
    """Return all items of a data set, and their contexts if there are any."""
    items = [dataset[index] for index in range(len(dataset))]
    items = [item[0] if isinstance(item, (tuple, list)) and len(item) == 1 else item for item in items]
    pairs = [isinstance(item, (tuple, list)) and len(item) == 2 for item in items]
    if not items:
        raise DataError("the data set has no examples")
    if all(pairs):
        x, context = zip(*items, strict=True)
        return _stacked("x", x), _stacked("context", context)
    if any(pairs) or not all(hasattr(item, "shape") for item in items):
        raise DataError(
            "the items of a data set must be tensors or arrays x, or pairs (x, context) or (x, label), "
            f"got {type(items[0]).__name__}: convert them in the data set"
        )
    return _stacked("x", items), None


def _stacked(name: str, values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, str):
        return list(values)
    if name == "x" and not hasattr(first, "shape"):
        raise DataError(
            f"the examples of a data set must be tensors or arrays, got {type(first).__name__}: convert them"
        )
    return as_tensor(name, list(values))
