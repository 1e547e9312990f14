"""Read parquet files in the layout of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from inverseflow.data.encoded import Encoded, EncodedSplit
from inverseflow.data.location import printable
from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    import pyarrow

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMN = "label"


def read_parquet(files: Sequence[Path]) -> EncodedSplit:
    """Read parquet files with a column ``img`` or ``image`` of encoded images, and perhaps a column ``label``.

    An image is the content of a file, or ``{"bytes": ..., "path": ...}`` with one of the two; a path is relative to the
    parquet file.

    Args:
        files: the shards of one split, in order.

    Raises:
        DataError: if a file is missing or damaged, or holds something else.
    """
    images: list[Encoded] = []
    labels: list[int] = []
    for file in files:
        file_images, file_labels = _read_file(file)
        images += file_images
        labels += file_labels
    if not images:
        raise DataError(f"{printable(files[0])} holds no images: download it again")
    if labels and len(labels) != len(images):
        raise DataError(f"{printable(files[0].parent)} holds labels in some parquet files only: download them again")
    return EncodedSplit(images, torch.tensor(labels, dtype=torch.int64) if labels else None)


def _read_file(file: Path) -> tuple[list[Encoded], list[int]]:
    where = printable(file)
    with packages_for(f"reading {where}"):
        import pyarrow
        import pyarrow.parquet
    try:
        with file.open("rb") as stream:
            content = pyarrow.parquet.ParquetFile(stream)
            column = _image_column(content.schema_arrow, where)
            has_labels = _LABEL_COLUMN in content.schema_arrow.names
            table = content.read([column, _LABEL_COLUMN] if has_labels else [column])
    except DataError:
        raise
    except OSError as error:
        if error.errno is None:  # pyarrow's own error, of damaged content
            raise _damaged(where, error) from error
        raise DataError(f"{where} cannot be read ({error.strerror}): check the path and its permissions") from error
    except Exception as error:  # damage shows as many kinds of errors
        raise _damaged(where, error) from error
    cells = table[column].to_pylist()
    images = [_encoded(cell, file.parent, f"row {row} of {where}") for row, cell in enumerate(cells)]
    labels = table[_LABEL_COLUMN].to_pylist() if has_labels else []
    for row, label in enumerate(labels):
        if not isinstance(label, int):
            raise DataError(f"row {row} of {where} has the label {label!r}: labels must be whole numbers")
    return images, labels


def _image_column(schema: pyarrow.Schema, where: str) -> str:
    for column in _IMAGE_COLUMNS:
        if column in schema.names:
            return column
    raise DataError(
        f"{where} has no column of images: expected one of {', '.join(_IMAGE_COLUMNS)}, "
        f"found {', '.join(schema.names) or 'none'}"
    )


def _encoded(cell: Any, folder: Path, name: str) -> Encoded:
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(content, bytes):
        return Encoded(content, name)
    if isinstance(path, str):
        return Encoded(folder / path, printable(folder / path))
    raise DataError(f"{name} holds no encoded image: expected the bytes of a PNG or JPEG file, found {type(content)}")


def _damaged(where: str, error: Exception) -> DataError:
    reason = re.sub(r"[.:]$", "", str(error).strip().partition("\n")[0]) or type(error).__name__
    return DataError(f"{where} is damaged or not parquet data ({reason}): download it again")
