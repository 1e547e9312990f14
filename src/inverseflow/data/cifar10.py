"""CIFAR-10: photographs of ten kinds of things, 32×32 pixels in colour."""

import os

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
    folders=("cifar10", "cifar10-jpeg", "plain_text", "data"),
    augmentations=("horizontal_flip",),
)


def load_cifar10(data_dir: str | os.PathLike[str] | None = None, *, split_seed: int = 0) -> ImageSplits:
    """Load CIFAR-10 (Krizhevsky, 2009) split into 40,000, 10,000 and the official 10,000 test images.

    Copies whose images were stored as JPEG lost detail, so bits per dimension measured on them are lower than on the
    original; their title is "CIFAR-10 (JPEG)".

    Args:
        data_dir: folder with ``train.parquet`` and ``test.parquet``, or the image folders ``train`` and ``test``.
            Without it ``$INVERSEFLOW_DATA/cifar10`` or ``/cifar10-jpeg``, else ``uoft-cs/cifar10`` from the Hugging
            Face hub.
        split_seed: chooses which images of the official training split are set aside for validation.

    Raises:
        DataError: it is not there, or damaged.

    Example:
        >>> load_cifar10("data/cifar10").title  # doctest: +SKIP
        'CIFAR-10'
    """
    return load_official(CIFAR10, data_dir, split_seed=split_seed)
