"""The classic baseline: the upper bits of the secret in the lower bits of the cover."""

from __future__ import annotations

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
