"""Bits per dimension and nats per image, by the one conversion that a flow has."""

from __future__ import annotations

import torch

from inverseflow.bijections import Compose, Shape
from inverseflow.flows import Flow


def bits_per_dim(nats: float, event_shape: Shape) -> float:
    """Convert the negative log-likelihood of an image from nats of the whole to bits per dimension.

    Args:
        nats: of one image.
        event_shape: (C, H, W).

    Example:
        >>> round(bits_per_dim(350, (1, 28, 28)), 3)
        0.644
    """
    flow = Flow(Compose(), event_shape)
    return float(flow.to_bits_per_dim(torch.tensor(-nats, dtype=torch.float64)))


def nats_per_image(bits: float, event_shape: Shape) -> float:
    """Convert the negative log-likelihood of an image from bits per dimension to nats of the whole.

    Args:
        bits: per dimension.
        event_shape: (C, H, W).

    Example:
        >>> round(nats_per_image(bits_per_dim(350, (1, 28, 28)), (1, 28, 28)), 6)
        350.0
    """
    return bits / bits_per_dim(1.0, event_shape)
