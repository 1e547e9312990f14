"""A folder of images."""

import math
import operator
import os
from pathlib import Path

import torch
from torch import Tensor

from inverseflow.data.decoding import Crop, Decoder, Encoded, FileImages, decode_all, map_images, read_header
from inverseflow.data.images import Images, ImageSplits, TensorImages
from inverseflow.data.paths import existing_folder, printable
from inverseflow.data.splitting import check_seed, split_by_content
from inverseflow.data.walk import IMAGE_FILES, counted, find_files, named_split, paths_by_split
from inverseflow.errors import DataError

_IN_MEMORY_BYTES = 2**30  # a larger data set stays in its files


def load_folder(
    data_dir: str | os.PathLike[str],
    *,
    split_seed: int = 0,
    image_size: int | None = None,
    crop: Crop = "resize",
    channels: int | None = None,
    by_class: bool = False,
    progress: bool = False,
) -> ImageSplits:
    """Load the images in a folder and its subfolders, in the order of their paths.

    Links are followed. A file is an image if its name ends as names of BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF or
    WebP files do. Other files, and hidden files and folders, are left out; the result's `notes` count and name them.

    About 80 : 10 : 10 of the images are for training, validation and test. A hash of the image's file decides, so
    adding, moving or renaming files moves no image from training to test.

    Subfolders for validation or test can give the splits instead. They are called ``val``, ``valid``, ``validation`` or
    ``dev``, and ``test`` or ``testing``, in any case and at any depth. If only one of the two is there, the other split
    is held out of the training images. These are in subfolders called ``train`` or ``training``; images outside of all
    these subfolders are then left out, and counted in the notes. Without such a subfolder all other images are for
    training.

    With `by_class` the images have labels: the class of an image is the first folder on its path that is not named
    after a split. Classes are sorted by name.

    Decoded images are held in memory up to 1 GiB; the images of a larger set are decoded on each access.

    The folder's name is the data set's title. `load_images` describes the options. Without `image_size` all images must
    have the same size.

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
    image_size, channels = _checked_options(image_size, crop, channels)
    check_seed(split_seed)
    root = existing_folder(data_dir)
    found = find_files(root, IMAGE_FILES)
    paths, notes = paths_by_split(found)
    images = {split: [Encoded(root / path, printable(root / path)) for path in paths[split]] for split in paths}
    everything = [image for split in images.values() for image in split]
    classes: tuple[str, ...] = ()
    labels: dict[Encoded, Tensor] = {}
    if by_class:
        classes, numbers = _classes(root, [path for split in paths.values() for path in split])
        labels = dict(zip(everything, numbers, strict=True))
    headers = list(map_images(read_header, everything, "reading headers", progress=progress))

    channels = channels or (1 if all(header.gray for header in headers) else 3)
    height, width = (headers[0].height, headers[0].width) if image_size is None else (image_size, image_size)
    decoder = Decoder((channels, height, width), None if image_size is None else crop)
    for image, header in zip(everything, headers, strict=True):
        decoder.check_size(image, header.height, header.width)

    candidates = images["train"]
    missing = [split for split in ("test", "validation") if split not in images]
    digests = [header.digest for header in headers[: len(candidates)]]
    try:
        indices = split_by_content(digests, len(missing), seed=split_seed)
    except DataError as error:
        raise DataError(f"{printable(root)} cannot be divided: {error}") from None
    for split, part in zip(("train", *missing), indices, strict=True):
        images[split] = [candidates[index] for index in part]
    parts = [images[split] for split in ("train", "validation", "test")]
    of_parts = [torch.stack([labels[image] for image in part]) if by_class else None for part in parts]
    train, validation, test = _in_memory_if_small(parts, of_parts, decoder, progress)
    return ImageSplits(
        name="folder",
        title=printable(root.resolve().name) or str(root),
        levels=256,
        event_shape=decoder.shape,
        train=train,
        validation=validation,
        test=test,
        augmentations=("horizontal_flip",),
        notes=notes,
        classes=classes,
    )


def _classes(root: Path, paths: list[Path]) -> tuple[tuple[str, ...], Tensor]:
    """Return the names of the classes, and the number of the class of each image; refuse images without a class."""
    names = [next((name for name in path.parts[:-1] if named_split(Path(name)) is None), None) for path in paths]
    if outside := [path for path, name in zip(paths, names, strict=True) if name is None]:
        raise DataError(
            f"{printable(root)} holds {counted('image', outside)} outside of subfolders for classes: "
            "move each into the subfolder of its class, or leave the condition 'label' out"
        )
    classes = sorted({name for name in names if name is not None})
    if len(classes) < 2:
        raise DataError(
            f"{printable(root)} has images of one class only, {printable(classes[0])!r}: "
            "put those of each class into a subfolder, or leave the condition 'label' out"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    labels = torch.tensor([numbers[name] for name in names if name is not None])
    return tuple(map(printable, classes)), labels


def _checked_options(image_size: int | None, crop: str, channels: int | None) -> tuple[int | None, int | None]:
    try:
        image_size = None if image_size is None else operator.index(image_size)
        channels = None if channels is None else operator.index(channels)
    except TypeError:
        raise DataError(f"image_size and channels must be whole numbers, got {image_size!r} and {channels!r}") from None
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size must be at least 1, got {image_size}: it is the images' height in pixels")
    if crop not in ("resize", "center"):
        raise DataError(f"crop must be 'resize' or 'center', got {crop!r}")
    if crop == "center" and image_size is None:
        raise DataError("crop 'center' cuts images to image_size, which is not given: give it (--image-size)")
    if channels not in (None, 1, 3):
        raise DataError(f"channels must be 1 for gray or 3 for color, got {channels}")
    return image_size, channels


def _in_memory_if_small(
    parts: list[list[Encoded]], labels: list[Tensor | None], decoder: Decoder, progress: bool
) -> list[Images]:
    """Return the images of each part, decoded if all fit into memory."""
    everything = [image for part in parts for image in part]
    if len(everything) * math.prod(decoder.shape) > _IN_MEMORY_BYTES:
        return [FileImages(part, decoder, classes) for part, classes in zip(parts, labels, strict=True)]
    pixels = decode_all(everything, decoder, progress=progress)
    divided = pixels.split([len(part) for part in parts])
    return [TensorImages(part, classes) for part, classes in zip(divided, labels, strict=True)]
