"""The block of MintNet: masked convolutions with a triangular Jacobian of positive diagonal."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import sum_event
from inverseflow.ops import FixedPoint, invert_triangular


class MintNet(Bijection):
    r"""Three masked convolutions beside a positive scale for each element, with a triangular Jacobian.

    .. math:: z = f(x) = t \odot x + W_3\,\phi(W_2\,\phi(W_1 x + b_1) + b_2) + b_3, \qquad
        \log|\det| = \sum \log \operatorname{diag} J_f(x)

    with φ = ELU and L hidden copies of each channel, ``width = L · channels``. A channel sees all channels before it
    and, of itself, the pixels before and on its own in raster order (order A), or the mirror image (order B):
    alternate the two. The weights between copies of one channel on its own pixel are absolute values times the fixed
    sign :math:`s_\text{out} s_\text{in}`. The signs s of the copies alternate, so that each path through them adds a
    positive term to the diagonal, which is

    .. math:: \operatorname{diag} J_f = t + \sum_{j, i} |w^3_j|\,\phi'(h^2_j)\,|w^2_{ji}|\,\phi'(h^1_i)\,|w^1_i|

    The inverse is iterated, :math:`x \leftarrow x + (z - f(x)) / \operatorname{diag} J_f(x)`, until
    :math:`|z - f(x)| / \operatorname{diag} J_f \le \text{tolerance} \cdot \max(1, \lVert x \rVert_\infty)` at every
    element; `solve` tells the residual. Starts near the identity. Computed at full precision under autocast. Compiled
    code leaves its graph for the inverse.

    Args:
        channels: number of channels C.
        kernel_size: side of the three kernels, odd.
        size: height and width of the image, to which t ties the layer.
        width: hidden channels, a multiple of `channels`; None for 8 copies of each channel.
        order: ``"A"`` or ``"B"``.
        tolerance: residual of the inverse, None for 2e-12 in float64 and 6e-6 in float32.
        max_iterations: how many iterations the inverse may take.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: an argument is out of its range, the kernel is even, or an image has another size.
        ConvergenceError: the inverse, or its gradient, does not reach its tolerance.

    Reference:
        Song et al., MintNet, 2019, sections 3.1-3.3.

    Example:
        >>> layer = MintNet(3, size=(8, 6))
        >>> x = torch.randn(2, 3, 8, 6)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-4)
        True
        >>> layer.solve(z).residual < 1e-5
        True
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        *,
        size: tuple[int, int],
        width: int | None = None,
        order: Literal["A", "B"] = "A",
        tolerance: float | None = None,
        max_iterations: int = 1000,
    ) -> None:
        super().__init__(channels=channels, spatial_axes=2, size=size)
        width = 8 * channels if width is None else width
        if width < 1 or width % channels:
            raise ValueError(
                f"width must be a positive multiple of the {channels} channels, got {width}; "
                f"take {max(width // channels, 1) * channels}"
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"the kernel of a convolution that keeps the size is odd, got kernel_size={kernel_size}")
        if order not in ("A", "B"):
            raise ValueError(f"unknown order {order!r}: choose 'A' or 'B'")
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"the tolerance of the inverse is positive, got {tolerance}")
        if max_iterations < 1:
            raise ValueError(f"the inverse takes at least one iteration, got max_iterations={max_iterations}")
        self.width = width
        self.kernel_size = kernel_size
        self.order = order
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.log_scale = nn.Parameter(torch.zeros(channels, *size))
        copies = width // channels
        self.first = _MaskedConv2d(channels, 1, copies, kernel_size, order)
        self.second = _MaskedConv2d(channels, copies, copies, kernel_size, order)
        self.third = _MaskedConv2d(channels, copies, 1, kernel_size, order)
        with torch.no_grad():
            self.third.weight.mul_(0.005)
            self.third.bias.zero_()

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(x.device.type, enabled=False):
            z, diagonal = self._value_and_diagonal(x.to(self.log_scale.dtype))
            return z, sum_event(diagonal.log())

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            x = self.solve(z.to(self.log_scale.dtype)).value
            _, diagonal = self._value_and_diagonal(x)
            return x, -sum_event(diagonal.log())

    def solve(self, z: Tensor) -> FixedPoint:
        """Return the x whose latent z is, with the residual that was reached and the iterations that it took."""
        return invert_triangular(
            self._value_and_diagonal,
            z,
            z * (-self.log_scale).exp(),
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        )

    def _value_and_diagonal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(x)
        second = self.second(F.elu(first))
        scale = self.log_scale.exp()
        value = scale * x + self.third(F.elu(second))

        gates = [h.clamp_max(0).exp().unflatten(1, (self.channels, -1)) for h in (first, second)]  # (B, C, L, H, W)
        paths = self.second.own() * self.first.own().transpose(1, 2)  # (C, L, L), from copy i to copy j at [c, j, i]
        slopes = torch.einsum("cji,bcihw->bcjhw", paths, gates[0]) * gates[1]
        return value, scale + torch.einsum("cj,bcjhw->bchw", self.third.own()[:, 0], slopes)

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        return (
            f"channels={self.channels}, kernel_size={self.kernel_size}, size={self.size}, width={self.width}, "
            f"order={self.order!r}"
        )


class _MaskedConv2d(nn.Module):
    """Same-padded convolution from copies of each channel to copies of it, in raster order, of positive diagonal."""

    free: Tensor
    """Ones where a weight is free, zeros where it is not read or has a fixed sign."""
    signs: Tensor
    """The signs of the weights between copies of one channel on its own pixel, zeros elsewhere."""

    def __init__(self, channels: int, copies_in: int, copies_out: int, kernel_size: int, order: str) -> None:
        super().__init__()
        self.copies = (copies_in, copies_out)
        earlier = torch.ones(channels, channels).tril(-1)[:, :, None, None].repeat(1, 1, kernel_size, kernel_size)
        tap = torch.arange(kernel_size**2).view(kernel_size, kernel_size)
        own = torch.eye(channels)[:, :, None, None]
        free, centre = earlier + own * (tap < kernel_size**2 // 2), own * (tap == kernel_size**2 // 2)
        if order == "B":
            free = free.flip(0, 1, 2, 3)
        sign_out, sign_in = (1 - 2.0 * (torch.arange(channels * n) % n % 2) for n in (copies_out, copies_in))
        signs = sign_out[:, None, None, None] * sign_in[:, None, None] * self._copied(centre)
        self.register_buffer("free", self._copied(free), persistent=False)
        self.register_buffer("signs", signs, persistent=False)
        bound = 1 / math.sqrt(channels * copies_in * kernel_size**2)
        self.weight = nn.Parameter(torch.empty_like(signs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels * copies_out).uniform_(-bound, bound))

    def _copied(self, mask: Tensor) -> Tensor:
        copies_in, copies_out = self.copies
        return mask.repeat_interleave(copies_out, 0).repeat_interleave(copies_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        weight = self.weight * self.free + self.weight.abs() * self.signs
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)

    def own(self) -> Tensor:
        """Return the absolute weights between the copies of each channel on its own pixel, ``(C, out, in)``."""
        copies_in, copies_out = self.copies
        middle = self.weight.shape[-1] // 2
        centre = self.weight[:, :, middle, middle].unflatten(0, (-1, copies_out)).unflatten(2, (-1, copies_in))
        own: Tensor = centre.diagonal(dim1=0, dim2=2).movedim(-1, 0).abs()
        return own
