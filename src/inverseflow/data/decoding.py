"""Encoded images (PNG, JPEG, anything Pillow reads) to arrays of one shape."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.data.images import Images, Indices
from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Crop = Literal["resize", "center"]

_ORIENTATION = 0x0112  # the EXIF tag; its values 5 to 8 turn the picture by a quarter
_CHUNK = 32  # images that a thread takes at a time: enough to hide the cost of handing them out
_MAX_THREADS = 8


@dataclass(frozen=True)
class Encoded:
    """An image as it is stored."""

    source: bytes | Path
    """The file's content, or where the file is."""
    name: str
    """What an error message calls it."""

    def is_jpeg(self) -> bool:
        """Whether the pixels went through JPEG, told by the first bytes."""
        return self.read_head(2) == b"\xff\xd8"

    def read_head(self, count: int) -> bytes:
        """Return the first ``count`` bytes.

        Raises:
            DataError: the file cannot be read.
        """
        if isinstance(self.source, bytes):
            return self.source[:count]
        try:
            with self.source.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise _unreadable(self, error) from error

    def open(self) -> "PillowImage":
        """Open the image with Pillow, which reads no more than its header yet.

        Raises:
            DataError: it is not an image that Pillow reads.
        """
        with packages_for("reading images"):
            from PIL import Image
        try:
            return Image.open(io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source)
        except Exception as error:
            raise _unreadable(self, error) from error


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are decoded."""

    grey: bool
    """Whether the file stores shades of grey rather than colours."""
    height: int
    width: int


def read_header(image: Encoded) -> Header:
    """Return the size, as it is shown, and the kind of an image, without decoding its pixels.

    Raises:
        DataError: it is not an image that Pillow reads.
    """
    with image.open() as opened:
        try:
            width, height = _shown_size(opened)
        except Exception as error:
            raise _unreadable(image, error) from error
        grey = opened.mode in ("1", "L", "LA", "La", "I", "F") or opened.mode.startswith("I;16")
        return Header(grey=grey, height=height, width=width)


@dataclass(frozen=True)
class Decoder:
    """Decodes images to one shape.

    Orientation tags are obeyed, transparency is laid over white, colours become grey by ITU-R 601 luma, and 16-bit
    greys keep their upper 8 bits.
    """

    shape: tuple[int, int, int]
    """``(C, H, W)`` of the result, with one channel (grey) or three (red, green, blue)."""
    crop: Crop | None = None
    """How a larger image gets this shape: ``"resize"`` scales it (Lanczos) until it just covers ``H × W`` and cuts out
    the centre, ``"center"`` cuts out the centre of the original pixels. With ``None`` it must have the shape."""

    def __call__(self, image: Encoded) -> npt.NDArray[np.uint8]:
        """Return the pixels of one image, ``(H, W, C)``.

        Raises:
            DataError: the image is damaged, too small or, without ``crop``, of another size.
        """
        channels, height, width = self.shape
        with image.open() as opened:
            try:
                pixels = _to_mode(_upright(opened), "L" if channels == 1 else "RGB", image)
            except DataError:
                raise
            except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
                raise _unreadable(image, error) from error
        self.check_size(image, pixels.height, pixels.width)
        if pixels.size != (width, height):
            pixels = self._cropped(pixels)
        return np.asarray(pixels).reshape(height, width, channels)

    def check_size(self, image: Encoded, height: int, width: int) -> None:
        """Refuse an image of ``height × width`` that cannot be given the shape.

        Raises:
            DataError: it is too small or, without ``crop``, of another size.
        """
        _, wanted_height, wanted_width = self.shape
        if self.crop is None and (height, width) != (wanted_height, wanted_width):
            raise DataError(
                f"{image.name} is {height}×{width}, but all images here must be {wanted_height}×{wanted_width}: "
                "remove it, or use the data set 'folder' with image_size (--image-size)"
            )
        if height < wanted_height or width < wanted_width:
            raise DataError(
                f"{image.name} is {height}×{width}, smaller than the wanted {wanted_height}×{wanted_width}: "
                f"choose image_size (--image-size) {min(height, width)} or less, or remove it"
            )

    def _cropped(self, pixels: "PillowImage") -> "PillowImage":
        from PIL import Image, ImageOps

        _, height, width = self.shape
        if self.crop == "resize":
            return ImageOps.fit(pixels, (width, height), Image.Resampling.LANCZOS)
        left, top = (pixels.width - width) // 2, (pixels.height - height) // 2
        return pixels.crop((left, top, left + width, top + height))


def decode_all(images: Sequence[Encoded], decoder: Decoder) -> Tensor:
    """Decode images.

    Returns:
        ``(N, C, H, W)`` ``uint8``.

    Raises:
        DataError: as :class:`Decoder` does, for the first image that fails.
    """
    channels, height, width = decoder.shape
    pixels = np.empty((len(images), height, width, channels), dtype=np.uint8)

    def decode_chunk(start: int) -> None:
        for index in range(start, min(start + _CHUNK, len(images))):
            pixels[index] = decoder(images[index])

    # Pillow frees the interpreter lock only while it decodes. Of a tiny image, as data sets keep them in one file, that
    # is the lesser part, and a second thread makes it slower.
    in_one_file = bool(images) and isinstance(images[0].source, bytes)
    with ThreadPoolExecutor(1 if in_one_file else min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for _ in pool.map(decode_chunk, range(0, len(images), _CHUNK)):
            pass
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


class FileImages(Images):
    """Images that stay in their files and are decoded each time they are asked for.

    Args:
        files: the encoded images.
        decoder: what gives them one shape.
    """

    def __init__(self, files: Sequence[Encoded], decoder: Decoder) -> None:
        self.shape = decoder.shape
        self.labels = None
        self._files = files
        self._decoder = decoder

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Indices) -> Tensor:
        if len(indices) == 0:
            return torch.empty(0, *self.shape, dtype=torch.uint8)
        pixels = np.stack([self._decoder(self._files[int(index)]) for index in indices])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()

    def select(self, indices: Indices) -> "FileImages":
        """Return the files at ``indices`` as a set of its own."""
        return FileImages([self._files[int(index)] for index in indices], self._decoder)

    def tensor(self) -> Tensor:
        """Decode all images, ``(N, C, H, W)``: N·C·H·W bytes of memory."""
        return decode_all(self._files, self._decoder)


def _upright(image: "PillowImage") -> "PillowImage":
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _shown_size(image: "PillowImage") -> tuple[int, int]:
    if image.format == "TIFF":  # when Pillow turns a TIFF is a matter of its version
        return _upright(image).size
    # Asking a PNG without an orientation for it would decode the pixels.
    tagged = image.format != "PNG" or "exif" in image.info
    turned = tagged and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    return image.size[::-1] if turned else image.size


def _to_mode(image: "PillowImage", mode: Literal["L", "RGB"], encoded: Encoded) -> "PillowImage":
    from PIL import Image

    if image.mode == mode and "transparency" not in image.info:
        image.load()
        return image
    # Greys of 16 bits: Pillow's own conversion clips them. Its mode is plain "I" when an old version reads a PNG.
    if image.mode.startswith("I;16") or (image.mode == "I" and encoded.read_head(4) == b"\x89PNG"):
        values: npt.NDArray[Any] = np.asarray(image)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise DataError(f"{encoded.name} has pixels of 32 bits, whose range is unknown: convert it to 8 bits first")
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _unreadable(image: Encoded, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        reason = "it is not there"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    elif type(error).__name__ == "UnidentifiedImageError":
        reason = "its content is not that of an image"
    else:
        reason = str(error) or type(error).__name__
    return DataError(f"{image.name} cannot be read as an image ({reason}): replace it with a whole copy, or remove it")
