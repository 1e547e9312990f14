"""Autoregressive layers of vectors: order × elementwise map × masked conditioner."""

import copy
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import sum_event
from inverseflow.bijections.maps import ElementwiseMap, as_map
from inverseflow.nets import CausalTransformer, MaskedMLP
from inverseflow.nets.conditioner import Builder, build_network, call_network, takes_context
from inverseflow.nets.masked import NamedOrder, resolve_order
from inverseflow.ops import triangular_fixed_point
from inverseflow.ops.torch_internals import is_exporting, transforms_active
from inverseflow.utils.arguments import one_of

Solver = Literal["auto", "sequential", "parallel"]

_WIDE, _FEW = 32, 16  # channels from which, and rows up to which, passes over all channels pay; measured on a CPU
_SHARE = 4  # they are given up after this part of the passes that always suffice


class Autoregressive(Bijection):
    r"""Map each element by a monotone map whose parameters depend on the elements before it in an order.

    .. math:: z_j = \phi(x_j;\, \theta_j(x_{<j}, c)), \qquad \log|\det| = \sum_j \log \phi'(x_j)

    The forward direction evaluates the network once. The inverse finds the elements ``"sequential"``, one after
    another, which takes C evaluations of any network, but of a `MaskedMLP` or a `CausalTransformer` the work of one. Or
    it finds them
    ``"parallel"``: all elements at once, again and again until none changes, at most C times. ``"auto"`` tries that
    where it pays, for 32 channels or more of up to 16 rows, and where C / 4 times are not enough, it finds them one
    after another. Gradients of the inverse are those of the implicit function. ``Inverse(layer)`` is an inverse
    autoregressive flow: fast to sample, slow to train by likelihood.

    Args:
        channels: length of the vector C.
        conditioner: the network θ, or a builder of it: a function of the numbers of input and output channels, such as
            ``partial(MaskedMLP, width=64)``. The output holds the first parameter of all channels, then the second,
            and so on. A builder with an argument ``order`` or ``context_channels`` is told them; see `Coupling` for the
            context.
        map: the map φ of every element; None for `Affine()`.
        order: the order of the elements: ``"natural"``, ``"reversed"``, or a list that holds each of 0 … C - 1 once.
        context_channels: length of the context vector c, None for an unconditional layer.
        solver: how the inverse finds the elements: ``"auto"``, ``"sequential"`` or ``"parallel"``. Parallel pays where
            evaluations are many but short, as on a GPU.

    Shape:
        x: ``(B, C)``; z: the same; context: ``(B, K)``.

    Raises:
        ValueError: if the order is no permutation, or the network's output has another shape or depends on channels
            that are not before its own. For that, a copy of the network with random weights is evaluated once.

    Reference:
        Papamakarios et al., Masked Autoregressive Flow, 2017, section 3, https://arxiv.org/abs/1705.07057; inverse:
        Kingma et al., Inverse Autoregressive Flow, 2016, section 4, https://arxiv.org/abs/1606.04934.

    Example:
        >>> layer = Autoregressive(3, partial(MaskedMLP, width=16), map=RationalQuadratic(bins=4), order="reversed")
        >>> z, log_det = layer(torch.randn(5, 3))
    """

    full_precision = True

    def __init__(
        self,
        channels: int,
        conditioner: nn.Module | Builder,
        *,
        map: ElementwiseMap | None = None,
        order: NamedOrder | Sequence[int] = "natural",
        context_channels: int | None = None,
        solver: Solver = "auto",
    ) -> None:
        super().__init__(channels=channels, spatial_axes=0, context_channels=context_channels)
        self._places = resolve_order(order, channels)
        self.order = order if isinstance(order, str) else self._places
        self.map = as_map(map)
        self.solver: Solver = one_of("solver", solver, get_args(Solver))
        predicted = self.map.num_parameters * channels
        self.net = build_network(conditioner, channels, predicted, self.context_channels, order=self._places)
        self._context_apart = self.context_channels is not None and takes_context(self.net)
        self._check_causality()

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z, log_derivative = self.map.forward(x, self._map_parameters(x, context))
        return z, sum_event(log_derivative)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        if transforms_active() or is_exporting():
            return self._find_in_passes(z, context)

        def update(x: Tensor) -> Tensor:
            return self.map.inverse(z, self._map_parameters(x, context))[0]

        start = z if self.solver == "parallel" else self._settled(update, z)
        if start is None:
            with torch.no_grad():
                start, log_det = self._find_in_turn(z.detach(), context)
            if not torch.is_grad_enabled():
                return start, log_det
        # A start that has settled takes one more pass, for its gradient.
        x = triangular_fixed_point(update, start, passes=z.shape[1]).value
        _, log_derivative = self.map.forward(x, self._map_parameters(x, context))
        return x, -sum_event(log_derivative)

    @torch.no_grad()
    def _settled(self, update: Callable[[Tensor], Tensor], z: Tensor) -> Tensor | None:
        """Return the elements that passes over all of them find, None if that is not tried, or takes too many."""
        if self.solver == "sequential" or torch.compiler.is_compiling():
            return None
        rows, channels = z.shape
        if channels < _WIDE or rows > _FEW:
            return None
        passes = channels // _SHARE
        found = triangular_fixed_point(update, z, passes=passes)
        return found.value if found.iterations < passes else None

    def _find_in_passes(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        """Return x after as many passes as there are channels, which `torch.func` can map and differentiate."""
        x, log_derivative = torch.zeros_like(z), torch.zeros_like(z)
        for _ in range(len(self._places) // self._block):
            x, log_derivative = self.map.inverse(z, self._map_parameters(x, context))
        return x, sum_event(log_derivative)

    def _find_in_turn(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_derivatives, columns = [], z.T.contiguous()
        apart = context if self._context_apart else None

        def solve(channels: slice, parameters: Tensor) -> Tensor:
            # A row of B elements for each channel, because the elements of a row lie together in memory.
            x, log_derivative = self.map.inverse(columns[channels], parameters.to(z.dtype))
            log_derivatives.append(log_derivative)
            return x

        def step(channel: int, parameters: Tensor) -> Tensor:
            return solve(slice(channel, channel + 1), parameters[None])[0]

        if isinstance(self.net, MaskedMLP):
            x = self.net.unroll(step, len(z), apart).to(z.dtype)
        elif isinstance(self.net, CausalTransformer):
            x = self.net.unroll(solve, len(z), apart).to(z.dtype)
        else:
            x = torch.zeros_like(z)
            for channel in self._places:
                x[:, channel] = step(channel, self._map_parameters(x, context)[:, :, channel].T)
        return x, torch.cat(log_derivatives).sum(0)

    @property
    def _block(self) -> int:
        """Number of channels in a row whose parameters the network knows at once."""
        return getattr(self.net, "block", 1)

    def _map_parameters(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the parameters of the map, ``(B, P, C)``."""
        like = self._typical_parameter()
        if like is None or like.dtype == x.dtype:
            return self._predict(self.net, x, context)
        return self._predict(self.net, x.to(like.dtype), context).to(x.dtype)

    def _predict(self, net: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
        context = None if self.context_channels is None else context
        prediction = call_network(net, x, context, context_apart=self._context_apart)
        batch, *sizes = x.shape[0], self.map.num_parameters, x.shape[1]  # `len` would fix the size in an exported graph
        if prediction.shape != (batch, sizes[0] * sizes[1]):
            raise ValueError(
                f"the network of an autoregressive layer of {sizes[1]} channels with {sizes[0]} parameters each must "
                f"return {(batch, sizes[0] * sizes[1])}, got {tuple(prediction.shape)}"
            )
        return prediction.reshape(batch, *sizes)

    @torch.no_grad()
    def _check_causality(self) -> None:
        if any(tensor.is_meta for tensor in self.net.state_dict().values()):
            return
        net = copy.deepcopy(self.net).to("cpu", torch.float64).eval()
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")

        for parameter in net.parameters():
            parameter.add_(0.2 * draw(*parameter.shape))
        channels, block = len(self._places), self._block
        blocks = channels // block
        one_changed = torch.eye(blocks + 1, blocks, dtype=torch.float64, device="cpu").roll(1, 0)
        x = draw(channels) + one_changed.repeat_interleave(block, 1)
        context = None if self.context_channels is None else draw(1, self.context_channels).expand(len(x), -1)
        outputs = self._predict(net, x, context)
        depends = (outputs[1:] - outputs[0]).abs().amax(1) > 1e-9  # (block seen, channel of the outputs)
        place = torch.tensor(self._places, device="cpu").argsort()
        wrong = (depends & (place.view(blocks, block).amax(1, keepdim=True) >= place)).nonzero()
        if len(wrong):
            seen, channel = wrong[0].tolist()
            seen *= block
            raise ValueError(
                f"the network's outputs for channel {channel} depend on channel {seen}, which is not before it in the "
                f"order {self.order!r}; take a masked network of this order, such as MaskedMLP"
            )
