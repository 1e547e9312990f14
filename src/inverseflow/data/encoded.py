"""Images as they are stored: encoded, in files or in memory."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that are read. All are raster formats: none starts another program."""

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("bmp", "dib", "gif", "jpg", "jpeg", "jpe", "jfif", "mpo", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
        *("png", "apng", "pbm", "pgm", "ppm", "pnm", "tif", "tiff", "webp"),
    )
)
"""Endings, in lower case, of the names of image files."""

MAX_PIXELS = 2**28
"""Pixels of the largest image that is read, as a defense against decompression bombs: 0.8 GB of colors."""

_opening = threading.Lock()


@dataclass(frozen=True)
class Encoded:
    """An encoded image."""

    source: bytes | Path
    """The file's content, or where the file is."""
    name: str
    """What an error message calls it."""

    def is_jpeg(self) -> bool:
        """Return whether the pixels went through JPEG, judged by the first bytes."""
        return self.read_head(2) == b"\xff\xd8"

    def read_head(self, count: int) -> bytes:
        """Return the first `count` bytes.

        Raises:
            DataError: if the file cannot be read.
        """
        if isinstance(self.source, bytes):
            return self.source[:count]
        try:
            with self.source.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise unreadable(self, error) from error

    def digest(self) -> bytes:
        """Return a hash of the content, 32 bytes.

        Raises:
            DataError: if the file cannot be read.
        """
        if isinstance(self.source, bytes):
            return hashlib.sha256(self.source).digest()
        digest = hashlib.sha256()
        try:
            with self.source.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
        except OSError as error:
            raise unreadable(self, error) from error
        return digest.digest()

    def open(self) -> PillowImage:
        """Open the image with Pillow, which reads only the header for now.

        Raises:
            DataError: if it is not an image in one of the `FORMATS`, or has more than `MAX_PIXELS` pixels.
        """
        with packages_for("reading images"):
            from PIL import Image
        try:
            source = io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source
            # Pillow refuses images of more than 179 million pixels. The limit is a global of its module, which belongs
            # to the user: it is lifted for the moment of opening only, and ours takes its place.
            with _opening:
                limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                try:
                    opened = Image.open(source, formats=FORMATS)
                finally:
                    Image.MAX_IMAGE_PIXELS = limit
        except Exception as error:
            raise unreadable(self, error) from error
        pixels = opened.width * opened.height
        if pixels > MAX_PIXELS:
            opened.close()
            raise DataError(
                f"{self.name} has {opened.height}×{opened.width} = {pixels} pixels, but at most {MAX_PIXELS} are read: "
                "scale it down or cut it into pieces, or remove it"
            )
        return opened


@dataclass(frozen=True)
class EncodedSplit:
    """One split of a data set as it is stored."""

    images: list[Encoded]
    labels: Tensor | None
    """``(N,)`` ``int64``, or ``None`` if none are stored."""
    classes: tuple[str, ...] | None = None
    """Names of the labels, if they are stored."""


def unreadable(image: Encoded, error: Exception) -> DataError:
    """Return the error that says why an image cannot be read and what to do."""
    if isinstance(error, FileNotFoundError):
        broken_link = isinstance(image.source, Path) and image.source.is_symlink()
        reason = "it is a link to a file that does not exist" if broken_link else "it is not there"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    elif type(error).__name__ == "UnidentifiedImageError":
        head = image.read_head(4)
        if not head:
            reason = "it is empty"
        elif head.startswith((b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"II", b"MM", b"RIFF")):
            reason = "it is damaged or of a rare kind"
        else:
            reason = "its content is none of BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF, WebP"
    else:
        reason = str(error) or type(error).__name__
    return DataError(
        f"{image.name} cannot be read as an image ({reason}): "
        "replace it with a whole copy, convert it to PNG, or remove it"
    )
