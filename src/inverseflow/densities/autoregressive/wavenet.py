"""WaveNet: a density of sequences by dilated causal convolutions."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from inverseflow.densities.autoregressive.base import AutoregressiveDensity, Choose
from inverseflow.densities.registry import register
from inverseflow.distributions.heads import head_for
from inverseflow.utils.arguments import whole_number

_ELEMENTS = 2**16  # evaluated at a time without gradients, to bound the memory


@register("wavenet")
class WaveNet(AutoregressiveDensity):
    r"""Density of sequences of integers such as audio, by a stack of gated causal convolutions.

    .. math:: z = \tanh(W_f * h + V_f c) \, (1 + \tanh(W_g * h + V_g c)), \qquad h \leftarrow h + R z

    The gate is :math:`1 + \tanh(a) = 2 \sigma(2 a)`. The layers of a stack have dilations d of 1, 2, 4 …; all stacks
    are the same. The sum of a linear map of every z goes through two pointwise layers, which return the parameters of
    the head. They see the `receptive_field` of :math:`R = 1 + \sum (k - 1) d` elements before their own.

    Samples are drawn with a cache: each layer keeps the :math:`(k - 1) d` activations that it still needs. So an
    element costs the same at any length, which need not be the one that the density was trained at: see `with_length`.

    Args:
        event_shape: ``(1, T)``, one channel.
        levels: number of levels, such as 256 of μ-law audio or 65536 of 16-bit audio.
        components: components of a mixture of logistics for each element; None for a categorical distribution of up to
            256 levels, and 10 components beyond.
        width: channels of the hidden layers. The sum over the layers has twice as many.
        depth: layers of a stack; the last one has dilation :math:`2^{\text{depth} - 1}`.
        stacks: number of stacks.
        kernel_size: taps k of the dilated convolutions.
        context_channels: channels K of the context c, None for none.

    Shape:
        x: ``(B, 1, T)``; context: ``(B, K)``, the same at each element, or ``(B, K, T)``.

    Raises:
        ValueError: if an event is no sequence of one channel, or a number is out of its range.

    Reference:
        van den Oord et al., WaveNet, 2016, section 2, https://arxiv.org/abs/1609.03499.

    Example:
        >>> density = WaveNet((1, 500), levels=256, width=16, depth=6)
        >>> density.receptive_field
        64
        >>> density.with_length(2000).sample(2).shape
        torch.Size([2, 1, 2000])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        levels: int = 256,
        components: int | None = None,
        width: int = 64,
        depth: int = 10,
        stacks: int = 1,
        kernel_size: int = 2,
        context_channels: int | None = None,
    ) -> None:
        levels = whole_number("levels", levels, at_least=2)
        head = head_for(levels, 10 if components is None and levels > 256 else components)
        super().__init__(event_shape, head, context_channels=context_channels, spatial_context=True)
        if len(self.event_shape) != 2 or self.event_shape[0] != 1:
            raise ValueError(
                f"WaveNet takes sequences of one channel, event_shape (1, T), got {self.event_shape}; PixelCNN models "
                "images, and MADE any shape"
            )
        self.width = width = whole_number("width", width, at_least=1)
        depth = whole_number("depth", depth, at_least=1, at_most=24)
        stacks = whole_number("stacks", stacks, at_least=1)
        self.kernel_size = whole_number("kernel_size", kernel_size, at_least=2)
        self.dilations: tuple[int, ...] = tuple(2**place for place in range(depth)) * stacks
        last = len(self.dilations) - 1
        self.first = nn.Conv1d(1, width, 1)
        self.layers = nn.ModuleList(
            _GatedLayer(width, self.kernel_size, dilation, has_residual=place < last)
            for place, dilation in enumerate(self.dilations)
        )
        self.context: nn.Conv1d | None = None
        if self._context_channels is not None:
            self.context = nn.Conv1d(self._context_channels, len(self.dilations) * 2 * width, 1, bias=False)
        self.skip = nn.Conv1d(len(self.dilations) * width, 2 * width, 1)
        self.hidden = nn.Conv1d(2 * width, 2 * width, 1)
        self.last = nn.Conv1d(2 * width, head.num_parameters, 1)
        nn.init.zeros_(self.last.weight)  # so that training starts from the head's own distribution
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    @property
    def receptive_field(self) -> int:
        """Number of elements before an element, the nearest ones, that its distribution depends on."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)

    def parameters_of(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters of the head for every element, ``(B, P, 1, T)``."""
        h = self.first(F.pad(self._network_input(x), (1, -1)))  # an element sees those before it
        outputs = []
        for layer, term in zip(self.layers, self._context_terms(context), strict=True):
            h, z = layer(h, term)
            outputs.append(z)
        hidden = self.hidden(self.skip(torch.cat(outputs, 1)).relu()).relu()
        parameters: Tensor = self.last(hidden)
        return parameters.unsqueeze(2)

    def with_length(self, length: int) -> Self:
        """Return the same density of sequences of another length; it shares all parameters with this one."""
        other = copy.copy(self)
        other.event_shape = (1, whole_number("length", length, at_least=1))
        if self.config is not None:
            options = {**self.config["options"], "event_shape": other.event_shape}
            other.config = {**self.config, "options": options}
        return other

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        rows = max(1, _ELEMENTS // x.shape[2])
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.shape[0] <= rows:
            return super()._log_prob(x, context)
        contexts = [None] * x.shape[0] if context is None else context.split(rows)
        return torch.cat([super(WaveNet, self)._log_prob(*part) for part in zip(x.split(rows), contexts, strict=False)])

    def _draw(self, rows: int, context: Tensor | None, choose: Choose) -> Tensor:
        x = self._blank(rows)
        cache = _Cache(self, rows, self._context_terms(context))
        previous = x.new_zeros(rows, dtype=self._weight_dtype())
        for t in range(x.shape[2]):
            element = choose(cache.parameters_at(t, previous))
            x[:, 0, t] = element
            previous = self._network_input(element)
        return x

    def _context_terms(self, context: Tensor | None) -> Sequence[Tensor | None]:
        """Return what the context adds to each layer, ``(B, 2 width, 1 or T)``."""
        if self.context is None or context is None:
            return [None] * len(self.dilations)
        terms: Tensor = self.context(context.unsqueeze(2) if context.ndim == 2 else context)
        return terms.chunk(len(self.dilations), 1)


class _GatedLayer(nn.Module):
    """A gated causal convolution; returns its input plus a linear map of its output, and the output."""

    def __init__(self, width: int, kernel_size: int, dilation: int, *, has_residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 2 * width, kernel_size, dilation=dilation)
        self.residual = nn.Conv1d(width, width, 1, bias=False) if has_residual else None

    def forward(self, h: Tensor, term: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the input of the next layer and the output of this one, each ``(B, width, T)``."""
        (dilation,), (size,) = self.conv.dilation, self.conv.kernel_size
        taps = min(size, 1 + (h.shape[2] - 1) // dilation)  # those before them see zeros only
        padded = F.pad(h, ((taps - 1) * dilation, 0))
        a = F.conv1d(padded, self.conv.weight[:, :, size - taps :], self.conv.bias, dilation=dilation)
        f, g = (a if term is None else a + term).tanh().chunk(2, 1)
        z = torch.addcmul(f, f, g)
        return (h if self.residual is None else h + self.residual(z)), z


class _Cache:
    """One element after another at the price of one element each: what later elements need of the layers is kept.

    Activations are columns, ``(width, rows)``. Each layer has a ring of (k - 1) d of them; all rings are one tensor.
    """

    def __init__(self, density: WaveNet, rows: int, terms: Sequence[Tensor | None]) -> None:
        layers, width, taps = [*density.layers], density.width, density.kernel_size
        self._first, *self._head = (
            (layer.weight[:, :, 0], _column(layer, rows))
            for layer in (density.first, density.skip, density.hidden, density.last)
        )
        biases = torch.stack([_column(layer.conv, rows) for layer in layers])  # (L, 2 W, rows)
        self._biases, self._terms = biases, None
        if given := [term for term in terms if term is not None]:
            added = torch.stack(given).permute(3, 0, 2, 1)  # (1 or T, L, 2 W, rows)
            self._biases = biases + added[0]
            self._terms = biases + added if len(added) > 1 else None

        dilations = torch.tensor(density.dilations, device=biases.device)
        sizes = (taps - 1) * dilations
        self._sizes, self._starts = sizes[:, None], (sizes.cumsum(0) - sizes)[:, None]
        lags = dilations[:, None] * torch.arange(taps - 1, 0, -1, device=biases.device)  # oldest first
        self._lags = F.pad(lags, (0, 1))  # (L, k); the newest tap is in no ring: anything is read for it
        self._rings = biases.new_zeros(int(sizes.sum()), width, rows)
        self._inputs = biases.new_zeros(len(layers), taps, width, rows)
        self._outputs = biases.new_zeros(len(layers), width, rows)
        gates, newest = torch.empty_like(biases), self._inputs[:, -1].unbind()
        self._layers = [
            (
                self._biases[place],
                layer.conv.weight.permute(0, 2, 1).flatten(1),
                self._inputs[place].flatten(0, 1),
                gates[place],
                *gates[place].chunk(2),
                self._outputs[place],
                newest[place],
                None if layer.residual is None else layer.residual.weight[:, :, 0],
                newest[(place + 1) % len(layers)],
            )
            for place, layer in enumerate(layers)
        ]

    def parameters_at(self, t: int, previous: Tensor) -> Tensor:
        """Return the parameters ``(rows, P)`` of element t, given the one before it ``(rows,)`` as the network sees it.

        Elements come in their order, from 0 on.
        """
        places = torch.remainder(t - self._lags, self._sizes).add_(self._starts)
        torch.index_select(self._rings, 0, places.flatten(), out=self._inputs.flatten(0, 1))
        weight, bias = self._first
        torch.addmm(bias, weight, previous[None], out=self._inputs[0, -1])
        if self._terms is not None:
            self._biases.copy_(self._terms[t])
        for bias, weight, inputs, gates, f, g, z, h, residual, after in self._layers:
            torch.addmm(bias, weight, inputs, out=gates).tanh_()
            torch.addcmul(f, f, g, out=z)
            if residual is not None:
                torch.addmm(h, residual, z, out=after)
        self._rings.index_copy_(0, places[:, 0], self._inputs[:, -1])  # in the place of the oldest
        (skip, skip_bias), (hidden, hidden_bias), (last, last_bias) = self._head
        total = torch.addmm(skip_bias, skip, self._outputs.flatten(0, 1)).relu_()
        return torch.addmm(last_bias, last, torch.addmm(hidden_bias, hidden, total).relu_()).T


def _column(layer: nn.Conv1d, rows: int) -> Tensor:
    """Return the bias of a layer, ``(channels, rows)``."""
    assert layer.bias is not None
    return layer.bias[:, None].repeat(1, rows)
