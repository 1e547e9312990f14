"""Conversion between bits per dimension and nats per image."""

from __future__ import annotations

import math

from inverseflow.bijections import Shape


def bits_per_dim(nats: float, event_shape: Shape) -> float:
    """Convert nats per image to bits per dimension.

    Args:
        nats: negative log-likelihood of one image.
        event_shape: (C, H, W).

    Example:
        >>> round(bits_per_dim(350, (1, 28, 28)), 3)
        0.644
    """
    return nats / (math.prod(event_shape) * math.log(2))


def nats_per_image(bits: float, event_shape: Shape) -> float:
    """Convert bits per dimension to nats per image.

    Args:
        bits: negative log-likelihood per dimension.
        event_shape: (C, H, W).

    Example:
        >>> round(nats_per_image(bits_per_dim(350, (1, 28, 28)), (1, 28, 28)), 6)
        350.0
    """
    return bits / bits_per_dim(1.0, event_shape)
