"""Seeded splits, the same on every machine."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.errors import DataError

HELD_OUT = 0.1
"""Expected share of the images in each split that `split_by_content` holds out."""


def split_indices(count: int, *sizes: int, seed: int) -> list[Tensor]:
    """Divide ``range(count)`` at random into the rest and one part of each size, each in increasing order.

    Example:
        >>> [part.tolist() for part in split_indices(8, 1, 2, seed=0)]
        [[0, 3, 4, 5, 7], [6], [1, 2]]
    """
    check_seed(seed)
    if sum(sizes) >= count:
        raise DataError(f"{count} examples are too few to split: at least {sum(sizes) + 1} are needed")
    # Only NumPy's RandomState promises the same stream in every version (NEP 19).
    order = torch.from_numpy(np.random.RandomState(seed).permutation(count)).long()
    parts = order.split([*sizes, count - sum(sizes)])
    return [part.sort().values for part in (parts[-1], *parts[:-1])]


def split_rows(rows: npt.NDArray[Any], *shares: float, seed: int) -> list[Tensor]:
    """Divide rows at random into the rest and a share for each other part; equal rows stay together.

    The values of the rows decide only which of them are equal. So a change of units changes nothing. Where at most a
    tenth of the rows are distinct, they are points of a lattice rather than copies, and each goes its own way.

    Args:
        rows: ``(N, ...)`` of numbers.
        shares: the share of the distinct rows in each held-out part, which gets at least one of them.
        seed: chooses the rows.

    Returns:
        Indices of the rows that remain, then of each held-out part, in increasing order.

    Example:
        >>> rows = np.array([[1.0], [2.0], [1.0], [3.0], [4.0]])
        >>> [part.tolist() for part in split_rows(rows, 0.25, seed=0)]
        [[0, 1, 2, 4], [3]]
    """
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    content = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).reshape(-1)
    _, first, group = np.unique(content, return_index=True, return_inverse=True)
    count = len(first)
    place = np.argsort(np.argsort(first))[group.reshape(-1)]  # number of the distinct row, by first appearance
    if count <= max(len(rows) / 10, len(shares)):
        count, place = len(rows), np.arange(len(rows))
    parts = split_indices(count, *(max(1, round(share * count)) for share in shares), seed=seed)
    return [torch.from_numpy(np.flatnonzero(np.isin(place, part))) for part in parts]


def split_by_content(digests: Sequence[bytes], parts: int, *, seed: int) -> list[list[int]]:
    """Divide images by a hash of their content: most remain, and about a tenth goes into each held-out part.

    Hash and seed give each content a number in [0, 1). Contents below 0.1 go into the first held-out part, the others
    below 0.2 into the second. So the part of an image depends on neither its name nor the other images: renaming and
    moving files changes nothing, equal files stay together, and added images move no image from training to test.

    A part that would be empty takes the content with the lowest number among those that follow. In so small a set,
    added images may move others towards training. They move one away from training only if the numbers of nearly all
    contents are low, as in one of a thousand sets of three images.

    Returns:
        Indices of the images that remain, then of each held-out part, in increasing order; none is empty.

    Example:
        >>> digests = [bytes([number]) for number in range(20)]
        >>> split_by_content(digests, 2, seed=0)[1:]
        [[1, 3, 7, 8, 17], [6, 16]]
    """
    check_seed(seed)
    if len(digests) <= parts:
        raise DataError(f"{len(digests)} examples are too few to split: at least {parts + 1} are needed")
    if len(set(digests)) <= parts:  # nothing but copies of one or two images: let them part
        digests = [digest + index.to_bytes(8, "big") for index, digest in enumerate(digests)]
    contents = defaultdict[bytes, list[int]](list)
    for index, digest in enumerate(digests):
        contents[digest].append(index)
    numbers = {content: _uniform(content, seed) for content in contents}
    order = sorted(contents, key=numbers.__getitem__)
    held_out, start = [], 0
    for part in range(parts):
        below = sum(number < HELD_OUT * (part + 1) for number in numbers.values())
        stop = min(max(below, start + 1), len(order) - (parts - part))
        held_out.append(order[start:stop])
        start = stop
    return [sorted(index for content in group for index in contents[content]) for group in (order[start:], *held_out)]


def _uniform(content: bytes, seed: int) -> float:
    number = hashlib.sha256(seed.to_bytes(4, "big") + content).digest()[:8]
    return int.from_bytes(number, "big") / 2**64


def check_seed(seed: int) -> None:
    """Refuse a seed out of range."""
    if not 0 <= seed < 2**32:
        raise DataError(f"split_seed must be a whole number from 0 to {2**32 - 1}, got {seed}")
