"""CIFAR-10: photographs of ten kinds of things, 32×32 pixels in color."""

from __future__ import annotations

import os

from inverseflow.data.cifar_batches import BATCH_FOLDERS
from inverseflow.data.images import ImageSplits
from inverseflow.data.official import OfficialSet, load_official

CIFAR10 = OfficialSet(
    name="cifar10",
    title="CIFAR-10",
    shape=(3, 32, 32),
    train_size=50_000,
    test_size=10_000,
    validation_size=10_000,
    hub_repository="uoft-cs/cifar10",
    folders=("cifar10", "cifar10-jpeg", "plain_text", "data", *BATCH_FOLDERS),
    augmentations=("horizontal_flip",),
    has_batches=True,
)


def load_cifar10(
    data_dir: str | os.PathLike[str] | None = None, *, split_seed: int = 0, progress: bool = False
) -> ImageSplits:
    """Load CIFAR-10 split into 40,000, 10,000 and the official 10,000 test images.

    JPEG copies lost detail, so bits per dimension measured on them are lower than on the original; their title is
    "CIFAR-10 (JPEG)".

    Args:
        data_dir: folder with one of

            * ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, or the archive of one of them, as published and as
              torchvision stores it;
            * ``train.parquet`` and ``test.parquet``;
            * the image folders ``train`` and ``test``.

            Without it ``$INVERSEFLOW_DATA/cifar10`` or ``/cifar10-jpeg``, else ``uoft-cs/cifar10`` from the Hugging
            Face hub.
        split_seed: chooses the validation images in the official training split.
        progress: whether to show the progress on standard error.

    Raises:
        DataError: if it is missing or damaged.

    Reference:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
        https://www.cs.toronto.edu/~kriz/cifar.html.

    Example:
        >>> load_cifar10("data/cifar10").title  # doctest: +SKIP
        'CIFAR-10'
    """
    return load_official(CIFAR10, data_dir, split_seed=split_seed, progress=progress)
