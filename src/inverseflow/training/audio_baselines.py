"""Baselines of audio, in bits per sample, on the same levels as the models.

None uses any code of the densities.
"""

import io
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from inverseflow.errors import MissingPackageError
from inverseflow.utils.packages import packages_for

_ORDER = 16
_SAMPLES = 2**18  # at a time
_ROUNDING = 1 / 12  # variance of rounding to whole levels


def audio_baseline_bits(
    train: Tensor, test: Tensor, levels: int, sampling_rate: int
) -> tuple[dict[str, float], list[str]]:
    """Return the bits per sample of all baselines on segments ``(N, 1, T)``, by name, and why one is missing.

    Args:
        train: levels of the training segments.
        test: levels of the segments that are measured.
        levels: number of levels, 256 or 65536.
        sampling_rate: samples a second.
    """
    bits = {
        "histogram": level_histogram_bits(train, test, levels),
        "linear_predictor_of_order_16": linear_predictor_bits(train, test, levels),
    }
    try:
        bits["flac"] = flac_bits(test, levels, sampling_rate)
    except MissingPackageError as error:
        return bits, [str(error)]
    return bits, []


def level_histogram_bits(train: Tensor, test: Tensor, levels: int) -> float:
    """Return the bits per sample of independent samples with one histogram, which counts every level once more.

    Example:
        >>> level_histogram_bits(torch.tensor([[[0, 0, 1]]]), torch.tensor([[[1]]]), levels=2)  # log2 of 5 / 2
        1.3219...
    """
    counts = torch.bincount(train.flatten().long(), minlength=levels) + 1
    bits = -torch.log2(counts.double() / counts.sum())
    return float(bits[test.flatten().long()].mean())


def linear_predictor_bits(train: Tensor, test: Tensor, levels: int, order: int = _ORDER) -> float:
    """Return the bits per sample of a Gaussian autoregressive process, fitted to levels by Yule and Walker's equations.

    The probability of a level is the Gaussian's mass within half a level of it; the lowest and the highest level get
    all below and above. What is before a segment is taken to be the mean. The variance is at least 1/12.
    """
    mean = train.double().mean()
    covariances = torch.stack([_lagged(train, mean, lag) for lag in range(order + 1)])
    lag = torch.arange(order)
    matrix = covariances[(lag[:, None] - lag).abs()] + 1e-9 * covariances[0].clamp_min(1) * torch.eye(order)
    weights = torch.linalg.solve(matrix, covariances[1:])
    deviation = (covariances[0] - weights @ covariances[1:]).clamp_min(_ROUNDING).sqrt()
    total = 0.0
    for chunk in _chunks(test):
        centered = chunk.double() - mean
        predicted = F.conv1d(F.pad(centered, (order, -1)), weights.flip(0)[None, None])
        low = ((centered - 0.5 - predicted) / deviation).where(chunk > 0, -math.inf)
        high = ((centered + 0.5 - predicted) / deviation).where(chunk < levels - 1, math.inf)
        total -= float(_log_mass(low, high).sum())
    return total / (test.numel() * math.log(2))


def flac_bits(test: Tensor, levels: int, sampling_rate: int) -> float:
    """Return the bits per sample of one FLAC stream of all segments: 8-bit samples for 256 levels, else 16-bit ones.

    Raises:
        MissingPackageError: if soundfile is not installed.
    """
    with packages_for("the baseline FLAC"):
        import soundfile
    samples = test.flatten().int() - levels // 2
    eight = levels <= 256
    file = io.BytesIO()
    soundfile.write(
        file,
        (samples * 256 if eight else samples).to(torch.int16).numpy(),  # 8-bit samples are the upper half
        sampling_rate,
        format="FLAC",
        subtype="PCM_S8" if eight else "PCM_16",
        compression_level=1.0,
    )
    return 8 * len(file.getvalue()) / test.numel()


def _lagged(segments: Tensor, mean: Tensor, lag: int) -> Tensor:
    """Return the covariance of levels at a lag within segments, divided by their whole number."""
    total = torch.zeros((), dtype=torch.float64)
    for chunk in _chunks(segments):
        centered = (chunk.double() - mean).flatten(1)
        total += (centered[:, lag:] * centered[:, : max(0, centered.shape[1] - lag)]).sum()
    return total / segments.numel()


def _chunks(segments: Tensor) -> Sequence[Tensor]:
    chunks: Sequence[Tensor] = segments.split(max(1, _SAMPLES // segments.shape[2]))
    return chunks


def _log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return log(Φ(high) - Φ(low)), also far out on either side."""
    low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    mass: Tensor = above + torch.log(-torch.expm1(below - above))
    return mass
