"""The μ-law of telephony: amplitudes as levels that are fine where it is quiet."""

import math

import torch
from torch import Tensor

from inverseflow.ops.levels import check_levels
from inverseflow.ops.precision import at_least_single
from inverseflow.utils.arguments import whole_number


def mu_law_encode(amplitude: Tensor, levels: int = 256) -> Tensor:
    r"""Return the μ-law levels of amplitudes from -1 to 1.

    .. math:: f(v) = \operatorname{sign}(v) \frac{\ln(1 + \mu |v|)}{\ln(1 + \mu)}, \qquad \mu = \text{levels} - 1

    f is rounded to the nearest of the levels, which are spread evenly over [-1, 1].

    Args:
        amplitude: floating-point numbers of any shape, in [-1, 1].
        levels: number of levels, at least 2.

    Returns:
        Levels from 0 to ``levels - 1``, of the same shape: ``uint8`` up to 256 levels, else ``int64``.

    Raises:
        TypeError: if the amplitudes are integers.
        ValueError: if an amplitude is outside of [-1, 1] or not a number.

    Reference:
        ITU-T, Recommendation G.711, 1988, whose table follows this curve by straight pieces,
        https://www.itu.int/rec/T-REC-G.711.

    Example:
        >>> mu_law_encode(torch.tensor([-1.0, 0.0, 0.01, 1.0]))
        tensor([  0, 128, 157, 255], dtype=torch.uint8)
    """
    mu = whole_number("levels", levels, at_least=2) - 1
    if not amplitude.is_floating_point():
        raise TypeError(
            f"amplitudes must be floating-point numbers, got {amplitude.dtype}; divide 16-bit ones by 32768"
        )
    outside = ~(amplitude.abs() <= 1)
    if bool(outside.any()):
        raise ValueError(
            f"amplitudes must lie in [-1, 1], got {amplitude[outside][0]:g}; divide by the largest magnitude"
        )
    v = at_least_single(amplitude)
    compressed = v.sign() * (mu * v.abs()).log1p() / math.log1p(mu)
    return ((compressed + 1) * (mu / 2) + 0.5).floor().to(torch.uint8 if levels <= 256 else torch.int64)


def mu_law_decode(x: Tensor, levels: int = 256) -> Tensor:
    """Return the amplitudes in [-1, 1] of μ-law levels, ``float32``; arguments as for `mu_law_encode`.

    Raises:
        TypeError: if the levels are no integers.
        ValueError: if one is not from 0 to ``levels - 1``.

    Example:
        >>> mu_law_decode(torch.tensor([0, 157, 255]))
        tensor([-1.0000,  0.0102,  1.0000])
    """
    mu = whole_number("levels", levels, at_least=2) - 1
    check_levels(x, levels, "mu_law_decode")
    compressed = 2 * x.double() / mu - 1
    return (compressed.sign() * torch.expm1(compressed.abs() * math.log1p(mu)) / mu).float()
