"""Decode images to arrays of one shape."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.data.encoded import Encoded, unreadable
from inverseflow.data.images import Images, Indices
from inverseflow.data.progress import Progress
from inverseflow.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Crop = Literal["resize", "center"]
T = TypeVar("T")

_ORIENTATION = 0x0112  # the EXIF tag; its values 5 to 8 turn the picture by a quarter
_CHUNK = 32  # images that a thread takes at a time: enough to hide the cost of handing them out
_MAX_THREADS = 8
_LARGE_PIXELS = 2**24  # larger images are decoded one at a time, so that threads do not multiply their memory

_decoding_large = threading.Lock()


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are decoded."""

    gray: bool
    """Whether the file stores gray levels rather than colors."""
    height: int
    width: int


def read_header(image: Encoded) -> Header:
    """Return the size and the kind of an image without decoding its pixels. An orientation tag may swap the sides.

    Raises:
        DataError: if it cannot be read as an image.
    """
    with image.open() as opened:
        try:
            width, height = _shown_size(opened)
        except Exception as error:
            raise unreadable(image, error) from error
        gray = opened.mode in ("1", "L", "LA", "La", "I", "F") or opened.mode.startswith("I;16")
        return Header(gray=gray, height=height, width=width)


@dataclass(frozen=True)
class Decoder:
    """Function that decodes an image to one shape.

    It obeys orientation tags and ignores color profiles. It blends transparency with white, turns colors to gray by
    ITU-R 601 luma, keeps the upper 8 of 16 bits, and takes the first frame of an animation and the first page of a TIFF
    file.
    """

    shape: tuple[int, int, int]
    """``(C, H, W)`` of the result, with one channel (gray) or three (red, green, blue)."""
    crop: Crop | None = None
    """How to bring a larger image to this shape: ``"resize"`` scales it (Lanczos) until it just covers ``H × W`` and
    cuts out the center, ``"center"`` cuts the center out of the original pixels. With ``None`` it must have the
    shape already."""

    def __call__(self, image: Encoded) -> npt.NDArray[np.uint8]:
        """Return the pixels of one image, ``(H, W, C)``.

        Raises:
            DataError: if the image is damaged, too small or, without `crop`, of another size.
        """
        channels, height, width = self.shape
        with image.open() as opened:
            large = opened.width * opened.height > _LARGE_PIXELS
            with _decoding_large if large else nullcontext():
                try:
                    pixels = _to_mode(_upright(opened), "L" if channels == 1 else "RGB", image)
                except DataError:
                    raise
                except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
                    raise unreadable(image, error) from error
                self.check_size(image, pixels.height, pixels.width)
                if pixels.size != (width, height):
                    pixels = self._cropped(pixels)
                return np.asarray(pixels).reshape(height, width, channels)

    def check_size(self, image: Encoded, height: int, width: int) -> None:
        """Refuse an image of ``height × width`` that cannot be brought to the shape.

        Raises:
            DataError: if it is too small or, without `crop`, of another size.
        """
        _, wanted_height, wanted_width = self.shape
        if self.crop is None and (height, width) != (wanted_height, wanted_width):
            raise DataError(
                f"{image.name} is {height}×{width}, but all images here must be {wanted_height}×{wanted_width}: "
                "remove it, or use the data set 'folder' with image_size (--image-size)"
            )
        if height < wanted_height or width < wanted_width:
            smaller = min(height, width)
            remedy = f"choose image_size (--image-size) {smaller} or less, or remove it" if smaller else "remove it"
            raise DataError(
                f"{image.name} is {height}×{width}, smaller than the wanted {wanted_height}×{wanted_width}: {remedy}"
            )

    def _cropped(self, pixels: PillowImage) -> PillowImage:
        from PIL import Image, ImageOps

        _, height, width = self.shape
        if self.crop == "resize":
            return ImageOps.fit(pixels, (width, height), Image.Resampling.LANCZOS)
        left, top = (pixels.width - width) // 2, (pixels.height - height) // 2
        return pixels.crop((left, top, left + width, top + height))


def map_images(
    function: Callable[[Encoded], T], images: Sequence[Encoded], what: str, *, progress: bool = False
) -> Iterator[T]:
    """Apply a function to images, on several threads if they are files, and yield the results in order.

    Args:
        function: the function, which may be called by several threads at once.
        images: the images.
        what: what is done, for the progress bar.
        progress: whether to show the progress.
    """

    def chunk(start: int) -> list[T]:
        return [function(image) for image in images[start : start + _CHUNK]]

    # Pillow frees the interpreter lock only while it decodes. Tiny images that come from one file spend little time
    # there, and a second thread makes them slower.
    in_memory = bool(images) and isinstance(images[0].source, bytes)
    threads = 1 if in_memory else min(_MAX_THREADS, os.cpu_count() or 1)
    with (
        _no_warnings(),
        Progress(what, len(images), show=progress) as shown,
        ThreadPoolExecutor(threads) as pool,
    ):
        for results in pool.map(chunk, range(0, len(images), _CHUNK)):
            yield from results
            shown.advance(len(results))


def decode_all(images: Sequence[Encoded], decoder: Decoder, *, progress: bool = False) -> Tensor:
    """Decode images.

    Args:
        images: the images.
        decoder: brings them to one shape.
        progress: whether to show the progress.

    Returns:
        ``(N, C, H, W)`` ``uint8``.

    Raises:
        DataError: as `Decoder`, for the first image that fails.
    """
    channels, height, width = decoder.shape
    pixels = np.empty((len(images), height, width, channels), dtype=np.uint8)
    for index, array in enumerate(map_images(decoder, images, "reading images", progress=progress)):
        pixels[index] = array
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


class FileImages(Images):
    """Images that stay in their files and are decoded on each access.

    Args:
        files: the encoded images.
        decoder: brings them to one shape.
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
        with _no_warnings():
            pixels = np.stack([self._decoder(self._files[int(index)]) for index in indices])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()

    def select(self, indices: Indices) -> FileImages:
        """Return the files at `indices` as a set of their own."""
        return FileImages([self._files[int(index)] for index in indices], self._decoder)

    def tensor(self) -> Tensor:
        """Decode all images, ``(N, C, H, W)``: N·C·H·W bytes of memory."""
        return decode_all(self._files, self._decoder)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence Pillow about metadata that it cannot interpret: the pixels are right, or it raises an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _upright(image: PillowImage) -> PillowImage:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _shown_size(image: PillowImage) -> tuple[int, int]:
    if image.format == "TIFF":  # whether Pillow has turned a TIFF already depends on its version
        return _upright(image).size
    # Asking a PNG without an orientation for it would decode the pixels.
    tagged = image.format != "PNG" or "exif" in image.info
    turned = tagged and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    return image.size[::-1] if turned else image.size


def _to_mode(image: PillowImage, mode: Literal["L", "RGB"], encoded: Encoded) -> PillowImage:
    from PIL import Image

    if image.mode == mode and "transparency" not in image.info:
        image.load()
        return image
    # Pillow's own conversion clips 16-bit grays. It keeps those of a PGM, and old versions of a PNG, in the mode "I".
    head = encoded.read_head(4)
    if image.mode.startswith("I;16") or (image.mode == "I" and (head == b"\x89PNG" or head[:2] in (b"P2", b"P5"))):
        values: npt.NDArray[Any] = np.asarray(image)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise DataError(
            f"{encoded.name} has gray levels of unknown range, with a sign, 32 bits or fractions: convert it to 8 bits"
        )
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "LAB":
        raise DataError(f"{encoded.name} has CIELAB colors: convert it to RGB first")
    return image.convert(mode)
