"""Data sets by name."""

import os

from inverseflow.data.decoding import Crop
from inverseflow.data.folder import load_folder
from inverseflow.data.images import ImageSplits
from inverseflow.data.named import CIFAR10, MNIST, load_digits, load_official
from inverseflow.errors import DataError

_OFFICIAL = {"mnist": MNIST, "cifar10": CIFAR10}

DATA_SETS = ("digits", *_OFFICIAL, "folder")
"""Names that `load_images` knows."""


def load_images(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    split_seed: int = 0,
    image_size: int | None = None,
    crop: Crop = "resize",
    channels: int | None = None,
    progress: bool = False,
) -> ImageSplits:
    """Load a data set by name, split into training, validation and test images.

    The same arguments give the same splits on every machine.

    Args:
        name: ``"digits"`` (needs no network), ``"mnist"``, ``"cifar10"`` or ``"folder"``.
        data_dir: folder that holds the images: the files as published, torchvision's folders, or parquet files of the
            Hugging Face hub. Without it ``mnist`` and ``cifar10`` are looked for in ``$INVERSEFLOW_DATA`` and then
            fetched from the hub. ``folder`` needs it, and takes any images in it; ``digits`` has none.
        split_seed: chooses which images go into which split. Official test splits stay as they are.
        image_size: for ``folder``: height and width to which all images are brought.
        crop: for ``folder``: ``"resize"`` scales the shorter side to `image_size` and cuts out the center,
            ``"center"`` cuts the center out of the original pixels.
        channels: for ``folder``: 1 for gray, 3 for color. Without it 1 if all files store grays, else 3.
        progress: whether to show the progress on standard error, if reading takes over a second.

    Returns:
        The data set with its three splits, all ``uint8``.

    Raises:
        DataError: if the name is unknown, an option does not apply to the data set, or the data is missing or
            damaged. The message says what to do.

    Example:
        >>> splits = load_images("digits")
        >>> splits.train, splits.levels
        (TensorImages(1257 × (1, 8, 8)), 17)
        >>> load_images("cifar")
        Traceback (most recent call last):
        inverseflow.errors.DataError: unknown data set 'cifar': choose one of digits, mnist, cifar10, folder
    """
    if name not in DATA_SETS:
        raise DataError(f"unknown data set {name!r}: choose one of {', '.join(DATA_SETS)}")
    if name == "folder":
        if data_dir is None or data_dir == "":  # an empty variable of the shell would be the working folder
            raise DataError("the data set 'folder' needs the folder of images: give data_dir (--data-dir)")
        return load_folder(
            data_dir,
            split_seed=split_seed,
            image_size=image_size,
            crop=crop,
            channels=channels,
            progress=progress,
        )
    of_folder = {"image_size": image_size is not None, "crop": crop != "resize", "channels": channels is not None}
    for option, given in of_folder.items():
        if given:
            raise DataError(f"{option} applies to the data set 'folder' only: leave it out for {name!r}")
    if name == "digits":
        if data_dir is not None:
            raise DataError("the data set 'digits' comes with scikit-learn: leave data_dir (--data-dir) out")
        return load_digits(split_seed=split_seed)
    return load_official(_OFFICIAL[name], data_dir, split_seed=split_seed, progress=progress)
