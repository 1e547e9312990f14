"""The deviation of white noise, from one picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.errors import DataError

_SIDE = 8


def estimate_sigma(picture: Tensor) -> float:
    r"""Estimate the deviation of white noise in a picture.

    Patches of a picture fill few of their dimensions, and noise fills all. So the smallest eigenvalues of their
    covariance are those of the noise, σ². Eigenvalues are left out, largest first, until as many of the others are
    above their mean as below.

    Args:
        picture: ``(C, H, W)``, at least 8 pixels high and wide; gray levels in any unit.

    Returns:
        σ in the same unit.

    Raises:
        DataError: if the picture is too small to tell.

    Reference:
        Chen, Zhu and Heng, An Efficient Statistical Method for Image Noise Level Estimation, 2015,
        https://doi.org/10.1109/ICCV.2015.62.

    Example:
        >>> ramp = torch.linspace(0, 1, 128).expand(1, 128, 128)
        >>> abs(estimate_sigma(ramp + 0.1 * torch.randn(1, 128, 128)) - 0.1) < 0.01
        True
    """
    if min(picture.shape[1:]) < _SIDE:
        size = f"{picture.shape[2]}×{picture.shape[1]}"
        raise DataError(f"a picture of {size} pixels is too small to estimate its noise: give its deviation")
    side = _SIDE if min(picture.shape[1:]) >= 4 * _SIDE else 3
    patches = F.unfold(picture.double()[:, None], side).transpose(1, 2).flatten(0, 1)
    values = torch.linalg.eigvalsh(torch.cov(patches.T)).clamp(min=0)
    while values.mean() > values.median():
        values = values[:-1]
    return float(values.mean().sqrt())
