"""MADE: a fully connected network whose masks make it autoregressive."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inverseflow.bijections import Standardize
from inverseflow.densities.autoregressive.base import AutoregressiveDensity, Choose
from inverseflow.densities.registry import register
from inverseflow.distributions.heads import head_for
from inverseflow.nets import MaskedMLP
from inverseflow.nets.masked import NamedOrder, resolve_order
from inverseflow.utils.arguments import whole_number

_MIN_DEVIATION = 0.25  # of levels on [-1, 1]; a pixel that is rarely set would be seen as a huge number


@register("made")
class MADE(AutoregressiveDensity):
    r"""Masked autoencoder: one `MaskedMLP` predicts every element from those before it, for events of any shape.

    The head follows from `levels` and `components`; see `head_for`. `log_prob` is one evaluation of the network, and
    sampling costs the work of one evaluation too, since each unit is computed once.

    With several `orders` or `connectivities` the density is a mixture of networks that share their weights. Network i
    has the order i mod `orders`, and the hidden degrees i mod `connectivities`:

    .. math:: p(x) = \frac1R \sum_{i=1}^R p_i(x), \quad R = \max(\mathtt{orders}, \mathtt{connectivities})

    In evaluation mode, `log_prob` is the exact one of the mixture and costs R evaluations. In training mode it is the
    one of a single network, drawn anew for each batch, from PyTorch's default generator.

    Args:
        event_shape: the shape of one datum, ``(D,)`` or ``(C, *spatial)``.
        levels: number of levels of integer data, None for continuous data.
        width: hidden units in each layer.
        depth: hidden layers.
        components: components of a mixture of logistics (with levels) or normals (without), None for no mixture.
        order: the order of the elements: ``"natural"``, which is position after position and at each all channels;
            ``"reversed"``; or a list that holds each index into the flat event once.
        orders: number of orders. The first is `order`, the others are random permutations that never change.
        connectivities: number of sets of hidden degrees. A single one is spread evenly, several are random.
        direct: whether each element's parameters also depend linearly on the elements before it, past the hidden
            layers.
        context_channels: length of the context vector, None for an unconditional density.
        standardize: whether `initialize` sets a shift and a scale for every element of the data, and of the context.
            The network then sees standardized numbers. Densities and samples are in the data's units.

    Raises:
        TypeError, ValueError: if a number is out of its range, or the order is no permutation.

    Reference:
        Germain et al., `MADE <https://arxiv.org/abs/1502.03509>`_, 2015, section 4.

    Example:
        >>> density = MADE((1, 8, 8), levels=17, width=32)
        >>> density.log_prob(density.sample(5)).shape
        torch.Size([5])
        >>> MADE((3,), components=5, orders=4).eval().sample(2).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        levels: int | None = None,
        width: int = 512,
        depth: int = 1,
        components: int | None = None,
        order: NamedOrder | Sequence[int] = "natural",
        orders: int = 1,
        connectivities: int = 1,
        direct: bool = True,
        context_channels: int | None = None,
        standardize: bool = True,
    ) -> None:
        super().__init__(
            event_shape, head_for(levels, components), context_channels=context_channels, standardize=standardize
        )
        shape = self.event_shape
        scaling = Standardize(shape, allow_constant=True, min_deviation=_MIN_DEVIATION)
        self.scaling = scaling if standardize and self.levels is not None else None
        self.orders = whole_number("orders", orders, at_least=1)
        self.connectivities = whole_number("connectivities", connectivities, at_least=1)
        natural, chosen = super().element_order, resolve_order(order, self.dims)
        self._order = [natural[place] for place in chosen] if isinstance(order, str) else list(chosen)
        self.net = MaskedMLP(
            self.dims,
            self.dims * self.head.num_parameters,
            width,
            depth,
            order=self._order,
            degree_seed=self._degree_seed(0),
            context_channels=context_channels,
            direct=direct,
        )

    @property
    def element_order(self) -> Sequence[int]:
        """The order of the elements, as indices into the flat event; of several, the first."""
        return self._order

    @property
    def given_order(self) -> Sequence[int] | None:
        """`element_order`, None of a mixture of several networks."""
        return self._order if self._networks == 1 else None

    def parameters_of(self, x: Tensor, context: Tensor | None = None, *, network: int = 0) -> Tensor:
        """Return the parameters of the head for every element, ``(B, P, *event_shape)``.

        Args:
            x: ``(B, *event_shape)``, standardized if the density does that.
            context: the contexts of a conditional density, in the dtype of the weights.
            network: which network of a mixture.
        """
        predicted: Tensor = self._network(network)(self._network_input(x).flatten(1), context)
        return predicted.reshape(x.shape[0], self.head.num_parameters, *self.event_shape)

    def complete(self, x: Tensor, known: Tensor, *args: Any, **options: Any) -> Tensor:
        """Draw the unknown elements of data given the known ones, as for any density of this kind; a mixture can't."""
        if self._networks > 1:
            raise NotImplementedError("a mixture of orders or connectivities can't complete data; build MADE with one")
        return super().complete(x, known, *args, **options)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        count = self._networks
        networks = [int(torch.randint(count, ()))] if self.training and count > 1 else range(count)
        each = [self.head.log_prob(x, self.parameters_of(x, context, network=i)).flatten(1).sum(1) for i in networks]
        log_prob: Tensor = torch.stack(each).logsumexp(0) - math.log(len(each))
        return log_prob

    def _draw(self, rows: int, context: Tensor | None, choose: Choose) -> Tensor:
        if self._networks == 1:
            return self._draw_from(self.net, rows, context, choose)
        x, source = self._blank(rows), choose.generator
        drawn = torch.randint(
            self._networks, (rows,), generator=source, device="cpu" if source is None else source.device
        )
        drawn = drawn.to(x.device)
        for index in drawn.unique().tolist():
            own = drawn == index
            given = None if context is None else context[own]
            x[own] = self._draw_from(self._network(index), int(own.sum()), given, choose)
        return x

    def _draw_from(self, network: MaskedMLP, rows: int, context: Tensor | None, choose: Choose) -> Tensor:
        x = self._blank(rows)
        elements = x.view(rows, self.dims)
        # The network's input is an affine function of an element; of the largest level its slope is not rounding.
        largest = 1 if self.levels is None else self.levels - 1
        origin, end = (self._network_input(torch.full_like(self._blank(1), value)).flatten() for value in (0, largest))
        unit = (end - origin) / largest

        def step(index: int, parameters: Tensor) -> Tensor:
            elements[:, index] = chosen = choose(parameters.T)
            return origin[index] + unit[index] * chosen

        network.unroll(step, rows, context)
        return x

    def _network_input(self, x: Tensor) -> Tensor:
        x = super()._network_input(x)
        return x if self.scaling is None else self.scaling(x)[0]

    @property
    def _networks(self) -> int:
        return max(self.orders, self.connectivities)

    def _network(self, index: int) -> MaskedMLP:
        if index == 0:
            return self.net
        number, order = index % self.orders, self._order
        if number:
            order = torch.randperm(self.dims, generator=torch.Generator().manual_seed(number), device="cpu").tolist()
        return self.net.remasked(order, self._degree_seed(index))

    def _degree_seed(self, index: int) -> int | None:
        return index % self.connectivities if self.connectivities > 1 else None
