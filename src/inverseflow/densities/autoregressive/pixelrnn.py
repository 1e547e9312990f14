"""PixelRNN: images as a sequence of pixels, predicted by recurrent layers that scan the image."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.densities.autoregressive.base import AutoregressiveDensity, Choose
from inverseflow.densities.autoregressive.pixelcnn import _Pixelwise
from inverseflow.densities.registry import register
from inverseflow.distributions.heads import head_for
from inverseflow.nets.conditioner import spread
from inverseflow.nets.masked_conv import MaskedConv, divisible_by_colors, odd_size
from inverseflow.utils.arguments import one_of, whole_number

Cell = Literal["diagonal", "row"]


@register("pixelrnn")
class PixelRNN(AutoregressiveDensity):
    r"""Images, pixel after pixel in rows and color after color, predicted by LSTM layers that scan the image.

    Between a masked convolution of the image and two pointwise ones stand residual layers of LSTM cells, with input u:

    .. math:: o, f, i = \sigma(a), \quad g = \tanh(a), \quad c = f \odot c' + i \odot g, \quad h = o \odot \tanh c,
        \quad a = K_u * u + K_h * h'

    A ``"row"`` layer scans from top to bottom: c' is of the pixel above and h' of its neighborhood in the row above, so
    that the layer sees a triangle. A ``"diagonal"`` layer scans from corner to corner: c' is of the pixel to the left,
    and h' of the pixels to the left and above. A second scan comes from the top right corner, and its output moves
    down by one row. Together they see every earlier pixel; for that, the image gets a column of zeros on the right,
    without which the last pixel of a row would stay hidden from most of the next row.

    Sampling keeps the states of earlier pixels, so that each element costs the work of one element.

    Args:
        event_shape: ``(C, H, W)``; the C channels are the colors of a pixel, each given those before it.
        levels: number of gray levels, None for continuous data.
        cell: how the layers scan the image.
        width: features of an LSTM cell, a multiple of C. Twice as many lie between the layers.
        depth: number of LSTM layers.
        kernel_size: columns that a row layer's cell sees of u and of h', odd; without effect on diagonal layers.
        first_kernel_size: side of the kernel of the first layer, odd.
        components: components of a mixture of logistics (of normals if the data is continuous), None for one logit for
            each level.
        context_channels: channels K of the context, which is added to the input of the first LSTM layer; None for none.

    Shape:
        x: ``(B, C, H, W)``; context: ``(B, K)`` or ``(B, K, H, W)``.

    Raises:
        ValueError: if the event is no image, the width is no multiple of C, or a number is out of its range.

    Reference:
        van den Oord et al., Pixel Recurrent Neural Networks, 2016, section 3, https://arxiv.org/abs/1601.06759.

    Example:
        >>> density = PixelRNN((1, 4, 4), levels=3, cell="row", width=4, depth=2)
        >>> density.log_prob(density.sample(2)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        levels: int | None = 256,
        cell: Cell = "diagonal",
        width: int = 32,
        depth: int = 4,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        components: int | None = None,
        context_channels: int | None = None,
    ) -> None:
        head = head_for(levels, components)
        super().__init__(event_shape, head, context_channels=context_channels, spatial_context=True)
        if len(self.event_shape) != 3:
            raise ValueError(
                f"PixelRNN models images (C, H, W), got event_shape={self.event_shape}; MADE models any shape"
            )
        colors = self.event_shape[0]
        width = divisible_by_colors("width", width, colors)
        depth = whole_number("depth", depth, at_least=1)
        kernel_size = odd_size("kernel_size", kernel_size)
        first_kernel_size = odd_size("first_kernel_size", first_kernel_size)
        self.cell: Cell = one_of("cell", cell, get_args(Cell))
        self.first = MaskedConv(colors, 2 * width, first_kernel_size, colors=colors, strict=True)
        self.context: nn.Conv2d | None = None
        if self._context_channels is not None:
            self.context = nn.Conv2d(self._context_channels, 2 * width, 1, bias=False)
        self.scans = nn.ModuleList(
            _TwoDiagonals(width, colors) if cell == "diagonal" else _RowLSTM(width, kernel_size, colors)
            for _ in range(depth)
        )
        self.mixes = nn.ModuleList(MaskedConv(width, 2 * width, 1, colors=colors) for _ in range(depth))
        self.top = MaskedConv(2 * width, 2 * width, 1, colors=colors)
        self.last = MaskedConv(2 * width, head.num_parameters * colors, 1, colors=colors)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def parameters_of(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Evaluate the network; arguments as for `AutoregressiveDensity.parameters_of`."""
        x = F.pad(self._network_input(x), (0, self._margin))
        u: Tensor = self.first(x)
        term = self._context_map(context, x)
        u = u if term is None else u + term
        for scan, mix in zip(self.scans, self.mixes, strict=True):
            u = u + mix(scan(u))
        u = u[..., : self.event_shape[2]]
        u = self.last(F.relu(self.top(F.relu(u))))
        return u.reshape(u.shape[0], self.head.num_parameters, *self.event_shape)

    @property
    def _margin(self) -> int:
        """Columns of zeros on the right of the image."""
        return 1 if self.cell == "diagonal" else 0

    def _context_map(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """Return what the context adds to the input of the first LSTM layer, of the size of x; None without one."""
        if self.context is None or context is None:
            return None
        term: Tensor = self.context(spread(context, x))
        term = term.expand(-1, -1, x.shape[2], x.shape[3] if term.shape[3] == 1 else -1)
        return F.pad(term, (0, x.shape[3] - term.shape[3]))

    def _draw(self, rows: int, context: Tensor | None, choose: Choose) -> Tensor:
        x = self._blank(rows)
        colors, height, width = self.event_shape
        columns = width + self._margin
        term = self._context_map(context, torch.zeros(rows, colors, height, columns, dtype=self._weight_dtype()))
        first, top, last = (_Pixelwise(layer, rows, columns) for layer in (self.first, self.top, self.last))
        scans = [_PixelwiseScan(scan, rows, columns) for scan in self.scans]
        pointwise: list[MaskedConv] = [*self.mixes]
        mixes = [_Pixelwise(layer, rows, columns) for layer in pointwise]
        others: list[_Pixelwise | _PixelwiseScan] = [*scans, *mixes, top, last]
        for i in range(height):
            first.start_row(None if term is None else term[:, :, i : i + 1])
            for layer in others:
                layer.start_row()
            for j in range(columns):
                for color in range(colors):
                    u = first(j, color)
                    for scan, mix in zip(scans, mixes, strict=True):
                        mix.set(j, color, scan(j, color, u))
                        u = u + mix(j, color)
                    if j < width:
                        top.set(j, color, u.relu())
                        last.set(j, color, top(j, color).relu())
                        x[:, color, i, j] = choose(last(j, color).T)
                        first.set(j, color, self._network_input(x[:, color, i, j]))
        return x


class _RowLSTM(nn.Module):
    """LSTM that scans the rows of an image from top to bottom, ``(B, 2 width, H, W)`` to ``(B, width, H, W)``."""

    def __init__(self, width: int, kernel_size: int, colors: int) -> None:
        super().__init__()
        self.of_input = MaskedConv(2 * width, 4 * width, (1, kernel_size), colors=colors)
        self.of_state = nn.Conv1d(width, 4 * width, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        return torch.stack(_scan(self.of_input(u).unbind(2), self.of_state, 0), dim=2)


class _DiagonalLSTM(nn.Module):
    """LSTM that scans the diagonals of an image from its top left corner, in shapes as `_RowLSTM`."""

    def __init__(self, width: int, colors: int) -> None:
        super().__init__()
        self.of_input = MaskedConv(2 * width, 4 * width, 1, colors=colors)
        self.of_state = nn.Conv1d(width, 4 * width, 2, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        # Outside of the image activations are zero. On its left so are the states; nothing depends on its right.
        columns = skew(self.of_input(u)).unbind(3)
        return unskew(torch.stack(_scan(columns, self.of_state, 1), dim=3))


class _TwoDiagonals(nn.Module):
    """Two diagonal scans, from the left and from the right; the second one's output moves down by one row."""

    def __init__(self, width: int, colors: int) -> None:
        super().__init__()
        self.from_left = _DiagonalLSTM(width, colors)
        self.from_right = _DiagonalLSTM(width, colors)

    def forward(self, u: Tensor) -> Tensor:
        right = self.from_right(u.flip(3)).flip(3)
        sum_: Tensor = self.from_left(u) + F.pad(right, (0, 0, 1, 0))[:, :, :-1]
        return sum_


def _scan(inputs: Iterable[Tensor], of_state: nn.Conv1d, padding: int) -> list[Tensor]:
    """Return the states ``(B, width, N)`` after each of the inputs ``(B, 4 width, N)`` of the four gates.

    `padding` zeros are put in front of the states before each convolution.
    """
    states: list[Tensor] = []
    cell: Tensor | None = None
    for activation in inputs:
        if cell is not None:
            activation = activation + of_state(F.pad(states[-1], (padding, 0)))
        cell, state = _step(activation, cell, 1)
        states.append(state)
    return states


def _step(activation: Tensor, cell: Tensor | None, axis: int) -> tuple[Tensor, Tensor]:
    """Return the cells and their states from the activations of the four gates, which lie along an axis."""
    features = activation.shape[axis] // 4
    gates, value = activation.split([3 * features, features], dim=axis)
    out, forget, write = gates.sigmoid().chunk(3, dim=axis)
    added = write * value.tanh()
    cell = added if cell is None else forget * cell + added
    return cell, out * cell.tanh()


class _PixelwiseScan:
    """An LSTM layer for one color of one pixel after another. Features are rows and images are columns."""

    def __init__(self, layer: nn.Module, images: int, width: int) -> None:
        self.from_right = layer.from_right if isinstance(layer, _TwoDiagonals) else None
        lstm = layer.from_left if isinstance(layer, _TwoDiagonals) else layer
        assert isinstance(lstm, (_RowLSTM, _DiagonalLSTM))
        self.of_state, self.colors = lstm.of_state, lstm.of_input.colors
        self.of_input = _Pixelwise(lstm.of_input, images, width)
        self.is_below = False  # whether there is a row above
        # The latest of each column: of this row up to the pixel, of the row above behind it.
        self.inputs, self.cells, self.states, self.states_from_right = (
            self.of_state.weight.new_zeros(width, scale * self.of_state.in_channels, images) for scale in (2, 1, 1, 1)
        )

    def start_row(self) -> None:
        """Begin a row, for which all of the row above is known."""
        if self.from_right is None:
            term = self.of_state(self.states.permute(2, 1, 0)).unsqueeze(2)
        else:
            above = self.of_state.weight[:, :, 0] @ self.states
            term = above.permute(2, 1, 0).unsqueeze(2)
            if self.is_below:  # above the image there is nothing to scan, not even a bias
                self._scan_from_right(self.from_right)
        self.is_below = True
        self.of_input.start_row(term)

    def _scan_from_right(self, lstm: _DiagonalLSTM) -> None:
        row = lstm.of_input(self.inputs.permute(2, 1, 0).unsqueeze(2)).squeeze(2).permute(2, 1, 0)
        above, beside = lstm.of_state.weight.unbind(2)
        cell, state = None, None
        for column, activation in reversed([*enumerate(row + above @ self.states_from_right)]):
            cell, state = _step(activation if state is None else activation + beside @ state, cell, 0)
            self.states_from_right[column] = state

    def __call__(self, column: int, color: int, u: Tensor) -> Tensor:
        """Return the output features of a color, ``(width / colors, B)``, from its input features."""
        own = slice(color, None, self.colors)
        self.inputs[column, own] = u
        self.of_input.set(column, color, u)
        activation, before = self.of_input(column, color), column
        if self.from_right is not None:
            before -= 1
            if column:
                activation = activation + self.of_state.weight[own, :, 1] @ self.states[before]
        cell, state = _step(activation, self.cells[before, own] if before >= 0 else None, 0)
        self.cells[column, own], self.states[column, own] = cell, state
        return state if self.from_right is None else state + self.states_from_right[column, own]


def skew(x: Tensor) -> Tensor:
    """Move row i to the right by i: ``(..., H, W)`` to ``(..., H, W + H - 1)``, so that diagonals become columns.

    Example:
        >>> skew(torch.tensor([[1, 2, 3], [4, 5, 6]]))
        tensor([[1, 2, 3, 0],
                [0, 4, 5, 6]])
    """
    height, width = x.shape[-2:]
    skewed: Tensor = F.pad(x, (0, height)).flatten(-2)[..., :-height].unflatten(-1, (height, width + height - 1))
    return skewed


def unskew(x: Tensor) -> Tensor:
    """Undo `skew`."""
    height, width = x.shape[-2:]
    rows: Tensor = F.pad(x.flatten(-2), (0, height)).unflatten(-1, (height, width + 1))
    return rows[..., : width + 1 - height]
