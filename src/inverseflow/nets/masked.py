"""Fully connected network with the masks of MADE, the conditioner of autoregressive layers."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from inverseflow.utils.arguments import one_of, whole_number

NamedOrder = Literal["natural", "reversed"]


class MaskedMLP(nn.Module):
    r"""Fully connected network whose outputs for an input depend only on the inputs before it, with ReLU.

    Each hidden unit has a degree: the place, in the order, of the last input that it sees. A weight from one hidden
    unit to another is zero unless the degree does not fall; outputs for the input at place i see degrees below i. The
    masks follow from the arguments and are not saved. By default the output starts at zero.

    Args:
        in_channels: length of the input vector C.
        out_channels: length of the output vector, a multiple of C: the first output for each input, then the second,
            and so on.
        width: number of units in each hidden layer. If it is below C - 1, some outputs miss the inputs just before
            theirs.
        depth: number of hidden layers.
        order: the order of the inputs: ``"natural"``, ``"reversed"``, or a list that holds each of 0 … C - 1 once.
        degree_seed: seed of random degrees; None for degrees that are spread evenly.
        context_channels: length of the context vector, which every layer sees; None for none. With a context some units
            see no input, so that the outputs for the first input are a network of the context.
        direct: whether a linear map of the inputs before an output is added to it, past the hidden layers.
        zero_start: whether the last layer starts at zero; if not, it starts as a linear layer does.

    Shape:
        x: ``(B, C)``; context: ``(B, K)``; y: ``(B, out_channels)``.

    Raises:
        ValueError: if a number is out of its range, or the order is no permutation.

    Reference:
        Germain et al., MADE, 2015, section 4, https://arxiv.org/abs/1502.03509.

    Example:
        >>> net = MaskedMLP(3, 6, width=16, order=[2, 0, 1])
        >>> net(torch.randn(5, 3)).shape
        torch.Size([5, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        depth: int = 2,
        *,
        order: NamedOrder | Sequence[int] = "natural",
        degree_seed: int | None = None,
        context_channels: int | None = None,
        direct: bool = False,
        zero_start: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = channels = whole_number("in_channels", in_channels, at_least=1)
        self.out_channels = whole_number("out_channels", out_channels, at_least=1)
        if self.out_channels % channels:
            raise ValueError(f"out_channels must be a multiple of the {channels} in_channels, got {out_channels}")
        self.width = whole_number("width", width, at_least=1)
        self.depth = whole_number("depth", depth, at_least=0)
        self.order = resolve_order(order, channels)
        self.degree_seed = None if degree_seed is None else whole_number("degree_seed", degree_seed, at_least=0)
        if context_channels is not None:
            context_channels = whole_number("context_channels", context_channels, at_least=1)
        self.context_channels = context_channels

        place = torch.tensor(self.order, device="cpu").argsort()
        degrees = [place, *self._hidden_degrees()]
        outputs = (place - 1).repeat(self.out_channels // channels)
        self.layers = nn.ModuleList(MaskedLinear(*pair) for pair in pairwise([*degrees, outputs]))
        self._sizes = [len(units) for units in (*degrees[1:], outputs)]
        # How many units of each hidden layer are known once the input at a place is the next to be known.
        self._counts = [torch.bincount(units + 1, minlength=channels).tolist() for units in degrees[1:]]
        last: list[Tensor] = [*self.layers[-1].parameters()]
        self.context: nn.Linear | None = None
        if context_channels is not None:
            self.context = nn.Linear(context_channels, sum(self._sizes), bias=False)
            last.append(self.context.weight[-self.out_channels :])
        self.direct = MaskedLinear(place, outputs, bias=False) if direct else None
        if self.direct is not None:
            last.append(self.direct.weight)
        with torch.no_grad():
            for parameter in last if zero_start else ():
                parameter.zero_()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Evaluate the network."""
        past = None if self.direct is None else self.direct(x)
        for index, (layer, term) in enumerate(zip(self._linears(), self._context_terms(context), strict=True)):
            x = layer(x if index == 0 else F.relu(x))
            x = x if term is None else x + term
        return x if past is None else x + past

    def unroll(self, step: Callable[[int, Tensor], Tensor], rows: int, context: Tensor | None = None) -> Tensor:
        """Choose one input after another, each given the outputs for it, at the price of one evaluation.

        Each unit is computed once, as soon as all inputs that it sees are known. Takes no gradients.

        Args:
            step: called with the number of an input and the outputs for it ``(out_channels / C, B)``, in the order of
                the inputs; returns the input ``(B,)``.
            rows: number of rows B.
            context: ``(B, K)``.

        Returns:
            The inputs, ``(B, C)``.
        """
        weights = [layer.masked() for layer in self._linears()]
        biases = [
            layer.bias[:, None] if term is None else layer.bias[:, None] + term.T
            for layer, term in zip(self._linears(), self._context_terms(context), strict=True)
        ]
        last_weights, last_biases = (
            value.unflatten(0, (-1, self.in_channels)).unbind(1) for value in (weights.pop(), biases.pop())
        )
        past = None if self.direct is None else self.direct.masked().unflatten(0, (-1, self.in_channels)).unbind(1)
        # Rows are units: those of one degree lie together. A unit is zero until it is known.
        units = [last_weights[0].new_zeros(size, rows) for size in (self.in_channels, *self._sizes[:-1])]
        inputs = units[0].unbind()
        hidden = [
            [*zip(counts, *(value.split(counts) for value in values), strict=True)]
            for counts, *values in zip(self._counts, units[1:], biases, weights, strict=True)
        ]
        for place, channel in enumerate(self.order):
            for layer, before in zip(hidden, units, strict=False):
                count, new, bias, weight = layer[place]
                if count:
                    torch.addmm(bias, weight, before, out=new).relu_()
            outputs = torch.addmm(last_biases[channel], last_weights[channel], units[-1])
            if past is not None:
                outputs = torch.addmm(outputs, past[channel], units[0])
            inputs[channel].copy_(step(channel, outputs))
        chosen: Tensor = units[0].T
        return chosen

    def remasked(self, order: NamedOrder | Sequence[int], degree_seed: int | None) -> "MaskedMLP":
        """Return a network with the same parameters, and the masks of another order and other degrees."""
        with torch.device("meta"):  # where parameters that are thrown away cost nothing
            other = MaskedMLP(
                self.in_channels,
                self.out_channels,
                self.width,
                self.depth,
                order=order,
                degree_seed=degree_seed,
                context_channels=self.context_channels,
                direct=self.direct is not None,
            )
        other.context = self.context
        for own, layer in zip(self._masked_layers(), other._masked_layers(), strict=True):
            layer.weight, layer.bias = own.weight, own.bias
            layer.mask = layer._derive_mask()
        return other

    def extra_repr(self) -> str:
        """Show the arguments but the order."""
        names = ("in_channels", "out_channels", "width", "depth", "degree_seed", "context_channels")
        given = ((name, getattr(self, name)) for name in names)
        return ", ".join(f"{name}={value}" for name, value in given if value is not None)

    def _hidden_degrees(self) -> list[Tensor]:
        """Return the degrees of the units of each hidden layer, sorted; -1 is the degree of a unit without inputs."""
        lowest = -1 if self.context_channels is not None or self.in_channels == 1 else 0
        count = self.in_channels - 1 - lowest
        if self.degree_seed is None:
            evenly = ((torch.arange(self.width, device="cpu") + 1) * count - 1) // self.width
            return [lowest + evenly] * self.depth
        generator, degrees = torch.Generator().manual_seed(self.degree_seed), []
        for _ in range(self.depth):
            drawn = torch.randint(lowest, lowest + count, (self.width,), generator=generator, device="cpu")
            degrees.append(drawn.sort().values)
            lowest, count = int(degrees[-1][0]), count - (int(degrees[-1][0]) - lowest)  # below it units would be dead
        return degrees

    def _linears(self) -> "list[MaskedLinear]":
        return [*self.layers]

    def _masked_layers(self) -> "list[MaskedLinear]":
        return self._linears() if self.direct is None else [*self._linears(), self.direct]

    def _context_terms(self, context: Tensor | None) -> Sequence[Tensor | None]:
        if (self.context is None) != (context is None):
            wanted = "no context" if self.context is None else f"a context of shape (B, {self.context_channels})"
            got = "none" if context is None else f"one of {tuple(context.shape)}; build it with context_channels"
            raise ValueError(f"this MaskedMLP takes {wanted}, got {got}")
        if self.context is None or context is None:
            return [None] * len(self._sizes)
        terms: Sequence[Tensor] = self.context(context.to(self.context.weight.dtype)).split(self._sizes, dim=1)
        return terms


class MaskedLinear(nn.Linear):
    """Linear layer in which a weight is zero unless the degree of its output is at least that of its input."""

    mask: Tensor

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, bias: bool = True) -> None:
        super().__init__(len(in_degrees), len(out_degrees), bias=bias)
        self._degrees = (in_degrees, out_degrees)
        self.register_buffer("mask", self._derive_mask(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the masked weight and add the bias."""
        return F.linear(x, self.masked(), self.bias)

    def masked(self) -> Tensor:
        """Return the weight with zeros."""
        return self.weight * self.mask

    def _derive_mask(self) -> Tensor:
        in_degrees, out_degrees = self._degrees
        return (out_degrees[:, None] >= in_degrees).to(self.weight)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mask = self._derive_mask()  # `to_empty` leaves anything in it
        return self


def resolve_order(order: Any, channels: int) -> tuple[int, ...]:
    """Return an order of channels, given by its name or as a permutation, as a permutation.

    Raises:
        TypeError: if a channel is not a whole number.
        ValueError: if it is no permutation, or there is no order of that name.
    """
    if isinstance(order, str):
        named = one_of("order", order, get_args(NamedOrder))
        return tuple(range(channels)) if named == "natural" else tuple(reversed(range(channels)))
    numbers = tuple(whole_number("a channel of order", channel) for channel in order)
    if sorted(numbers) != list(range(channels)):
        raise ValueError(f"order must hold each of 0 … {channels - 1} once, got {list(numbers)}")
    return numbers
