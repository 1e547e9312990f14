"""Handwritten digits of 8×8 pixels, bundled with scikit-learn: the data set that needs no network."""

from __future__ import annotations

import torch

from inverseflow.data.images import ImageSplits, TensorImages
from inverseflow.data.splitting import split_indices
from inverseflow.utils.packages import packages_for

_VALIDATION, _TEST = 180, 360


def load_digits(*, split_seed: int = 0) -> ImageSplits:
    """Load the 1,797 test images of the UCI optical digits, which have 17 gray levels.

    Args:
        split_seed: chooses the 1,257 training, 180 validation and 360 test images.

    Raises:
        DataError: if the seed is out of range.
        MissingPackageError: if scikit-learn is not installed.

    Reference:
        Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, 1998, https://doi.org/10.24432/C50P49.

    Example:
        >>> splits = load_digits()
        >>> splits.train.tensor().max().item(), splits.train.labels[:5].tolist()
        (16, [0, 3, 7, 8, 0])
    """
    with packages_for("the data set 'digits'"):
        from sklearn.datasets import load_digits as load
    bundled = load()
    pixels = torch.from_numpy(bundled.images).to(torch.uint8).unsqueeze(1)  # (1797, 1, 8, 8)
    images = TensorImages(pixels, torch.from_numpy(bundled.target))
    train, validation, test = split_indices(len(images), _VALIDATION, _TEST, seed=split_seed)
    return ImageSplits(
        name="digits",
        title="digits",
        levels=17,
        event_shape=images.shape,
        train=images.select(train),
        validation=images.select(validation),
        test=images.select(test),
    )
