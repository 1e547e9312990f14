"""A bank of filters, blended pixel by pixel by a small network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_HIDDEN = 16
_LOUDER = 5.0  # differences of estimates are small compared with the images


class Blended(nn.Module):
    r"""A bank of filters of different smoothness, blended pixel by pixel.

    .. math:: \hat x = \sum_k w_k(y) \odot \hat x_k, \qquad \sum_k w_k = 1

    No linear filter suits both flat regions and edges. The weights are the softmax of a small convolutional network
    whose inputs are y and the estimates of the bank.

    Args:
        filters: the bank, which maps ``(B, 1, H, W)`` to ``(B, K, H, W)``.
        count: number K of filters.

    Shape:
        y: ``(B, 1, H, W)``; x̂: the same.

    Example:
        >>> halves = nn.Conv2d(1, 2, 1, bias=False)  # both filters of this bank halve the picture
        >>> _ = nn.init.constant_(halves.weight, 0.5)
        >>> y = torch.rand(1, 1, 8, 8)
        >>> torch.allclose(Blended(halves, 2)(y), y / 2)
        True
    """

    def __init__(self, filters: nn.Module, count: int) -> None:
        super().__init__()
        self.filters = filters
        self.weights = nn.Sequential(
            nn.Conv2d(count + 1, _HIDDEN, 5, padding="same"),
            nn.GELU(),
            nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding="same"),
            nn.GELU(),
            nn.Conv2d(_HIDDEN, count, 3, padding="same"),
        )

    def forward(self, y: Tensor) -> Tensor:
        """Return the blended estimate."""
        estimates = self.filters(y)
        mean = y.mean((-2, -1), keepdim=True)
        seen = torch.cat([y - mean, estimates[:, :1] - mean, estimates.diff(dim=1)], 1)
        weights: Tensor = self.weights(_LOUDER * seen).softmax(1)
        return torch.sum(weights * estimates, 1, keepdim=True)
