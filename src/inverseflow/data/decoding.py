"""Decode images to arrays of one shape."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.data.examples import Indices
from inverseflow.data.images import Images
from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Crop = Literal["resize", "center"]
T = TypeVar("T")

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that are read. All are raster formats: none starts another program."""

MAX_PIXELS = 2**28
"""Pixels of the largest image that is read, as a defense against decompression bombs: 0.8 GB of colors."""

_ORIENTATION = 0x0112  # the EXIF tag; its values 5 to 8 turn the picture by a quarter
_CHUNK = 32  # images that a thread takes at a time: enough to hide the cost of handing them out
_MAX_THREADS = 8
_LARGE_PIXELS = 2**24  # larger images are decoded one at a time, so that threads do not multiply their memory

_opening = threading.Lock()
_decoding_large = threading.Lock()


@dataclass(frozen=True)
class Encoded:
    """An image as it is stored."""

    source: bytes | Path  # the content of a file, or where the file is
    name: str  # in error messages

    def content(self) -> bytes:
        """Return the content of the file."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    @contextmanager
    def open(self) -> Iterator[PillowImage]:
        """Open the image, without decoding its pixels. Any error inside the block becomes one that names it."""
        with packages_for("reading images"):
            from PIL import Image, UnidentifiedImageError
        try:
            # Pillow refuses images of more than 179 million pixels. The limit is a global of its module, which belongs
            # to the user: it is lifted for the moment of opening only, and ours takes its place.
            content = io.BytesIO(self.content())
            with _opening:
                limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                try:
                    opened = Image.open(content, formats=FORMATS)
                finally:
                    Image.MAX_IMAGE_PIXELS = limit
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"it has {opened.height}×{opened.width} pixels, but at most {MAX_PIXELS} are read")
            yield opened
        except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, UnidentifiedImageError):
                reason = f"it is damaged, or none of {', '.join(FORMATS)}"
            raise DataError(
                f"{self.name} cannot be read as an image ({reason}): repair it, convert it, or remove it"
            ) from error


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are decoded."""

    gray: bool  # whether the file stores gray levels rather than colors
    height: int
    width: int
    digest: bytes  # hash of the whole file


def read_header(image: Encoded) -> Header:
    """Return the header of an image. An orientation tag may swap its sides."""
    with image.open() as opened:
        width, height = _shown_size(opened)
        gray = opened.mode in ("1", "L", "LA", "La", "I", "F") or opened.mode.startswith("I;16")
        return Header(gray, height, width, hashlib.sha256(image.content()).digest())


def picture_pixels(image: Encoded, mode: Literal["L", "RGB"]) -> npt.NDArray[np.uint8]:
    """Return the pixels of one image of any size, ``(H, W, C)``, as `Decoder` does."""
    with image.open() as opened:
        pixels = np.array(_to_mode(opened, mode))
    return pixels.reshape(*pixels.shape[:2], -1)


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
        """Return the pixels of one image, ``(H, W, C)``."""
        channels, height, width = self.shape
        with image.open() as opened:
            large = opened.width * opened.height > _LARGE_PIXELS
            with _decoding_large if large else nullcontext():
                pixels = _to_mode(opened, "L" if channels == 1 else "RGB")
                self.check_size(image, pixels.height, pixels.width)
                if pixels.size != (width, height):
                    pixels = self._cropped(pixels)
        return np.asarray(pixels).reshape(height, width, channels)

    def check_size(self, image: Encoded, height: int, width: int) -> None:
        """Refuse an image of ``height × width`` that cannot be brought to the shape."""
        _, wanted_height, wanted_width = self.shape
        if self.crop is None and (height, width) != (wanted_height, wanted_width):
            raise DataError(
                f"{image.name} is {height}×{width}, but the others are {wanted_height}×{wanted_width}: remove it, or "
                "bring all to one size with the data set 'folder' and image_size (--image-size)"
            )
        if height < wanted_height or width < wanted_width:
            raise DataError(
                f"{image.name} is {height}×{width}, smaller than the wanted {wanted_height}×{wanted_width}: "
                f"choose image_size (--image-size) {min(height, width)} or less, or remove it"
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

    A bar on a terminal shows how far it has come, if it takes over a second and `progress` is set.
    """
    with packages_for("reading images"):
        from tqdm import tqdm

    def chunk(start: int) -> list[T]:
        return [function(image) for image in images[start : start + _CHUNK]]

    # Pillow frees the interpreter lock only while it decodes. Tiny images that come from one file spend little time
    # there, and a second thread makes them slower.
    in_memory = bool(images) and isinstance(images[0].source, bytes)
    threads = 1 if in_memory else min(_MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about metadata that it cannot interpret
        results = chain.from_iterable(pool.map(chunk, range(0, len(images), _CHUNK)))
        disable = None if progress else True  # None: show it on a terminal only
        yield from tqdm(results, what, len(images), unit="image", leave=False, delay=1, disable=disable)


def decode_all(images: Sequence[Encoded], decoder: Decoder, *, progress: bool = False) -> Tensor:
    """Decode images to a ``uint8`` tensor ``(N, C, H, W)``."""
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
        labels: ``(N,)`` ``int64`` classes, or None.
    """

    def __init__(self, files: Sequence[Encoded], decoder: Decoder, labels: Tensor | None = None) -> None:
        self.shape = decoder.shape
        self.labels = labels
        self._files = files
        self._decoder = decoder

    def __len__(self) -> int:
        return len(self._files)

    def __getitems__(self, indices: Indices) -> Tensor:
        return decode_all(self.select(indices)._files, self._decoder)

    def _select(self, indices: Indices) -> FileImages:
        """Return the files at `indices` as a set of their own."""
        labels = None if self.labels is None else self.labels[torch.as_tensor(indices, dtype=torch.long)]
        return FileImages([self._files[int(index)] for index in indices], self._decoder, labels)


def _shown_size(image: PillowImage) -> tuple[int, int]:
    from PIL import ImageOps

    if image.format == "TIFF":  # whether Pillow has turned a TIFF already depends on its version
        return ImageOps.exif_transpose(image).size
    # Asking a PNG without an orientation for it would decode the pixels.
    tagged = image.format != "PNG" or "exif" in image.info
    turned = tagged and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    return image.size[::-1] if turned else image.size


def _to_mode(opened: PillowImage, mode: Literal["L", "RGB"]) -> PillowImage:
    """Decode an image upright, and to gray or color."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(opened)
    if image.mode == mode and "transparency" not in image.info:
        return image
    # Pillow's own conversion clips 16-bit grays. It keeps those of a PGM, and old versions of a PNG, in the mode "I".
    if image.mode.startswith("I;16") or (image.mode == "I" and opened.format in ("PNG", "PPM")):
        values: npt.NDArray[Any] = np.asarray(image)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise ValueError("its gray levels have an unknown range: a sign, 32 bits or fractions")
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
