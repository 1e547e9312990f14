"""From the columns of a table, in the user's units, to numbers around zero."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from inverseflow.bijections.actnorm import Whitening, moments
from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single
from inverseflow.ops.torch_internals import unwrap_functorch
from inverseflow.utils.arguments import finite_number, whole_number, whole_numbers, whole_shape


class Standardize(Whitening):
    r"""Shift and scale every element by the mean and the deviation of data; the identity before they are set.

    .. math:: z = (x - \mu) / \sigma, \qquad \log|\det| = -\sum \log \sigma

    `initialize_from_data` sets μ and σ once. They are no parameters: training does not change them. In front of a flow
    it lets the densities and samples be in the unit of the data. Computed in at least single precision.

    Args:
        event_shape: shape ``(D,)`` or ``(C, *spatial)`` of an event.
        allow_constant: shift an element that is constant in the data instead of refusing it. For contexts.
        min_deviation: the least σ of an element that is not constant. For elements that rarely have another value.

    Shape:
        x: ``(B, *event_shape)``; z: the same.

    Example:
        >>> layer, x = Standardize((2,)), torch.randn(100, 2) * torch.tensor([1e-6, 1e9])
        >>> initialize_from_data(layer, x)
        >>> layer(x)[0].std(0, correction=0)
        tensor([1.0000, 1.0000])
    """

    full_precision = True
    mean: Tensor
    deviation: Tensor

    def __init__(self, event_shape: Sequence[int], *, allow_constant: bool = False, min_deviation: float = 0.0) -> None:
        shape = whole_shape("event_shape", event_shape)
        super().__init__(channels=shape[0], size=shape[1:])
        self.event_shape = shape
        self.allow_constant = allow_constant
        self.min_deviation = finite_number("min_deviation", min_deviation, at_least=0)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return (x - self.mean) / self.deviation, -at_least_single(self.deviation).log().sum()

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return z * self.deviation + self.mean, at_least_single(self.deviation).log().sum()

    @torch.no_grad()
    def whiten(self, x: Tensor) -> None:
        """Set mean and deviation to those of a batch.

        Args:
            x: ``(B, *event_shape)``, in any unit.

        Raises:
            ValueError: if a value is not finite, or an element constant up to rounding, or its deviation out of the
                range of the layer's dtype.
        """
        self._check_whitening(x)
        mean, deviation, constant = moments(x.flatten(1).T)
        if constant.any() and not self.allow_constant:
            place = int(constant.nonzero()[0])
            raise ValueError(
                f"{self._element(place)} is {x.flatten(1)[0, place].item():g} in all {len(x)} rows of the batch, so it "
                f"has no deviation; {'pass more rows' if len(x) == 1 else 'leave it out, or pass it as context'}"
            )
        deviation = deviation.clamp_min(self.min_deviation)
        shape, range_ = self.event_shape, torch.finfo(self.deviation.dtype)
        broken = (mean.abs() > range_.max) | (deviation > range_.max) | (deviation < range_.tiny)
        if broken.any():
            place = int(broken.nonzero()[0])
            raise ValueError(
                f"{self._element(place)} has mean {mean[place].item():g} and deviation {deviation[place].item():g}, "
                f"out of the range of {self.deviation.dtype}; change its unit"
            )
        self.mean.copy_(mean.view(shape))
        self.deviation.copy_(deviation.view(shape))
        self.initialized.fill_(True)

    def _element(self, place: int) -> str:
        if len(self.event_shape) == 1:
            return f"column {place}"
        return f"element {tuple(int(i) for i in torch.unravel_index(torch.tensor(place), self.event_shape))}"


class DequantizeColumns(Bijection):
    r"""Uniform dequantization of the columns of a table that hold whole numbers.

    .. math:: z_j = x_j + u, \quad u \sim U[0, 1), \qquad \log|\det| = 0

    Every call draws new noise. The log density of z is, in expectation over u, a lower bound on the log of the
    probability of the whole numbers and the density of the other columns. The inverse rounds the columns down.

    Args:
        channels: number of columns D.
        columns: numbers of the columns that hold whole numbers.

    Shape:
        x: ``(B, D)``; z: the same.

    Raises:
        ValueError: if one of the columns holds a number that is not whole, or so large that its dtype does not tell it
            from the next.

    Reference:
        Theis et al., A note on the evaluation of generative models, 2016, section 3.1,
        https://arxiv.org/abs/1511.01844.

    Example:
        >>> layer, x = DequantizeColumns(3, [1]), torch.tensor([[0.5, 4.0, -0.3]])
        >>> z, _ = layer(x)
        >>> torch.equal(z[:, 1].floor(), x[:, 1]), torch.equal(layer.inverse(z)[0], x)
        (True, True)
    """

    def __init__(self, channels: int, columns: Sequence[int]) -> None:
        super().__init__(channels=whole_number("channels", channels, at_least=1), spatial_axes=0)
        self.columns = tuple(sorted(set(whole_numbers("columns", columns, at_least=0, at_most=channels - 1))))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._place(x, torch.rand(x.shape[0], len(self.columns), dtype=x.dtype, device=x.device)), 0.0

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        index = self._index(z)
        return z.index_copy(1, index, z.index_select(1, index).floor()), 0.0

    def center(self, x: Tensor) -> Tensor:
        """Place every whole number in the middle of its interval, from where rounding down is safest."""
        return self._place(x, torch.full((), 0.5, dtype=x.dtype, device=x.device))

    def _place(self, x: Tensor, within: Tensor) -> Tensor:
        index = self._index(x)
        whole = x.index_select(1, index)
        if not torch.compiler.is_compiling():
            self._check_whole(unwrap_functorch(whole))
        # Rounding must not carry a large number to the next.
        below_next = torch.nextafter(whole + 1, torch.full_like(whole, -math.inf))
        return x.index_copy(1, index, torch.minimum(whole + within, below_next))

    def _index(self, x: Tensor) -> Tensor:
        return torch.tensor(self.columns, dtype=torch.int64, device=x.device)

    def _check_whole(self, whole: Tensor) -> None:
        limit = 2 / torch.finfo(whole.dtype).eps
        broken = ((whole != whole.floor()) | (whole.abs() >= limit)).nonzero()
        if len(broken):
            *_, row, column = broken[0].tolist()
            value = whole[tuple(broken[0])].item()
            what, remedy = "whole numbers", "round it"
            if limit <= abs(value) < math.inf:
                what, remedy = f"numbers between -{limit:.0f} and {limit:.0f} in {whole.dtype}", "take a larger dtype"
            raise ValueError(
                f"column {self.columns[column]} must hold {what}, got {value:g} in row {row}; {remedy}, or treat it as "
                "continuous"
            )
