"""Read CIFAR-10 as its authors publish it, and as torchvision stores it.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import codecs
import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverseflow.data.images import TensorImages
from inverseflow.data.location import printable
from inverseflow.errors import DataError

BATCH_FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")

_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_NAMES = frozenset(name + suffix for names in _BATCHES.values() for name in names for suffix in ("", ".bin"))
_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32

# What the pickle of an array of numbers refers to, under the names of NumPy 1 and 2, and of Python 2.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}
for _package in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_package}.multiarray", "_reconstruct"] = np.zeros(0).__reduce__()[0]
    _ALLOWED[f"{_package}.numeric", "_frombuffer"] = np.zeros(0).__reduce_ex__(5)[0]


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that admits arrays and plain Python types only, so that a foreign file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the admitted classes and functions."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is no part of an array") from None


def has_batches(folder: Path) -> bool:
    """Return whether any of the batch files lies in a folder."""
    return any((folder / name).is_file() for name in _NAMES)


def read_batches(folder: Path) -> dict[str, TensorImages]:
    """Read the six batch files, Python or binary version.

    Returns:
        The splits ``"train"`` and ``"test"``, in the original order.

    Raises:
        DataError: if a file is missing or damaged.
    """
    contents = {}
    for name in _NAMES:
        try:
            contents[name] = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"{printable(folder / name)} cannot be read ({error.strerror}): check it") from error
    return _splits(contents, printable(folder))


def read_archive(path: Path) -> dict[str, TensorImages]:
    """Read the six batch files from the published archive, without unpacking it.

    Returns:
        The splits ``"train"`` and ``"test"``, in the original order.

    Raises:
        DataError: if the archive is damaged or a file is missing in it.
    """
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in _NAMES and (file := archive.extractfile(member)) is not None:
                    contents[name] = file.read()
    except Exception as error:  # damage shows as errors of tarfile, gzip and zlib
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise DataError(f"{printable(path)} cannot be read ({reason}): download it again") from error
    return _splits(contents, printable(path))


def _splits(contents: Mapping[str, bytes], where: str) -> dict[str, TensorImages]:
    # The two versions are complete by themselves: a file of one does not stand in for a file of the other.
    plain = any(not name.endswith(".bin") for name in contents)
    suffix, parse = ("", _parse_pickle) if plain else (".bin", _parse_binary)
    splits = {}
    for split, names in _BATCHES.items():
        pixels, labels = [], []
        for name in names:
            if name + suffix not in contents:
                raise DataError(f"{where} lacks {name + suffix}: download it again")
            batch_pixels, batch_labels = parse(contents[name + suffix], f"{name + suffix} in {where}")
            pixels.append(batch_pixels)
            labels.append(batch_labels)
        splits[split] = TensorImages(torch.cat(pixels), torch.cat(labels))
    return splits


def _parse_pickle(content: bytes, name: str) -> tuple[Tensor, Tensor]:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        pixels, labels = np.asarray(batch["data"]), np.asarray(batch["labels"])
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(
            f"{name} is not a batch of CIFAR-10 ({error or type(error).__name__}): download it again"
        ) from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), _PIXELS) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{name} holds {pixels.shape} of {pixels.dtype} and {len(labels)} labels, expected (N, {_PIXELS}) of uint8 "
            "and N labels: download it again"
        )
    return torch.from_numpy(pixels.reshape(-1, *_SHAPE).copy()), torch.from_numpy(labels.astype(np.int64))


def _parse_binary(content: bytes, name: str) -> tuple[Tensor, Tensor]:
    row = 1 + _PIXELS
    if not content or len(content) % row:
        raise DataError(f"{name} holds {len(content)} bytes, not a multiple of {row}: download it again")
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, row)
    return rows[:, 1:].reshape(-1, *_SHAPE).clone(), rows[:, 0].long()
