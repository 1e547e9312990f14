"""A flow with a network in place of its slow inverse."""

import copy

import torch
from torch import Generator, Tensor
from typing_extensions import Self

from inverseflow.densities import Density
from inverseflow.densities.density import example_context_shape
from inverseflow.flows.flow import Flow
from inverseflow.nets import MLP


class Distilled(Density):
    r"""A flow T whose samples come from a network G that imitates the inverse of T: fast, but approximate.

    .. math:: \hat x = G(z), \qquad \text{cycle error} = \tfrac1D \lVert x - G(T(x)) \rVert^2

    For flows that are slow to invert, such as `MAF`. Train it by ``fit(distilled, x, objective=CycleLoss())``. The flow
    is copied and, unless `frozen` is false, not trained any more. `log_prob` is the density of the flow; the samples of
    G only resemble it, and have no density of their own. `cycle_error` tells how far G is off for data,
    `sampling_error` for the latents that samples are made of. The second is larger if some of them are unlike those of
    the training data; train on samples of the flow then.

    Args:
        flow: a trained flow of continuous vectors.
        width: hidden units in each layer of the network.
        depth: hidden layers of the network.
        frozen: whether the flow is left as it is. If false, the cycle error has gradients into the copy, `flow`, too,
            which becomes a flow that the network can invert. Alone that would spoil its density: train it by
            ``CycleLoss(likelihood=1.0)``.

    Raises:
        TypeError: if it is no flow.
        ValueError: if its events are no vectors, or hold whole numbers.

    Reference:
        Kruse et al., Benchmarking Invertible Architectures on Inverse Problems, 2021,
        https://arxiv.org/abs/2101.10763; the idea of distilling: van den Oord et al., Parallel WaveNet, 2018,
        https://arxiv.org/abs/1711.10433.

    Example:
        >>> fast = Distilled(MAF((3,)), width=32)
        >>> fast.sample(5).shape, fast.cycle_error(torch.randn(4, 3)).shape
        (torch.Size([5, 3]), torch.Size([4]))
    """

    def __init__(self, flow: Flow, *, width: int = 128, depth: int = 2, frozen: bool = True) -> None:
        if not isinstance(flow, Flow):
            raise TypeError(f"flow must be a Flow, got {flow!r}")
        if len(flow.event_shape) != 1 or flow.dequantize is not None:
            what = "whole numbers" if flow.dequantize is not None else f"events of shape {flow.event_shape}"
            raise ValueError(f"flow must be a flow of continuous vectors (D,), got {what}; sample it as it is")
        context_shape = example_context_shape(flow)
        super().__init__(flow.event_shape, context_shape=context_shape)
        self.frozen = frozen
        self.flow: Flow = copy.deepcopy(flow).eval().requires_grad_(not frozen)
        context_channels = 0 if context_shape is None else context_shape[0]
        self.net = MLP(self.dims + context_channels, self.dims, width=width, depth=depth).to(flow.base.sample(0))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density of the flow; arguments as for `Density.log_prob`."""
        log_prob: Tensor = self.flow.log_prob(x, context)
        return log_prob

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data by one evaluation of the network; arguments and errors as for `Density.sample`."""
        n, context, temperature = self._sampling_args(n, context, temperature)
        z = self.flow.base.sample(n, temperature=temperature, generator=generator)
        self._check_context(context, z)
        x, _ = self.flow.preprocessing.inverse(self.reverse(z, context))
        return x

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the network; a frozen flow stays in evaluation mode."""
        super().train(mode)
        self.flow.train(mode and not self.frozen)
        return self

    def reverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return G(z), in deviations of the data if the flow standardizes them."""
        inputs = z if self.context_shape is None or context is None else torch.cat([z, context.to(z.dtype)], 1)
        x: Tensor = z + self.net(inputs)
        return x

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `cycle_error`, which training minimizes."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            z = self.flow.encode(x, context)
            target, _ = self.flow.preprocessing(x)
        return _mean_square(target - self.reverse(z, context))

    @torch.no_grad()
    def cycle_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean squared error ``(B,)`` of G(T(x)), in variances of the columns if the flow standardizes."""
        error: Tensor = self(x, context)
        return error

    @torch.no_grad()
    def sampling_error(self, n: int, context: Tensor | None = None, *, generator: Generator | None = None) -> Tensor:
        """Return the mean squared difference ``(n,)`` of samples of G and of the flow from the same latents.

        Takes the slow inverse of the flow. Arguments as for `sample`; unit as of `cycle_error`.
        """
        n, context, _ = self._sampling_args(n, context, 1.0)
        z = self.flow.base.sample(n, generator=generator)
        exact, _ = self.flow.preprocessing(self.flow.decode(z, context))
        return _mean_square(exact - self.reverse(z, context))


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().mean(1)
