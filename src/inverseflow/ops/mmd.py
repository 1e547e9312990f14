"""Maximum mean discrepancy: how far apart two sets of samples are."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from inverseflow.ops.precision import at_least_single
from inverseflow.utils.arguments import finite_number

WIDTHS = (0.05**2, 0.2**2, 0.9**2)
"""Default widths h of the kernels, in squared units of the samples: fit for coordinates of about unit variance."""


def mmd(
    x: Tensor, y: Tensor, *, widths: Sequence[float] = WIDTHS, exponent: float = 1.0, unbiased: bool = False
) -> Tensor:
    r"""Return an estimate of the squared maximum mean discrepancy between the distributions of two sets of samples.

    .. math:: \mathrm{MMD}^2 = \mathbb{E}\,k(x, x') + \mathbb{E}\,k(y, y') - 2\, \mathbb{E}\,k(x, y)

    with the kernel of `multiquadric_kernel`. It is zero if and only if the distributions are equal. Values for other
    kernels, widths or units of the samples are not comparable. Time and memory grow with the product of the numbers
    of samples.

    Args:
        x: samples ``(N, D)``, each coordinate of about unit variance.
        y: samples ``(M, D)``.
        widths: widths h of the kernels, which are summed; `median_width` gives one from the data.
        exponent: exponent a of the kernels.
        unbiased: leave out the pairs of a sample with itself, so that the mean over draws is exact. It can be negative
            then. Otherwise the estimate is too large by about 1/N + 1/M for each width.

    Returns:
        A tensor without axes, in at least single precision, with gradients to both sets.

    Raises:
        ValueError: if the sets are no vectors of one length, or have too few samples; if there are no widths, or one
            is not positive.

    Reference:
        Gretton et al., A Kernel Two-Sample Test, 2012, https://jmlr.org/papers/v13/gretton12a.html, section 2; the
        kernel: Ardizzone et al., Analyzing Inverse Problems with Invertible Neural Networks, 2019,
        https://arxiv.org/abs/1808.04730, section 3.3.

    Example:
        >>> from inverseflow.ops.mmd import mmd
        >>> mmd(torch.tensor([[0.0]]), torch.tensor([[1.0]]), widths=[1.0])  # 2 d² / (h + d²)
        tensor(1.)
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"mmd compares sets of vectors (N, D) and (M, D), got shapes {tuple(x.shape)} and {tuple(y.shape)}; "
            "flatten each sample"
        )
    least = 2 if unbiased else 1
    if min(len(x), len(y)) < least:
        raise ValueError(f"mmd needs {least} or more samples in each set, got {len(x)} and {len(y)}")
    of_x, of_y, between = (
        multiquadric_kernel(first, second, widths=widths, exponent=exponent)
        for first, second in ((x, x), (y, y), (x, y))
    )
    if not unbiased:
        return of_x.mean() + of_y.mean() - 2 * between.mean()
    return _mean_of_others(of_x) + _mean_of_others(of_y) - 2 * between.mean()


def multiquadric_kernel(x: Tensor, y: Tensor, *, widths: Sequence[float] = WIDTHS, exponent: float = 1.0) -> Tensor:
    r"""Return the kernel of all pairs of two sets of samples, a sum of inverse multiquadrics.

    .. math:: k(x, y) = \sum_h a^a \left(1 + \lVert x - y \rVert^2 / h\right)^{-a}

    It is positive definite. Its heavy tails give a gradient to samples that are far from all others. Distances are
    computed from differences, so that they keep their digits far from the origin too.

    Args:
        x: samples ``(N, D)``.
        y: samples ``(M, D)``.
        widths: the widths h.
        exponent: the exponent a.

    Returns:
        ``(N, M)``.

    Raises:
        ValueError: if there are no widths, or one of them or the exponent is not positive.

    Example:
        >>> multiquadric_kernel(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0]]), widths=[4.0])
        tensor([[1.0000],
                [0.5000]])
    """
    if not widths:
        raise ValueError("widths must have at least one width, got none")
    widths = [finite_number("each width", width, above=0) for width in widths]
    exponent = finite_number("exponent", exponent, above=0)
    squared = _distances(x, y).square()
    ratios = (width / (width + squared) for width in widths)
    if exponent == 1:
        return functools.reduce(torch.add, ratios)
    kernel: Tensor = exponent**exponent * functools.reduce(torch.add, (ratio**exponent for ratio in ratios))
    return kernel


@torch.no_grad()
def median_width(x: Tensor, y: Tensor) -> float:
    """Return the median of the squared distances between samples of two sets, the usual width if nothing is known.

    Args:
        x: samples ``(N, D)``.
        y: samples ``(M, D)``.

    Raises:
        ValueError: if more than half of the pairs are equal.

    Example:
        >>> median_width(torch.zeros(3, 1), torch.full((4, 1), 2.0))
        4.0
    """
    width = _distances(x, y).median().item() ** 2
    if not width > 0:
        raise ValueError("more than half of the distances are zero, which is no width; pass widths")
    return width


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # The fast way, by products of vectors, loses small distances in the rounding of the squared norms.
    x, y = at_least_single(x), at_least_single(y)
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _mean_of_others(kernel: Tensor) -> Tensor:
    """Return the mean over the pairs of different samples."""
    return (kernel.sum() - kernel.diagonal().sum()) / (len(kernel) * (len(kernel) - 1))
