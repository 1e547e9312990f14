"""Prior distributions that several problems share."""

from collections.abc import Sequence

import torch
from torch.distributions import Distribution, Independent, Normal, Uniform


def box(low: float, high: float, dims: int) -> Distribution:
    """Return the uniform distribution on a cube.

    Example:
        >>> box(-1, 1, dims=3).log_prob(torch.zeros(3)).exp()
        tensor(0.1250)
    """
    return Independent(Uniform(torch.full((dims,), float(low)), torch.full((dims,), float(high))), 1)


def gaussian(scales: Sequence[float]) -> Distribution:
    """Return the normal distribution of independent entries with mean zero.

    Args:
        scales: standard deviations.

    Example:
        >>> gaussian([0.25, 0.5]).event_shape
        torch.Size([2])
    """
    return Independent(Normal(torch.zeros(len(scales)), torch.as_tensor(scales)), 1)
