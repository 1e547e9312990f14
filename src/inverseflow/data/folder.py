"""A folder of images."""

from __future__ import annotations

import math
import operator
import os
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from inverseflow.data.decoding import Crop, Decoder, FileImages, decode_all, map_images, read_header
from inverseflow.data.encoded import Encoded
from inverseflow.data.images import Images, ImageSplits, TensorImages
from inverseflow.data.location import existing_folder, printable
from inverseflow.data.split_names import SplitNames, split_word
from inverseflow.data.splitting import check_seed, split_by_content
from inverseflow.data.walk import FoundFiles, find_files, listed
from inverseflow.errors import DataError

_IN_MEMORY_BYTES = 2**30  # a larger data set stays in its files


def load_folder(
    data_dir: str | os.PathLike[str],
    *,
    split_seed: int = 0,
    image_size: int | None = None,
    crop: Crop = "resize",
    channels: int | None = None,
    progress: bool = False,
) -> ImageSplits:
    """Load the images in a folder and its subfolders, in the order of their paths.

    Links are followed. Files that are not images, hidden files, whose names begin with a dot, and the folders of
    training runs are left out; the result's `notes` name and count them. Images are files in one of the formats
    BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF and WebP, recognized by their names or their content.

    About 80 : 10 : 10 of the images are for training, validation and test. A hash of an image's file decides, so
    adding, moving and renaming files moves no image from training to test.

    Subfolders named after splits, at any depth and in any case, such as ``Train``, ``val`` and ``test``, or
    ``train_images`` and ``test_images``, give the split of the images in them. Of test and validation, the one that is
    missing is held out of training. Images outside such subfolders are left out, and counted in the notes; if only a
    test or a validation subfolder exists, they are for training. A subfolder ``train`` alone is like any other.

    Decoded images are held in memory up to 1 GiB; a larger set is decoded on each access.

    Args:
        data_dir: the folder. Its name is the data set's title.
        split_seed: chooses which images go into which split.
        image_size: height and width to which all images are brought. Without it all must have the same size.
        crop: how: ``"resize"`` scales the shorter side to `image_size` and cuts out the center, ``"center"`` cuts the
            center out of the original pixels.
        channels: 1 for gray, 3 for color. Without it 1 if all files store grays, else 3.
        progress: whether to show the progress on standard error.

    Raises:
        DataError: if there are no images or too few, one cannot be read, is smaller than `image_size` or, without
            `image_size`, of another size than the rest, or an option is out of range.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(20):
        ...         Image.new("RGB", (9, 6), (number, 0, 0)).save(f"{folder}/{number:02}.bmp")
        ...     splits = load_folder(folder, image_size=4)
        >>> splits.train, splits.validation, splits.test
        (TensorImages(17 × (3, 4, 4)), TensorImages(2 × (3, 4, 4)), TensorImages(1 × (3, 4, 4)))
    """
    image_size, channels = _checked(image_size, crop, channels)
    check_seed(split_seed)
    root = existing_folder(data_dir)
    found = find_files(root, split_word)
    found.require_images()
    divided = _divided(found, split_seed, progress)
    everything = [image for part in divided.parts for image in part]
    decoder = _decoder(everything, image_size, crop, channels, progress)
    train, validation, test = _images(everything, [len(part) for part in divided.parts], decoder, progress)
    others = found.describe_others()
    return ImageSplits(
        name="folder",
        title=printable(root.resolve().name) or str(root),
        levels=256,
        event_shape=decoder.shape,
        train=train,
        validation=validation,
        test=test,
        augmentations=("horizontal_flip",),
        notes=(*divided.notes, *([f"left out of {printable(root)}: {others}"] if others else [])),
    )


def _checked(image_size: int | None, crop: str, channels: int | None) -> tuple[int | None, int | None]:
    whole = {}
    for name, value in (("image_size", image_size), ("channels", channels)):
        try:
            whole[name] = None if value is None else operator.index(value)
        except TypeError:
            raise DataError(f"{name} must be a whole number, got {value!r}") from None
    image_size, channels = whole["image_size"], whole["channels"]
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size must be at least 1, got {image_size}: it is the images' height in pixels")
    if crop not in ("resize", "center"):
        raise DataError(f"crop must be 'resize' or 'center', got {crop!r}")
    if crop == "center" and image_size is None:
        raise DataError("crop 'center' cuts images to image_size, which is not given: give it (--image-size)")
    if channels not in (None, 1, 3):
        raise DataError(f"channels must be 1 for gray or 3 for color, got {channels}")
    return image_size, channels


@dataclass(frozen=True)
class _Divided:
    parts: tuple[list[Encoded], list[Encoded], list[Encoded]]
    """Images for training, validation and test."""
    notes: tuple[str, ...] = ()


def _divided(found: FoundFiles, seed: int, progress: bool) -> _Divided:
    splits = SplitNames(found.folders)
    by_split = defaultdict[str | None, list[Path]](list)
    for path in found.images:
        by_split[splits.of(path.parent)].append(path)

    def held_out(paths: list[Path], parts: int) -> list[list[Encoded]]:
        if len(paths) <= parts:
            raise DataError(
                f"{printable(found.root)} holds {len(paths)} image{'' if len(paths) == 1 else 's'} to divide, but at "
                f"least {parts + 1} are needed, one for each split: add images"
            )
        images = [found.encoded(path) for path in paths]
        if not parts:
            return [images]
        digests = list(map_images(Encoded.digest, images, "hashing images", progress=progress))
        return [[images[index] for index in part] for part in split_by_content(digests, parts, seed=seed)]

    given = [name for name in ("train", "validation", "test") if by_split[name]]
    for folder, split in splits.deciding().items():
        if given and split != "train" and not any(folder in path.parents for path in found.images):
            raise DataError(
                f"{printable(found.root / folder)} holds no images: put images for {split} there, or remove it"
            )
    if given in ([], ["train"]):
        train, test, validation = held_out(found.images, 2)
        return _Divided((train, validation, test))
    rest, notes = by_split[None], []
    if rest:
        count = f"{len(rest)} image{'s' if len(rest) > 1 else ''} outside of the subfolders for {_joined(given)}"
        if by_split["train"]:
            notes.append(f"left out of {printable(found.root)}: {count} ({listed(rest)})")
        else:
            notes.append(f"training on {count} ({listed(rest)})")
            by_split["train"] = rest
    if not by_split["train"]:
        raise DataError(
            f"{printable(found.root)} holds images for {_joined(given)} only: put images into a subfolder 'train', or "
            "name the subfolder itself to divide its images"
        )
    train, *carved = held_out(by_split["train"], 3 - len({*given, "train"}))
    parts = {name: [found.encoded(path) for path in by_split[name]] or carved.pop() for name in ("validation", "test")}
    return _Divided((train, parts["validation"], parts["test"]), tuple(notes))


def _joined(names: list[str]) -> str:
    return " and ".join(["training" if name == "train" else name for name in names])


def _images(everything: list[Encoded], sizes: list[int], decoder: Decoder, progress: bool) -> list[Images]:
    """Return the images in consecutive parts of the given sizes, decoded if they fit into memory."""
    if len(everything) * math.prod(decoder.shape) > _IN_MEMORY_BYTES:
        files = iter(everything)
        return [FileImages(list(islice(files, size)), decoder) for size in sizes]
    return [TensorImages(pixels) for pixels in decode_all(everything, decoder, progress=progress).split(sizes)]


def _decoder(
    images: list[Encoded], image_size: int | None, crop: Crop, channels: int | None, progress: bool
) -> Decoder:
    headers = list(map_images(read_header, images, "reading headers", progress=progress))
    if channels is None:
        channels = 1 if all(header.gray for header in headers) else 3
    if image_size is not None:
        decoder = Decoder((channels, image_size, image_size), crop)
        for image, header in zip(images, headers, strict=True):
            decoder.check_size(image, header.height, header.width)
        return decoder
    first = headers[0]
    for image, header in zip(images, headers, strict=True):
        if (header.height, header.width) != (first.height, first.width):
            raise DataError(
                f"{images[0].name} is {first.height}×{first.width} but {image.name} is {header.height}×{header.width}: "
                "give image_size (--image-size) to resize and crop all images to one size"
            )
    return Decoder((channels, first.height, first.width))
