"""Read the IDX format: a header of big-endian integers, then the bytes of an array.

Format: "The IDX file format" at the foot of the MNIST page, https://yann.lecun.org/exdb/mnist.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from inverseflow.data.location import printable
from inverseflow.errors import DataError

_UINT8 = 0x08


def read_idx(path: Path, ndim: int) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or compressed with gzip.

    Args:
        path: the file. Compression is recognized by its first bytes, not by its name.
        ndim: number of axes that the array must have: 3 for images, 1 for labels.

    Returns:
        ``uint8`` tensor with `ndim` axes.

    Raises:
        DataError: if the file cannot be read, is damaged or truncated, or holds something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels-idx1-ubyte")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path, ndim=1)
        tensor([7, 2, 1], dtype=torch.uint8)
    """
    content = _read(path)
    header = 4 + 4 * ndim
    magic = bytes([0, 0, _UINT8, ndim])
    if not content:
        raise DataError(f"{printable(path)} is empty: put the original file in its place")
    if content[:4] != magic:
        raise DataError(
            f"{printable(path)} is not an IDX file of {ndim}-dimensional bytes: it begins {content[:4].hex(' ')}, "
            f"expected {magic.hex(' ')}; put the original file in its place"
        )
    if len(content) < header:
        raise DataError(f"{printable(path)} ends within its header, after {len(content)} bytes: download it again")
    shape = struct.unpack(f">{ndim}I", content[4:header])
    promised, found = math.prod(shape), len(content) - header
    if promised != found:
        raise DataError(
            f"{printable(path)} should hold {' × '.join(map(str, shape))} = {promised} bytes after its header "
            f"but holds {found}: download it again"
        )
    # Torch warns about memory that is read-only, such as bytes.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[header:].reshape(shape)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{printable(path)} cannot be read ({error.strerror}): check the path and its permissions"
        ) from error
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{printable(path)} is truncated or damaged ({error}): download it again") from error
