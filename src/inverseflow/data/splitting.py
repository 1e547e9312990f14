"""Seeded splits, the same on every machine."""

import numpy as np
import torch
from torch import Tensor

from inverseflow.errors import DataError


def split_indices(count: int, *sizes: int, seed: int) -> list[Tensor]:
    """Divide ``range(count)`` at random into what remains and one part of each size.

    Args:
        count: how many things are divided.
        *sizes: how many of them go into each part after the first.
        seed: chooses the division, from 0 to 2³² - 1.

    Returns:
        Indices of the remainder, then of each part, ``int64``, each in increasing order.

    Raises:
        DataError: the seed is out of range, or nothing would remain for the first part.

    Example:
        >>> [part.tolist() for part in split_indices(8, 1, 2, seed=0)]
        [[0, 3, 4, 5, 7], [6], [1, 2]]
    """
    if not 0 <= seed < 2**32:
        raise DataError(f"split_seed is {seed}: choose a whole number from 0 to {2**32 - 1}")
    if sum(sizes) >= count:
        raise DataError(f"{count} images are too few to split: at least {sum(sizes) + 1} are needed")
    # Of all generators at hand only NumPy's RandomState promises the same stream in every version (NEP 19).
    order = torch.from_numpy(np.random.RandomState(seed).permutation(count)).long()
    parts = order.split([*sizes, count - sum(sizes)])
    return [part.sort().values for part in (parts[-1], *parts[:-1])]
