"""A folder of images of any kind that Pillow reads."""

import os
from pathlib import Path

from torch import Tensor

from inverseflow.data.decoding import Crop, Decoder, Encoded, FileImages, decode_all, read_header
from inverseflow.data.huggingface import read_image_folder
from inverseflow.data.images import Images, ImageSplits, TensorImages
from inverseflow.data.location import existing_folder
from inverseflow.data.splitting import split_indices
from inverseflow.errors import DataError

_HELD_OUT = 10  # one in so many images goes to validation, and as many to test
_VALIDATION_NAMES = ("validation", "val", "valid")
_IN_MEMORY_BYTES = 2**30  # a larger data set stays in its files


def load_folder(
    data_dir: str | os.PathLike[str],
    *,
    split_seed: int = 0,
    image_size: int | None = None,
    crop: Crop = "resize",
    channels: int | None = None,
) -> ImageSplits:
    """Load the images in a folder and its subfolders, in the order of their paths.

    The images are divided 80 : 10 : 10. A folder that has a subfolder ``train``, and ``test`` or ``validation``
    (``val``, ``valid``), is taken as already divided; what is missing of these two is carved out of ``train``, one
    image in ten. Decoded images are held in memory up to 1 GiB; beyond, each is decoded whenever it is asked for.

    Args:
        data_dir: the folder. Its name is the data set's title.
        split_seed: chooses which images go where.
        image_size: height and width to which all images are brought. Without it all must have one size already.
        crop: how: ``"resize"`` scales the shorter side to ``image_size`` and cuts out the centre, ``"center"`` cuts the
            centre out of the original pixels.
        channels: 1 for grey, 3 for colour. Without it 1 if all files store greys, else 3.

    Raises:
        DataError: there are no images or too few, one cannot be read, is smaller than ``image_size`` or, without
            ``image_size``, of another size than the rest, or an option is out of range.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(20):
        ...         Image.new("RGB", (9, 6), (number, 0, 0)).save(f"{folder}/{number:02}.png")
        ...     splits = load_folder(folder, image_size=4)
        >>> splits.train, splits.validation, splits.test
        (TensorImages(16 × (3, 4, 4)), TensorImages(2 × (3, 4, 4)), TensorImages(2 × (3, 4, 4)))
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size is {image_size}: choose the images' height in pixels, at least 1")
    if crop not in ("resize", "center"):
        raise DataError(f"unknown crop {crop!r}: choose 'resize' or 'center'")
    if crop == "center" and image_size is None:
        raise DataError("crop 'center' cuts images to image_size, which is not given: give it (--image-size)")
    if channels not in (None, 1, 3):
        raise DataError(f"channels is {channels}: choose 1 for grey or 3 for colour")
    root = existing_folder(data_dir)
    title = root.resolve().name
    parts = _divided(root, split_seed)
    decoder = _decoder([image for part in parts for image in part], image_size, crop, channels)
    channel_count, height, width = decoder.shape
    in_memory = sum(map(len, parts)) * channel_count * height * width <= _IN_MEMORY_BYTES

    def images(part: list[Encoded]) -> Images:
        return TensorImages(decode_all(part, decoder)) if in_memory else FileImages(part, decoder)

    train, validation, test = map(images, parts)
    return ImageSplits(
        name="folder",
        title=title,
        levels=256,
        event_shape=decoder.shape,
        train=train,
        validation=validation,
        test=test,
        augmentations=("horizontal_flip",),
    )


def _divided(root: Path, seed: int) -> tuple[list[Encoded], list[Encoded], list[Encoded]]:
    """Return the files of the training, validation and test splits."""
    named = [root / name for name in _VALIDATION_NAMES if (root / name).is_dir()]
    if len(named) > 1:
        raise DataError(
            f"{root} has the subfolders {named[0].name} and {named[1].name}: keep one of them for validation"
        )
    test_folder = root / "test"
    if not (root / "train").is_dir() or not (named or test_folder.is_dir()):
        everything = read_image_folder(root).images
        held_out = max(1, len(everything) // _HELD_OUT)
        rest, validation, test = split_indices(len(everything), held_out, held_out, seed=seed)
        return _pick(everything, rest), _pick(everything, validation), _pick(everything, test)
    train = read_image_folder(root / "train").images
    if named and test_folder.is_dir():
        return train, read_image_folder(named[0]).images, read_image_folder(test_folder).images
    rest, carved = split_indices(len(train), max(1, len(train) // _HELD_OUT), seed=seed)
    if named:
        return _pick(train, rest), read_image_folder(named[0]).images, _pick(train, carved)
    return _pick(train, rest), _pick(train, carved), read_image_folder(test_folder).images


def _pick(images: list[Encoded], indices: Tensor) -> list[Encoded]:
    return [images[index] for index in indices.tolist()]


def _decoder(images: list[Encoded], image_size: int | None, crop: Crop, channels: int | None) -> Decoder:
    headers = [read_header(image) for image in images]
    if channels is None:
        channels = 1 if all(header.grey for header in headers) else 3
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
