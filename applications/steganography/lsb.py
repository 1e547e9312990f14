"""The classic baselines: the upper bits of a secret, or any bits, in the lower bits of the cover."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.utils.arguments import whole_number


def embed_bits(cover: Tensor, secret: Tensor, bits: int = 4) -> Tensor:
    """Replace the lowest bits of the cover by the highest of the secret.

    Args:
        cover: bytes of any shape.
        secret: bytes of the same shape.
        bits: how many, from 1 to 8.

    Raises:
        DataError: if the shapes differ.

    Example:
        >>> embed_bits(torch.tensor([0b10101111]).byte(), torch.tensor([0b11000000]).byte())
        tensor([172], dtype=torch.uint8)
    """
    bits = whole_number("bits", bits, at_least=1, at_most=8)
    if cover.shape != secret.shape:
        raise DataError(f"cover and secret must have one shape, got {tuple(cover.shape)} and {tuple(secret.shape)}")
    return (cover >> bits << bits) | (secret >> (8 - bits))


def extract_bits(container: Tensor, bits: int = 4) -> Tensor:
    """Return the secret of `embed_bits`, with the middle of what its lost bits can be.

    Example:
        >>> extract_bits(torch.tensor([172]).byte())
        tensor([200], dtype=torch.uint8)
    """
    return (container << (8 - bits)) | (1 << (8 - bits) >> 1)


def scattered_places(length: int) -> Tensor:
    """Return the numbers from 0 to length − 1 in an order that is the same everywhere.

    `RandomState` has streams that no later version of numpy changes.
    """
    return torch.from_numpy(np.random.RandomState(0).permutation(length))


def embed_lowest(cover: Tensor, bits: Tensor) -> Tensor:
    """Replace the lowest bits of the cover at scattered places.

    Args:
        cover: bytes of any shape.
        bits: booleans ``(n,)``, at most one for each byte.

    Example:
        >>> container = embed_lowest(torch.full((2, 3), 200).byte(), torch.tensor([True, False, True]))
        >>> container.sum().item(), extract_lowest(container, 3)
        (1202, tensor([ True, False,  True]))
    """
    container = cover.clone().flatten()
    places = scattered_places(container.numel())[: len(bits)]
    container[places] = (container[places] & 254) | bits.byte()
    return container.view_as(cover)


def extract_lowest(container: Tensor, number: int) -> Tensor:
    """Return the first so many bits of `embed_lowest`."""
    return (container.flatten()[scattered_places(container.numel())[:number]] & 1).bool()
