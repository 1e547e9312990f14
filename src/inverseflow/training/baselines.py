"""Baselines: models with closed-form fits, in bits per dimension of images and in nats of continuous data.

None uses any code of the flows.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_BINS = 1000
_MIXTURE_ROWS, _MIXTURE_DIMS = 20_000, 100  # seconds, not minutes
_CHUNK = 1024  # images; sums of so many products of numbers up to 128 are exact in float32


def pixel_histogram_bits(train: Tensor, test: Tensor, levels: int) -> float:
    """Return the bits per dimension of independent entries, each with a histogram that counts every level once more.

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
    """Return the bits per dimension of one Gaussian with full covariance on the uniformly dequantized images.

    Uniform noise on [0, 1) adds 1/2 to the mean and 1/12 to the variances, which is the only regularization. The bits
    of a test image are averaged over its noise in closed form. They bound those of the discrete image from above.
    """
    train, test = train.flatten(1), test.flatten(1)
    dims, center = train.shape[1], levels // 2
    total = torch.zeros(dims, dtype=torch.float64)
    products = torch.zeros(dims, dims, dtype=torch.float64)
    for chunk in train.split(_CHUNK):
        centered = chunk.float() - center
        total += centered.sum(0, dtype=torch.float64)
        products += centered.T @ centered
    mean = total / len(train)
    covariance = products / len(train) - torch.outer(mean, mean)
    covariance.diagonal().add_(1 / 12)

    factor = torch.linalg.cholesky(covariance)
    inverse = torch.linalg.solve_triangular(factor, torch.eye(dims, dtype=torch.float64), upper=False)
    # (x + 1/2 − μ − 1/2)ᵀ Σ⁻¹ (...) and, for the variance of the noise, tr(Σ⁻¹) / 12
    squares = sum(
        float(((chunk.double() - center - mean) @ inverse.T).square().sum()) for chunk in test.split(_CHUNK)
    ) / len(test)
    squares += float(inverse.square().sum()) / 12
    log_det = 2 * float(factor.diagonal().log().sum())
    nats = 0.5 * (squares + log_det + dims * math.log(2 * math.pi))
    return nats / (dims * math.log(2))


def baseline_bits(train: Tensor, test: Tensor, levels: int) -> dict[str, float]:
    """Return the bits per dimension of all baselines on gray levels ``(N, ...)``, by name."""
    return {
        "pixel_histogram": pixel_histogram_bits(train, test, levels),
        "gaussian": gaussian_bits(train, test, levels),
    }


def gaussian_nats(train: Tensor, test: Tensor) -> float:
    """Return the nats of one Gaussian with full covariance on continuous data ``(N, ...)``; infinite if degenerate."""
    train, test = train.flatten(1).double(), test.flatten(1).double()
    scale = train.std(0, correction=0)
    if not bool((scale > 0).all()):
        return math.inf
    train, test = (train - train.mean(0)) / scale, (test - train.mean(0)) / scale
    factor, failed = torch.linalg.cholesky_ex(train.T @ train / len(train))
    if failed:
        return math.inf
    squares = torch.linalg.solve_triangular(factor, test.T, upper=False).square().sum(0).mean()
    log_det = factor.diagonal().log().sum() + scale.log().sum()
    return float(0.5 * squares + log_det + 0.5 * train.shape[1] * math.log(2 * math.pi))


def histogram_nats(train: Tensor, test: Tensor) -> float:
    """Return the nats of independent elements, each with a histogram that counts every bin once more.

    There are as many bins as the rule of Freedman and Diaconis gives for the range of the training data, at most 1,000.
    They are spread over this range and a tenth more on each side. Values beyond count for the outermost bin; that is to
    the baseline's advantage.
    """
    total = 0.0
    for known, new in zip(train.flatten(1).double().numpy().T, test.flatten(1).double().numpy().T, strict=True):
        low, high = float(known.min()), float(known.max())
        margin = 0.1 * (high - low)
        if margin == 0:
            return math.inf
        quartiles = np.quantile(known, [0.25, 0.75])
        width = 2 * float(quartiles[1] - quartiles[0]) / len(known) ** (1 / 3)
        bins = _BINS if width == 0 else int(np.clip((high - low) / width, 1, _BINS))
        counts, edges = np.histogram(known, bins, (low - margin, high + margin))
        place = np.clip(np.searchsorted(edges, new, side="right") - 1, 0, bins - 1)
        density = (counts + 1) / (len(known) + bins) / np.diff(edges)
        total -= float(np.log(density[place]).mean())
    return total


def mixture_nats(train: Tensor, test: Tensor, components: int = 10) -> float:
    """Return the nats of a mixture of Gaussians with full covariances, infinite if it fails.

    scikit-learn fits it to the first 20,000 rows.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    known, new = train.flatten(1).double().numpy(), test.flatten(1).double().numpy()
    mean, scale = known.mean(0), known.std(0)
    if not scale.all() or len(known) < 2 * components:
        return math.inf
    model = GaussianMixture(components, reg_covar=1e-6, max_iter=100, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit((known[:_MIXTURE_ROWS] - mean) / scale)
        except ValueError:  # a component collapsed
            return math.inf
    return float(np.log(scale).sum() - model.score((new - mean) / scale))


def baseline_nats(train: Tensor, test: Tensor, whole: Sequence[int] = ()) -> dict[str, float]:
    """Return the nats of all baselines on continuous data ``(N, ...)``, by name, without the degenerate ones.

    Args:
        train: data to fit.
        test: data to measure on.
        whole: columns of whole numbers, which get uniform noise on [0, 1); the nats are then upper bounds.
    """
    train, test = (_dequantized(part, whole, seed) for seed, part in enumerate((train, test)))
    found = {
        "histogram": histogram_nats(train, test),
        "gaussian": gaussian_nats(train, test),
        "mixture_of_10_gaussians": mixture_nats(train, test) if train[0].numel() <= _MIXTURE_DIMS else math.inf,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _dequantized(x: Tensor, columns: Sequence[int], seed: int) -> Tensor:
    if not columns:
        return x
    noise = torch.zeros(x.shape, dtype=torch.float64)
    noise[:, list(columns)] = torch.rand(
        len(x), len(columns), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return x + noise
