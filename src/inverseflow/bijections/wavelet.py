"""Orthonormal wavelet transforms that fold pixels into channels."""

from functools import lru_cache
from math import comb, sqrt

import numpy as np
import torch
from torch import Tensor

from inverseflow.bijections.base import LogDet
from inverseflow.bijections.reshape import Squeeze
from inverseflow.utils.arguments import whole_number


class WaveletSqueeze(Squeeze):
    r"""One level of an orthonormal wavelet transform: ``(C, H, W)`` becomes ``(4 C, H/2, W/2)``. Log-determinant 0.

    Along each axis, with the low-pass filter h, the high-pass filter :math:`g_m = (-1)^m h_{2p-1-m}` and periodic
    boundaries:

    .. math:: \ell_k = \sum_m h_m x_{2k+m}, \qquad d_k = \sum_m g_m x_{2k+m}

    The channels are ordered by band, then by channel of x: first the coarse image (low-pass along all axes), then the
    details along the width, along the height, and along both. So the split ``Halves(C)``, and ``num_first=C`` of
    `TwoBranch`, separate the coarse image from its details. With the Haar wavelet the bands of a block of pixels
    ``a b / c d`` are (a+b+c+d)/2, (a-b+c-d)/2, (a+b-c-d)/2 and (a-b-c+d)/2.

    Args:
        moments: number p of vanishing moments, from 1 to 10: 1 for the Haar wavelet, otherwise the Daubechies wavelet
            with 2p taps.
        spatial_axes: number n of spatial axes, from 1 to 3.

    Shape:
        x: ``(B, C, *spatial)``; z: ``(B, 2ⁿ C, *spatial / 2)``.

    Raises:
        ValueError: if a side is odd.

    Reference:
        Daubechies, Orthonormal bases of compactly supported wavelets, 1988, https://doi.org/10.1002/cpa.3160410705.

    Example:
        >>> z, _ = WaveletSqueeze()(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        >>> z.flatten()
        tensor([ 5., -1., -2.,  0.])
    """

    def __init__(self, moments: int = 1, *, spatial_axes: int = 2) -> None:
        super().__init__(2, spatial_axes=spatial_axes)
        self.moments = whole_number("moments", moments, at_least=1, at_most=10)
        self._low = daubechies(self.moments)
        self._high = tuple((-1) ** m * tap for m, tap in enumerate(self._low[::-1]))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        # From the last axis to the first, so that the band of the first axis is the slowest index.
        for axis in range(1 + self.spatial_axes, 1, -1):
            even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
            bands = []
            for taps in (self._low, self._high):
                terms = [taps[m] * even + taps[m + 1] * odd for m in range(0, len(taps), 2)]
                bands.append(_shifted_sum(terms, axis, -1))
            x = torch.cat(bands, dim=1)
        return x, 0.0

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        for axis in range(2, 2 + self.spatial_axes):
            low, high = z.chunk(2, dim=1)
            parts = []
            for parity in (0, 1):
                terms = [
                    self._low[m + parity] * low + self._high[m + parity] * high for m in range(0, len(self._low), 2)
                ]
                parts.append(_shifted_sum(terms, axis, 1))
            z = torch.stack(parts, dim=axis + 1).flatten(axis, axis + 1)
        return z, 0.0

    def extra_repr(self) -> str:
        """Show the number of moments."""
        return f"moments={self.moments}"


def _shifted_sum(terms: list[Tensor], axis: int, direction: int) -> Tensor:
    """Return the sum of the first term, the second shifted by one place, the third by two, and so on."""
    total = terms[0]
    for places, term in enumerate(terms[1:], 1):
        total = total + term.roll(direction * places, axis)
    return total


@lru_cache
def daubechies(moments: int) -> tuple[float, ...]:
    r"""Return the 2p taps of the low-pass filter with p vanishing moments and minimal phase.

    Their sum is :math:`\sqrt 2`. The filter is :math:`((1 + z)/2)^p \prod_k (z - z_k)`, scaled, over the roots inside
    the unit circle of :math:`\sum_{k<p} \binom{p-1+k}{k} y^k` with :math:`y = (2 - z - 1/z)/4`.

    Example:
        >>> [round(tap, 4) for tap in daubechies(2)]
        [0.483, 0.8365, 0.2241, -0.1294]
    """
    taps = np.array([1.0])
    for _ in range(moments):
        taps = np.convolve(taps, [1, 1])
    for y in np.roots([comb(moments - 1 + k, k) for k in range(moments)][::-1]):
        root = min(np.roots([1, 4 * y - 2, 1]), key=abs)
        taps = np.convolve(taps, [1, -root])
    taps = taps.real * sqrt(2) / taps.real.sum()
    return tuple(float(tap) for tap in taps)
