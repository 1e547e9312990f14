"""PixelCNN: images as a sequence of pixels, predicted by masked convolutions."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.densities.autoregressive.base import AutoregressiveDensity, Choose
from inverseflow.densities.registry import register
from inverseflow.distributions.heads import head_for
from inverseflow.nets.conditioner import spread
from inverseflow.nets.masked_conv import MaskedConv, divisible_by_colors, odd_size
from inverseflow.utils.arguments import whole_number


@register("pixelcnn")
class PixelCNN(AutoregressiveDensity):
    r"""Images, pixel after pixel in rows and color after color, predicted by masked convolutions.

    .. math:: p(x \mid c) = \prod_i p(x_i \mid x_{<i}, c)

    The likelihood is exact. The gated network has two stacks of features: one sees the rows above a pixel and feeds the
    other, which sees the pixels to its left. Each block of either stack computes from features h and context c

    .. math:: \tanh(W_f * h + V_f c) \odot \sigma(W_g * h + V_g c)

    The first layer adds a learned number for each feature and place, since kernels alone cannot tell where they are.

    The plain network is one stack of masked residual blocks with ReLU. It is cheaper and has a blind spot: with kernels
    of radius ρ it never sees the pixel r rows above and more than rρ columns to the right. Neither network sees further
    than the radii of all its kernels together.

    Sampling keeps the features of earlier pixels, so that each element costs the work of one element.

    Args:
        event_shape: ``(C, H, W)``; the C channels are the colors of a pixel, each given those before it.
        levels: number of gray levels, None for continuous data.
        gated: whether the network has two gated stacks, or one plain stack.
        width: features of a pixel in each stack, a multiple of C.
        depth: number of blocks.
        kernel_size: side of the kernels in the blocks, odd.
        first_kernel_size: side of the kernel of the first layer, odd.
        components: components of a mixture of logistics (of normals if the data is continuous), None for one logit for
            each level.
        context_channels: channels K of the context, which every block sees; None for none.

    Shape:
        x: ``(B, C, H, W)``; context: ``(B, K)`` or ``(B, K, H, W)``.

    Raises:
        ValueError: if the event is no image, the width is no multiple of C, or a number is out of its range.

    Reference:
        van den Oord et al., Conditional Image Generation with PixelCNN Decoders, 2016,
        https://arxiv.org/abs/1606.05328.

    Example:
        >>> density = PixelCNN((3, 4, 4), levels=8, width=12, depth=2)
        >>> x = density.sample(2)
        >>> x.shape, density.log_prob(x).shape
        (torch.Size([2, 3, 4, 4]), torch.Size([2]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        levels: int | None = 256,
        gated: bool = True,
        width: int = 48,
        depth: int = 6,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        components: int | None = None,
        context_channels: int | None = None,
    ) -> None:
        head = head_for(levels, components)
        super().__init__(event_shape, head, context_channels=context_channels, spatial_context=True)
        if len(self.event_shape) != 3:
            raise ValueError(
                f"PixelCNN models images (C, H, W), got event_shape={self.event_shape}; MADE models any shape"
            )
        colors = self.event_shape[0]
        width = divisible_by_colors("width", width, colors)
        depth = whole_number("depth", depth, at_least=1)
        kernel_size = odd_size("kernel_size", kernel_size)
        first_kernel_size = odd_size("first_kernel_size", first_kernel_size)
        self.rows_above: _RowsAbove | None = None
        if gated:
            self.first = MaskedConv(colors, width, (1, first_kernel_size), colors=colors, strict=True)
            self.blocks = nn.ModuleList(_GatedBlock(width, (1, kernel_size), colors) for _ in range(depth))
            self.rows_above = _RowsAbove(colors, width, depth, kernel_size, first_kernel_size)
        else:
            self.first = MaskedConv(colors, width, first_kernel_size, colors=colors, strict=True)
            self.blocks = nn.ModuleList(_Block(width, kernel_size, colors) for _ in range(depth))
        self.place = nn.Parameter(torch.zeros(width, *self.event_shape[1:]))
        self.context: nn.Conv2d | None = None
        if self._context_channels is not None:
            self.context = nn.Conv2d(self._context_channels, depth * (4 if gated else 1) * width, 1, bias=False)
        self.top = MaskedConv(width, width, 1, colors=colors)
        self.last = MaskedConv(width, head.num_parameters * colors, 1, colors=colors)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def parameters_of(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Evaluate the network; arguments as for `AutoregressiveDensity.parameters_of`."""
        x = self._network_input(x)
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)  # channels last in memory is faster on a CPU
        terms = self._terms(F.pad(x, (0, 0, 1, 0))[:, :, :-1], self._context_maps(context, x), _zeros_above)
        h: Tensor = self.first(x) + self.place
        for block, term in zip(self.blocks, terms, strict=True):
            h = block(h, term)
        h = self.last(F.relu(self.top(F.relu(h))))
        return h.reshape(h.shape[0], self.head.num_parameters, *self.event_shape)

    def _context_maps(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """Return what the context adds to the layers, behind one another as channels; None without one."""
        if self.context is None or context is None:
            return None
        maps: Tensor = self.context(spread(context, x))
        return maps

    def _terms(self, above: Tensor, maps: Tensor | None, extend: "_Extend") -> Iterator[Tensor | None]:
        """Yield what each block adds to the convolution along its rows, given the rows above them in the image."""
        depth = len(self.blocks)
        if self.rows_above is None:
            yield from [None] * depth if maps is None else maps.chunk(depth, dim=1)
        elif maps is None:
            yield from self.rows_above(above, [None] * depth, extend)
        else:
            own, others = maps.chunk(2, dim=1)
            terms = self.rows_above(above, others.chunk(depth, dim=1), extend)
            for map_, term in zip(own.chunk(depth, dim=1), terms, strict=True):
                yield map_ + term

    def _draw(self, rows: int, context: Tensor | None, choose: Choose) -> Tensor:
        x = self._blank(rows)
        image = torch.zeros(x.shape, dtype=self._weight_dtype(), device=x.device)  # x as the network sees it
        maps = self._context_maps(context, image)
        colors, height, width = self.event_shape
        first, top, last = (_Pixelwise(layer, rows, width) for layer in (self.first, self.top, self.last))
        own: list[_Block] = [*self.blocks]
        blocks = [(block, _Pixelwise(block.conv, rows, width), _Pixelwise(block.mix, rows, width)) for block in own]
        above, extend = image[:, :, :1], _RowMemory()
        for i in range(height):
            row_maps = maps if maps is None or maps.shape[2] == 1 else maps[:, :, i : i + 1]
            first.start_row(self.place[None, :, i : i + 1])
            top.start_row()
            last.start_row()
            for (_, conv, mix), term in zip(blocks, self._terms(above, row_maps, extend), strict=True):
                conv.start_row(term)
                mix.start_row()
            for j in range(width):
                for color in range(colors):
                    h = first(j, color)
                    for block, conv, mix in blocks:
                        conv.set(j, color, block.before(h))
                        mix.set(j, color, block.activate(conv(j, color), 0))
                        h = h + mix(j, color)
                    top.set(j, color, h.relu())
                    last.set(j, color, top(j, color).relu())
                    x[:, color, i, j] = choose(last(j, color).T)
                    image[:, color, i, j] = self._network_input(x[:, color, i, j])
                    first.set(j, color, image[:, color, i, j])
            above = image[:, :, i : i + 1]
        return x


class _Block(nn.Module):
    """Masked residual block: h + W₂ φ(W₁ φ(h) + term), with φ = ReLU and a pointwise W₂."""

    def __init__(self, width: int, kernel_size: int | tuple[int, int], colors: int, *, gates: int = 1) -> None:
        super().__init__()
        self.conv = MaskedConv(width, gates * width, kernel_size, colors=colors)
        self.mix = MaskedConv(width, width, 1, colors=colors)

    def forward(self, h: Tensor, term: Tensor | None) -> Tensor:
        inner = self.conv(self.before(h))
        updated: Tensor = h + self.mix(self.activate(inner if term is None else inner + term, 1))
        return updated

    def before(self, h: Tensor) -> Tensor:
        return F.relu(h)

    def activate(self, inner: Tensor, axis: int) -> Tensor:
        """Apply φ to features that lie along an axis."""
        return F.relu(inner)


class _GatedBlock(_Block):
    """Gated residual block: h + W₂ gate(W₁ h + term)."""

    def __init__(self, width: int, kernel_size: int | tuple[int, int], colors: int) -> None:
        super().__init__(width, kernel_size, colors, gates=2)

    def before(self, h: Tensor) -> Tensor:
        return h

    def activate(self, inner: Tensor, axis: int) -> Tensor:
        return _gate(inner, axis)


def _gate(inner: Tensor, axis: int) -> Tensor:
    value, gate = inner.chunk(2, dim=axis)
    return value.tanh() * gate.sigmoid()


_Extend = Callable[[nn.Conv2d, Tensor], Tensor]
"""Put rows of features on top of a convolution's input, as many as its kernel reaches up."""


class _RowsAbove(nn.Module):
    """The stack that sees all rows above a pixel: unmasked convolutions that reach up and to both sides."""

    def __init__(self, colors: int, width: int, depth: int, kernel_size: int, first_kernel_size: int) -> None:
        super().__init__()
        self.first = _upward_conv(colors, width, first_kernel_size)
        self.convs = nn.ModuleList(_upward_conv(width, 2 * width, kernel_size) for _ in range(depth))
        self.links = nn.ModuleList(nn.Conv2d(width, 2 * width, 1, bias=False) for _ in range(depth))

    def forward(self, above: Tensor, maps: Sequence[Tensor | None], extend: _Extend) -> Iterator[Tensor]:
        """Yield what each block receives; `above` holds for each row the row above it."""
        v = self.first(extend(self.first, above))
        convs: list[nn.Conv2d] = [*self.convs]
        for conv, link, map_ in zip(convs, self.links, maps, strict=True):
            inner = conv(extend(conv, v))
            v = v + _gate(inner if map_ is None else inner + map_, 1)
            yield link(v)


def _upward_conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    reach = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, (reach + 1, kernel_size), padding=(0, reach))


def _zeros_above(conv: nn.Conv2d, rows: Tensor) -> Tensor:
    return F.pad(rows, (0, 0, conv.kernel_size[0] - 1, 0))


class _RowMemory:
    """Extend each new row by those that the same convolution saw before."""

    def __init__(self) -> None:
        self.rows: dict[nn.Conv2d, Tensor] = {}

    def __call__(self, conv: nn.Conv2d, row: Tensor) -> Tensor:
        before = self.rows.get(conv)
        window = _zeros_above(conv, row) if before is None else torch.cat([before, row], dim=2)
        self.rows[conv] = window[:, :, 1:]
        return window


class _Pixelwise:
    """A masked convolution for one color of one pixel after another. Features are rows and images are columns."""

    def __init__(self, layer: MaskedConv, images: int, width: int) -> None:
        weight, colors = layer.masked(), layer.colors
        assert layer.bias is not None
        self.reach = layer.kernel_size[1] // 2
        own = weight[:, :, -1, : self.reach + 1].transpose(1, 2)
        self.weights = [own[color::colors].flatten(1) for color in range(colors)]
        self.above = weight[:, :, :-1]
        self.bias = layer.bias
        self.inputs = weight.new_zeros(self.reach + width, layer.in_channels, images)
        self.rows_above = weight.new_zeros(images, layer.in_channels, self.above.shape[2], width)
        self.terms: list[Tensor] = []

    def start_row(self, term: Tensor | None = None) -> None:
        """Begin a row, whose outputs get a term ``(B, out_channels, 1, W)``, or the same for each image or pixel."""
        total = self.bias[:, None, None] if term is None else self.bias[:, None, None] + term
        if self.above.shape[2]:
            row = self.inputs[self.reach :].permute(2, 1, 0)[:, :, None]
            self.rows_above = torch.cat([self.rows_above[:, :, 1:], row], dim=2)
            total = total + F.conv2d(self.rows_above, self.above, padding=(0, self.reach))
        self.inputs.zero_()
        width, _, images = self.inputs[self.reach :].shape
        total = total.expand(images, -1, 1, width).squeeze(2).permute(2, 1, 0)  # (W, out_channels, B)
        self.terms = [total[:, color :: len(self.weights)].contiguous() for color in range(len(self.weights))]

    def set(self, column: int, color: int, value: Tensor) -> None:
        """Set the input features of a color, ``(in_channels / colors, B)``."""
        self.inputs[self.reach + column, color :: len(self.weights)] = value

    def __call__(self, column: int, color: int) -> Tensor:
        """Return the output features of a color, ``(out_channels / colors, B)``."""
        taps = self.inputs[column : column + self.reach + 1].flatten(0, 1)
        return torch.addmm(self.terms[color][column], self.weights[color], taps)
