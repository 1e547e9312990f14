"""Methods of an autoregressive map x → [y, z] with a free network for its slow reverse."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from inverseflow.bijections import ActNorm, Affine, Bijection, Compose, ElementwiseMap
from inverseflow.flows.vector.autoregressive import alternating
from inverseflow.flows.vector.flow import VectorOptions
from inverseflow.inference.methods.base import Conditional, Training, method
from inverseflow.inference.methods.inn import LikelihoodINN
from inverseflow.nets import MLP
from inverseflow.training.objective import Loss
from inverseflow.utils.arguments import finite_number


class FeedForwardReverse(LikelihoodINN):
    r"""A bijection T: x → [y, z] in its fast direction, and a free network G in place of its slow inverse.

    .. math:: L = -\log q_T(x \mid y) + \alpha \lVert x - G(T(x)) \rVert^2

    The first term is the loss of `LikelihoodINN`, and trains T alone. The second trains G alone. Samples are
    :math:`G(y, z)`: they imitate those of T, and have no density of their own. `cycle_error` tells how far G is off for
    data, `sampling_error` for the latents that samples are made of.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        build: builds T from its number of channels.
        cycle_weight: weight of the second term, :math:`\alpha`.
        width: hidden units in each layer of G.
        depth: hidden layers of G.
        options: options of `LikelihoodINN`.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Kruse et al., `Benchmarking Invertible Architectures on Inverse Problems <https://arxiv.org/abs/2101.10763>`_,
        2021, section 2.
    """

    has_density = False

    def __init__(
        self,
        dims: int,
        context_channels: int,
        build: Callable[[int], Bijection],
        *,
        cycle_weight: float = 1.0,
        width: int = 128,
        depth: int = 3,
        **options: Any,
    ) -> None:
        super().__init__(dims, context_channels, build, **options)
        self.cycle_weight = finite_number("cycle_weight", cycle_weight, at_least=0)
        self.reverse = MLP(self.channels, dims, width=width, depth=depth)

    def loss(self, x: Tensor, context: Tensor) -> Loss:
        """Return the sum of the weighted terms."""
        nats, cycle = -super().log_prob(x, context).mean(), self.cycle_weight * self.cycle_error(x).mean()
        return Loss(nats + cycle, {"nats_of_map": nats, "cycle": cycle})

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Refuse: T has a density, but the samples of G do not.

        Raises:
            OptionError: always.
        """
        return Conditional.log_prob(self, x, context)

    def cycle_error(self, x: Tensor) -> Tensor:
        """Return the squared distance ``(B,)`` between x and G(T(x))."""
        with torch.no_grad():
            joint, _ = self.bijection(torch.cat([x, self._pads(x, self.dims)], 1))
        error: Tensor = (x - self.reverse(joint)).square().sum(1)
        return error

    @torch.no_grad()
    def sampling_error(self, n: int, context: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return the squared distance ``(n,)`` between samples of G and of the inverse of T from the same latents."""
        joint = self._drawn(n, context, 1.0, generator)
        error: Tensor = (self.reverse(joint) - self.to_parameters(joint)[0]).square().sum(1)
        return error

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows by G, without gradients; arguments and errors as for `Density.sample`."""
        x: Tensor = self.reverse(self._drawn(n, context, temperature, generator))
        return x

    def _drawn(self, n: int, context: Tensor | None, temperature: float, generator: Generator | None) -> Tensor:
        n, context, temperature = self._sampling_args(n, context, temperature)
        if context is None:
            raise ValueError(f"{type(self).__name__} is conditional: pass a context")
        noise = torch.randn(n, self.channels, generator=generator, dtype=context.dtype, device=context.device)
        return self._scaled(temperature * noise, context)


@method(
    "maf-reverse",
    has_density=False,
    has_forward=True,
    training=Training(max_steps=3000, batch_size=200, learning_rate=3e-3),
)
def maf_reverse(
    dims: int,
    context_channels: int,
    *,
    steps: int = 5,
    width: int = 64,
    depth: int = 2,
    reverse_width: int = 128,
    reverse_depth: int = 3,
    **options: Any,
) -> Conditional:
    """Build a masked autoregressive map x → [y, z] with a feed-forward reverse: see `FeedForwardReverse`.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        steps: autoregressive layers, in alternating order.
        width: hidden units in each layer of their networks.
        depth: hidden layers of their networks.
        reverse_width: hidden units in each layer of the reverse.
        reverse_depth: hidden layers of the reverse.
        options: ``cycle_weight``, and options of `LikelihoodINN`.
    """

    def build(channels: int) -> Bijection:
        return Compose(*_layers(channels, Affine(), steps, width, depth))

    return FeedForwardReverse(dims, context_channels, build, width=reverse_width, depth=reverse_depth, **options)


@method(
    "iaf-reverse",
    has_density=False,
    has_forward=True,
    training=Training(max_steps=3000, batch_size=200, learning_rate=3e-3),
)
def iaf_reverse(
    dims: int,
    context_channels: int,
    *,
    steps: int = 5,
    width: int = 64,
    depth: int = 2,
    reverse_width: int = 128,
    reverse_depth: int = 3,
    **options: Any,
) -> Conditional:
    """Build an inverse autoregressive map x → [y, z] with a feed-forward reverse; arguments as for `maf_reverse`.

    In their fast directions, an affine MAF and an affine IAF are the same map. So this is IAF as it was published: with
    gates, :math:`z = g x + (1 - g) m`, behind an `ActNorm` each, since a gate can only shrink.

    Reference:
        Kingma et al., `Inverse Autoregressive Flow <https://arxiv.org/abs/1606.04934>`_, 2016, section 4, equation 14.
    """

    def build(channels: int) -> Bijection:
        layers = _layers(channels, Gate(), steps, width, depth)
        return Compose(*(Compose(ActNorm(channels), layer) for layer in layers), ActNorm(channels))

    return FeedForwardReverse(dims, context_channels, build, width=reverse_width, depth=reverse_depth, **options)


@dataclass(frozen=True)
class Gate(ElementwiseMap):
    r"""Gate: :math:`z = g x + (1 - g) m` with :math:`g = \operatorname{sigmoid}(r + 2)`, for parameters r and m.

    Reference:
        Kingma et al., Inverse Autoregressive Flow, 2016, section 4, equation 14, https://arxiv.org/abs/1606.04934.
    """

    num_parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Blend x with m."""
        raw, m = parameters.unbind(1)
        return torch.lerp(m, x, (raw + 2).sigmoid()), F.logsigmoid(raw + 2)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Take m out again."""
        raw, m = parameters.unbind(1)
        log_derivative = -F.logsigmoid(raw + 2)
        return m + (z - m) * log_derivative.exp(), log_derivative


def _layers(channels: int, map: ElementwiseMap, steps: int, width: int, depth: int) -> list[Bijection]:
    options, build = VectorOptions(steps=steps, width=width, depth=depth), alternating(map)
    return [build(channels, index, options) for index in range(options.steps)]
