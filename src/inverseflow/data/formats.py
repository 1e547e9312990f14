"""Read the formats in which MNIST and CIFAR-10 are published: IDX, pickled batches, and parquet."""

import gzip
import io
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverseflow.data.decoding import Encoded
from inverseflow.data.images import TensorImages
from inverseflow.data.paths import printable
from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for


def read_idx(images: Path, labels: Path) -> TensorImages:
    """Read gray images and their labels from two IDX files, plain or compressed with gzip.

    Format: "The IDX file format" at the foot of the MNIST page, https://yann.lecun.org/exdb/mnist.
    """
    pixels, classes = _read_idx(images, ndim=3), _read_idx(labels, ndim=1)
    with _reading(labels):
        return TensorImages(pixels.unsqueeze(1), classes)


def _read_idx(path: Path, ndim: int) -> Tensor:
    with _reading(path):
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        magic = bytes([0, 0, 0x08, ndim])  # 0x08: unsigned bytes
        if not content.startswith(magic):
            raise ValueError(f"it begins with {content[:4].hex(' ') or 'nothing'}, expected {magic.hex(' ')}")
        shape = np.frombuffer(content, ">u4", count=ndim, offset=4)
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape.tolist())
    return torch.from_numpy(array.copy())


def read_batches(files: Sequence[Path]) -> TensorImages:
    """Read batches of CIFAR-10, pickled dictionaries of arrays.

    Format: https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    images, classes = [], []
    for file in files:
        with _reading(file):
            batch = _ArrayUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
            pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
            if pixels.dtype != np.uint8:
                raise ValueError(f"its pixels are {pixels.dtype}, expected uint8")
            images.append(torch.from_numpy(pixels.reshape(len(labels), 3, 32, 32).copy()))
            classes.append(torch.from_numpy(labels))
    return TensorImages(torch.cat(images), torch.cat(classes))


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of arrays and plain Python types, so that a foreign file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        # Array files name numpy.core.multiarray, or numpy._core.multiarray from NumPy 2 on.
        if module.partition(".")[0] != "numpy" or name not in {"_reconstruct", "ndarray", "dtype"}:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not part of an array")
        return super().find_class(module, name)


def read_parquet(files: Sequence[Path]) -> tuple[list[Encoded], Tensor]:
    """Read the encoded images and their labels ``(N,)`` from parquet files in the layout of the Hugging Face hub.

    Each has a column ``img`` or ``image`` of ``{"bytes": ...}`` and a column ``label`` of integers.
    """
    with packages_for("reading parquet files"):
        import pyarrow.parquet
    images: list[Encoded] = []
    labels: list[Tensor] = []
    for file in files:
        with _reading(file), file.open("rb") as stream:  # pyarrow itself takes no path that is not UTF-8
            table = pyarrow.parquet.read_table(stream)
            cells = table["img" if "img" in table.column_names else "image"].to_pylist()
            images += [
                Encoded(bytes(cell["bytes"]), f"row {row} of {printable(file)}") for row, cell in enumerate(cells)
            ]
            labels.append(torch.tensor(table["label"].to_numpy()))
    return images, torch.cat(labels)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn any error inside the block into one that names the file."""
    try:
        yield
    except Exception as error:  # damaged content raises nearly anything
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(".:") or type(error).__name__
        raise DataError(f"{printable(path)} cannot be read ({reason}): put the original file in its place") from error
