"""MNIST: handwritten digits of 28×28 pixels."""

from __future__ import annotations

import os

from inverseflow.data.images import ImageSplits
from inverseflow.data.official import OfficialSet, load_official

MNIST = OfficialSet(
    name="mnist",
    title="MNIST",
    shape=(1, 28, 28),
    train_size=60_000,
    test_size=10_000,
    validation_size=10_000,
    hub_repository="ylecun/mnist",
    folders=("mnist", "MNIST/raw", "raw", "data"),
    idx_stems={"train": "train", "test": "t10k"},
)


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, split_seed: int = 0, progress: bool = False
) -> ImageSplits:
    """Load MNIST split into 50,000, 10,000 and the official 10,000 test images.

    Args:
        data_dir: folder with the four IDX files (plain or gzip), in it or in ``MNIST/raw`` as torchvision stores them,
            or with ``train.parquet`` and ``test.parquet``, or with the image folders ``train`` and ``test``. Without it
            ``$INVERSEFLOW_DATA/mnist``, else ``ylecun/mnist`` from the Hugging Face hub.
        split_seed: chooses the validation images in the official training split.
        progress: whether to show the progress on standard error.

    Raises:
        DataError: if it is missing or damaged.

    Reference:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, https://yann.lecun.org/exdb/mnist.

    Example:
        >>> load_mnist("data/mnist").test.labels[:5]  # doctest: +SKIP
        tensor([7, 2, 1, 0, 4])
    """
    return load_official(MNIST, data_dir, split_seed=split_seed, progress=progress)
