"""MNIST: handwritten digits of 28×28 pixels."""

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


def load_mnist(data_dir: str | os.PathLike[str] | None = None, *, split_seed: int = 0) -> ImageSplits:
    """Load MNIST (LeCun et al., 1998) split into 50,000, 10,000 and the official 10,000 test images.

    Args:
        data_dir: folder with the four IDX files (plain or gzip), ``train.parquet`` and ``test.parquet``, or the image
            folders ``train`` and ``test``. Without it ``$INVERSEFLOW_DATA/mnist``, else ``ylecun/mnist`` from the
            Hugging Face hub.
        split_seed: chooses which images of the official training split are set aside for validation.

    Raises:
        DataError: it is not there, or damaged.

    Example:
        >>> load_mnist("data/mnist").test.labels[:5]  # doctest: +SKIP
        tensor([7, 2, 1, 0, 4])
    """
    return load_official(MNIST, data_dir, split_seed=split_seed)
