"""Paths between latents."""

import math

import torch
from torch import Tensor


def great_circle(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Interpolate between latents ``(B, D)`` in steps ``(B, steps, D)``; direction and length both change evenly.

    A straight line would pass near the origin, where in many dimensions a standard normal has no mass.
    """
    t = torch.linspace(0, 1, steps, device=first.device)[None, :, None]  # (1, steps, 1)
    ends, tiny = (first, last), torch.finfo(first.dtype).tiny  # the zero vector has no direction
    lengths = [latent.norm(dim=1, keepdim=True)[:, None] for latent in ends]  # (B, 1, 1)
    directions = [latent[:, None] / length.clamp_min(tiny) for latent, length in zip(ends, lengths, strict=True)]
    cosine = (directions[0] * directions[1]).sum(-1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos().clamp(1e-3, math.pi - 1e-3)  # (B, 1, 1); the sine below divides
    turned = ((1 - t) * angle).sin() * directions[0] + (t * angle).sin() * directions[1]
    points: Tensor = turned / angle.sin() * ((1 - t) * lengths[0] + t * lengths[1])
    points[:, 0], points[:, -1] = first, last
    return points
