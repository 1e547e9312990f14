"""The block of MintNet: masked convolutions with a triangular Jacobian of positive diagonal."""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.convolution.causal import kernel_sides
from inverseflow.bijections.events import at_least_single, sum_event
from inverseflow.ops import FixedPoint, invert_triangular
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Order = Literal["A", "B"]


class MintNet(Bijection):
    r"""Three masked convolutions plus a positive scale for each element, with a triangular Jacobian.

    .. math:: z = f(x) = t \odot x + W_3\,\phi(W_2\,\phi(W_1 x + b_1) + b_2) + b_3, \qquad
        \log|\det| = \sum \log \operatorname{diag} J_f(x)

    with φ = ELU and L hidden copies of each channel, ``width = L · channels``. A channel sees all channels before it
    and, of itself, the pixels before and on its own in raster order (order A), or the mirror image (order B):
    alternate the two. The weights between copies of one channel on its own pixel are absolute values times the fixed
    sign :math:`s_\text{out} s_\text{in}`. The signs s of the copies alternate, so each path through them adds a
    positive term to the diagonal:

    .. math:: \operatorname{diag} J_f = t + \sum_{j, i} |w^3_j|\,\phi'(h^2_j)\,|w^2_{ji}|\,\phi'(h^1_i)\,|w^1_i|

    The inverse iterates; see `inverseflow.ops.invert_triangular`. `solve` also returns the residual. Compiled code
    leaves its graph for the inverse. Starts near the identity. Computed in at least single precision, under autocast
    too.

    Args:
        channels: number of channels C.
        kernel_size: side of the three kernels, odd.
        size: height and width of the image, to which t ties the layer.
        width: hidden channels, a multiple of `channels`; None for 8 copies of each channel.
        order: ``"A"`` or ``"B"``.
        tolerance: residual of the inverse; None for 2e-12 in float64 and 6e-6 in float32.
        max_iterations: largest number of iterations of the inverse.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ConvergenceError: if the inverse, or its gradient, does not reach its tolerance.

    Reference:
        Song et al., MintNet, 2019, sections 3.1-3.3, https://arxiv.org/abs/1907.07945.

    Example:
        >>> layer = MintNet(3, size=(8, 6))
        >>> z, log_det = layer(torch.randn(2, 3, 8, 6))
        >>> layer.solve(z).residual < 1e-5
        True
    """

    full_precision = True

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        *,
        size: tuple[int, int],
        width: int | None = None,
        order: Order = "A",
        tolerance: float | None = None,
        max_iterations: int = 1000,
    ) -> None:
        channels = whole_number("channels", channels, at_least=1)
        super().__init__(channels=channels, spatial_axes=2, size=size)
        self.width = whole_number("width", 8 * channels if width is None else width)
        if self.width < 1 or self.width % channels:
            nearest = max(self.width // channels, 1) * channels
            raise ValueError(
                f"width must be a positive multiple of the {channels} channels, got {width}; take {nearest}"
            )
        self.kernel_size, _ = kernel_sides(whole_number("kernel_size", kernel_size), odd=True)
        self.order: Order = one_of("order", order, get_args(Order))
        self.tolerance = None if tolerance is None else finite_number("tolerance", tolerance, above=0)
        self.max_iterations = whole_number("max_iterations", max_iterations, at_least=1)
        copies = self.width // channels
        self.log_scale = nn.Parameter(torch.zeros(channels, *(self.size or ())))
        self.first = _MaskedConv2d(channels, 1, copies, self.kernel_size, order)
        self.second = _MaskedConv2d(channels, copies, copies, self.kernel_size, order)
        self.third = _MaskedConv2d(channels, copies, 1, self.kernel_size, order)
        with torch.no_grad():
            self.third.weight.mul_(0.005)
            self.third.bias.zero_()

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z, diagonal = self._value_and_diagonal(x)
        return z, sum_event(diagonal.log())

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = self.solve(z).value
        _, diagonal = self._value_and_diagonal(x)
        return x, -sum_event(diagonal.log())

    def solve(self, z: Tensor) -> FixedPoint:
        """Return the x of the latent z in at least single precision, with its residual and number of iterations."""
        z = at_least_single(z)
        return invert_triangular(
            self._value_and_diagonal,
            z,
            z * (-at_least_single(self.log_scale)).exp(),
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        )

    def _value_and_diagonal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(x)
        second = self.second(F.elu(first))
        scale = at_least_single(self.log_scale).exp()
        value = scale * x + self.third(F.elu(second))

        gates = [h.clamp_max(0).exp().unflatten(1, (self.channels, -1)) for h in (first, second)]  # (B, C, L, H, W)
        paths = self.second.own() * self.first.own().transpose(1, 2)  # (C, L, L), from copy i to copy j at [c, j, i]
        slopes = torch.einsum("cji,bcihw->bcjhw", paths, gates[0]) * gates[1]
        return value, scale + torch.einsum("cj,bcjhw->bchw", self.third.own()[:, 0], slopes)


class _MaskedConv2d(nn.Module):
    """Same-padded convolution from copies of each channel to copies of each channel, triangular in raster order."""

    def __init__(self, channels: int, copies_in: int, copies_out: int, kernel_size: int, order: Order) -> None:
        super().__init__()
        self.copies, self.order = (copies_in, copies_out), order
        bound = 1 / math.sqrt(channels * copies_in * kernel_size**2)
        shape = (channels * copies_out, channels * copies_in, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels * copies_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return F.conv2d(x, self._kernel(), at_least_single(self.bias), padding=self.weight.shape[-1] // 2)

    def _kernel(self) -> Tensor:
        """Return the weight: zero at later places, with fixed signs where copies of a channel meet on their pixel."""
        # Places are numbered in raster order within a channel, channel after channel. No masks are stored.
        weight, (copies_in, copies_out) = at_least_single(self.weight), self.copies
        taps, device = weight.shape[-1] ** 2, weight.device
        tap = torch.arange(taps, device=device).view(weight.shape[2:])
        row = torch.arange(weight.shape[0], device=device)[:, None, None, None]
        column = torch.arange(weight.shape[1], device=device)[:, None, None]
        here, there = row // copies_out * taps + taps // 2, column // copies_in * taps + tap
        signs = 1 - 2 * ((row % copies_out + column % copies_in) % 2)
        own = torch.where(here == there, weight.abs() * signs, 0)
        return torch.where(there < here if self.order == "A" else there > here, weight, own)

    def own(self) -> Tensor:
        """Return the absolute weights between the copies of each channel at its own place, ``(C, out, in)``."""
        copies_in, copies_out = self.copies
        middle = self.weight.shape[-1] // 2
        center = at_least_single(self.weight)[:, :, middle, middle]
        center = center.unflatten(0, (-1, copies_out)).unflatten(2, (-1, copies_in))
        own: Tensor = center.diagonal(dim1=0, dim2=2).movedim(-1, 0).abs()
        return own
