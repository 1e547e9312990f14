"""What a density of images has to beat: two models with closed-form fits, in bits per dimension of the discrete data.

Neither uses any code of the flows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CHUNK = 1024  # images; sums of so many products of numbers up to 128 are exact in float32


def pixel_histogram_bits(train: Tensor, test: Tensor, levels: int) -> float:
    """Each entry on its own, with the frequencies of its grey levels in the training images, each counted once more.

    Args:
        train: Training images, integers, (N, ...).
        test: Test images, integers, (M, ...).
        levels: Number of grey levels.

    Returns:
        Mean bits per dimension of the test images, exact.

    Example:
        >>> train = torch.tensor([[0], [0], [1], [0], [1], [0]])
        >>> pixel_histogram_bits(train, torch.tensor([[0]]), levels=2)  # log2 of 8 / 5
        0.6780...
    """
    train, test = train.flatten(1), test.flatten(1)
    dims = train.shape[1]
    first = torch.arange(dims) * levels
    counts = torch.ones(dims * levels, dtype=torch.int64)
    for chunk in train.split(_CHUNK):
        counts += torch.bincount((chunk + first).flatten(), minlength=dims * levels)
    bits = -torch.log2(counts.double() / (len(train) + levels))
    total = sum(float(bits[(chunk + first)].sum()) for chunk in test.split(_CHUNK))
    return total / test.numel()


def gaussian_bits(train: Tensor, test: Tensor, levels: int) -> float:
    """One Gaussian with a full covariance on the uniformly dequantised images.

    The mean and the covariance are those of the training images plus uniform noise on [0, 1), whose mean 1/2 and
    variance 1/12 are added in closed form; the latter is the only ridge. The bits of a test image are the mean over its
    own noise, again in closed form, so there is nothing random. As for a flow this is an upper bound on the bits of the
    discrete image.

    Args:
        train: Training images, integers, (N, ...).
        test: Test images, integers, (M, ...).
        levels: Number of grey levels, at most 256.

    Returns:
        Mean bits per dimension of the test images.

    Example:
        >>> train = torch.randint(0, 16, (20000, 3), generator=torch.Generator().manual_seed(0))
        >>> uniform = math.log2(math.sqrt(2 * math.pi * math.e * 16**2 / 12))
        >>> round(gaussian_bits(train, train, levels=16) - uniform, 2)
        0.0
    """
    train, test = train.flatten(1), test.flatten(1)
    dims, centre = train.shape[1], levels // 2
    total = torch.zeros(dims, dtype=torch.float64)
    products = torch.zeros(dims, dims, dtype=torch.float64)
    for chunk in train.split(_CHUNK):
        centred = chunk.float() - centre
        total += centred.sum(0, dtype=torch.float64)
        products += centred.T @ centred
    mean = total / len(train)
    covariance = products / len(train) - torch.outer(mean, mean)
    covariance.diagonal().add_(1 / 12)

    factor = torch.linalg.cholesky(covariance)
    inverse = torch.linalg.solve_triangular(factor, torch.eye(dims, dtype=torch.float64), upper=False)
    # (x + 1/2 − μ − 1/2)ᵀ Σ⁻¹ (...) and, for the variance of the noise, tr(Σ⁻¹) / 12
    squares = sum(
        float(((chunk.double() - centre - mean) @ inverse.T).square().sum()) for chunk in test.split(_CHUNK)
    ) / len(test)
    squares += float(inverse.square().sum()) / 12
    log_det = 2 * float(factor.diagonal().log().sum())
    nats = 0.5 * (squares + log_det + dims * math.log(2 * math.pi))
    return nats / (dims * math.log(2))


def baseline_bits(train: Tensor, test: Tensor, levels: int) -> dict[str, float]:
    """Bits per dimension of all baselines, by name.

    Args:
        train: Training images, integers, (N, ...).
        test: Test images, integers, (M, ...).
        levels: Number of grey levels.
    """
    return {
        "pixel_histogram": pixel_histogram_bits(train, test, levels),
        "gaussian": gaussian_bits(train, test, levels),
    }
