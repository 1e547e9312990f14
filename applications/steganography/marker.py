"""A marker in a picture that holds another: whether it does, in which size, and whether a pixel has changed since."""

from __future__ import annotations

import struct
import zlib
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from inverseflow.errors import DataError

Pixels = npt.NDArray[np.uint8]

_MAGIC = 0xA57E
_FIELDS = struct.Struct(">HHHHI")
_BITS = 8 * (_FIELDS.size + 4)  # and the checksum
_GROUP = 16
ROOM = _BITS * _GROUP
"""Numbers at the start of a picture whose parities are the marker."""


@dataclass(frozen=True)
class Marker:
    """What has to be known to take a picture out again."""

    secrets: int
    """Number of pictures."""
    height: int
    """Of each secret."""
    width: int
    """Of each secret."""
    model: int
    """Checksum of the weights."""


def write_marker(container: npt.NDArray[np.floating], marker: Marker) -> Pixels:
    """Round a container to gray levels, so that the parities of its first numbers are the marker.

    A parity that is wrong is mended at the number of its 16 that was nearest to rounding to the other side, so that the
    marker is hardly more than the rounding itself. It is no secret: whoever has this program can read it.

    Args:
        container: ``(H, W, 3)``, in gray levels 0 to 255, before it is rounded.
        marker: what is written.

    Returns:
        The rounded and clipped container with at most 128 of its numbers rounded to the other side.

    Raises:
        DataError: if the picture has too few pixels for the marker.
    """
    if container.size < ROOM:
        raise DataError(
            f"a picture of {container.shape[0]}×{container.shape[1]} is too small: the marker takes {ROOM // 3} pixels"
        )
    container = np.ascontiguousarray(container)
    levels = container.round().clip(0, 255)
    other = levels + np.where(container > levels, 1, -1)
    other = np.where(other < 0, 1, np.where(other > 255, 254, other))
    pixels: Pixels = levels.astype(np.uint8)
    wanted = _bits(marker, pixels)
    start, change = pixels.reshape(-1)[:ROOM].reshape(_BITS, _GROUP), other.reshape(-1)[:ROOM].reshape(_BITS, _GROUP)
    loss = np.abs(container.reshape(-1)[:ROOM].reshape(_BITS, _GROUP) - change)
    rows = np.flatnonzero(start.sum(1) % 2 != wanted)
    columns = loss[rows].argmin(1)
    start[rows, columns] = change[rows, columns]
    return pixels


def read_marker(pixels: Pixels) -> Marker:
    """Return the marker of a picture.

    Args:
        pixels: ``(H, W, 3)``.

    Raises:
        DataError: if there is none, or the picture has changed since it was written.
    """
    if pixels.size < ROOM:
        raise DataError("it holds no picture: it is too small for one")
    bits = pixels.reshape(-1)[:ROOM].reshape(_BITS, _GROUP).sum(1) % 2
    content = np.packbits(bits.astype(np.uint8)).tobytes()
    magic, *fields = _FIELDS.unpack(content[: _FIELDS.size])
    if magic != _MAGIC:
        raise DataError(
            "it holds no picture, or was re-encoded since: JPEG, resizing and filters destroy what is hidden; use the "
            "PNG file that hide has written"
        )
    marker = Marker(*fields)
    if not np.array_equal(bits, _bits(marker, pixels)):
        raise DataError("it held a picture, but was changed since: use the PNG file that hide has written")
    return marker


def _bits(marker: Marker, pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Return the marker with a checksum of itself and of all pixels behind it, as bits."""
    content = _FIELDS.pack(_MAGIC, *astuple(marker))
    checksum = zlib.crc32(pixels.reshape(-1)[ROOM:].tobytes(), zlib.crc32(content))
    return np.unpackbits(np.frombuffer(content + checksum.to_bytes(4, "big"), np.uint8))
