"""Conditional flows and trained posteriors as density estimators of `sbi <https://sbi-dev.github.io/sbi>`_."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from inverseflow import flows
from inverseflow.bijections import Standardize
from inverseflow.flows import Flow
from inverseflow.interop._foreign import check_kind
from inverseflow.utils.packages import packages_for

with packages_for("inverseflow.interop.sbi"):
    from sbi.neural_nets.estimators.base import ConditionalDensityEstimator


class Posterior(Protocol):
    """What `as_estimator` takes: a trained `inverseflow.inference.AmortizedPosterior`."""

    @property
    def model(self) -> nn.Module:
        """The trained network."""

    @property
    def columns(self) -> int:
        """Number of parameters."""

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of an observation."""

    def sample(self, y: Tensor, n: int) -> Tensor:
        """Draw ``(m, n, D)`` given m observations."""

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log densities ``(m, n)`` of ``(m, n, D)``."""


def as_estimator(posterior: Posterior) -> ConditionalDensityEstimator:
    """Return a trained amortized posterior as an estimator, for ``sbi.inference.posteriors.DirectPosterior``.

    sbi then finds nothing to reject: no sample leaves the support. `AmortizedPosterior.load` reads the posterior from
    JSON and safetensors, so nothing is pickled.

    Args:
        posterior: trained, by any method; densities need one with a density.

    Example:
        >>> from inverseflow.inference import AmortizedPosterior
        >>> x = torch.rand(100, 2)
        >>> posterior = AmortizedPosterior(width=8, steps=1).fit(x, x + 1, max_steps=2, progress=False)
        >>> as_estimator(posterior).sample((5,), x[:3] + 1).shape
        torch.Size([5, 3, 2])
    """
    return PosteriorEstimator(posterior)


def density_estimator(
    flow: str | Callable[..., Flow] = "nsf", *, embedding: nn.Module | None = None, **options: Any
) -> Callable[[Tensor, Tensor], ConditionalDensityEstimator]:
    """Return what ``sbi.inference.NPE(density_estimator=...)`` takes: a function that builds an estimator from data.

    Observations are standardized by the data that it is built from, and so are the parameters by a flow such as `NSF`.
    For NLE, which models observations given parameters, pass ``lambda theta, x: build(x, theta)``.

    Args:
        flow: name of a registered flow of vectors, or a function that takes the event shape, `context_channels` and
            the options, and returns a flow.
        embedding: network from standardized observations to vectors ``(B, K)``, of which a copy is trained with the
            flow. None if the observations are vectors that the flow takes as they are.
        options: options of the flow.

    Raises:
        TypeError: if the flow is neither a name nor a function, or the embedding no module.
        ValueError: if the flow is unknown, or if the function that is returned gets parameters that the flow does not
            take, observations that need an embedding, or values that are not finite.

    Example:
        >>> build = density_estimator("nsf", steps=2, width=16)  # for NPE(prior, density_estimator=build)
        >>> theta, x = torch.randn(100, 2), torch.randn(100, 3)
        >>> build(theta, x).sample((5,), x[:1]).shape
        torch.Size([5, 1, 2])
    """
    if embedding is not None:
        check_kind("embedding", embedding, nn.Module)
    if isinstance(flow, str):
        flows.flow_class(flow)  # refuses an unknown name here, not in sbi's training
        flow = partial(flows.create, flow)
    if not callable(flow):
        raise TypeError(f"the flow must be a name or a function that builds a flow, got {flow!r}")
    return partial(_build, flow, embedding or nn.Identity(), options)


def _build(
    build_flow: Callable[..., Flow], embedding: nn.Module, options: dict[str, Any], theta: Tensor, x: Tensor
) -> ConditionalDensityEstimator:
    standardize, embedding = Standardize(x.shape[1:], allow_constant=True).to(x), copy.deepcopy(embedding)
    standardize.whiten(x)
    with torch.no_grad():
        context = embedding(standardize(x)[0])
    if context.ndim != 2:
        raise ValueError(
            f"observations must become vectors (B, K), got shape {tuple(context.shape)}; pass embedding=, a network "
            f"from batches of shape {tuple(x.shape)} to vectors"
        )
    flow = build_flow(theta.shape[1:], context_channels=context.shape[1], **options)
    flow.initialize(theta, context)
    return FlowEstimator(flow, standardize, embedding)


class PosteriorEstimator(ConditionalDensityEstimator):
    """An amortized posterior as a density estimator of sbi; shapes as for `FlowEstimator`."""

    def __init__(self, posterior: Posterior) -> None:
        super().__init__(posterior.model, torch.Size((posterior.columns,)), torch.Size(posterior.observation_shape))
        self.posterior = posterior

    def log_prob(self, input: Tensor, condition: Tensor, **kwargs: Any) -> Tensor:
        """Return the log density ``(S, B)`` of inputs; S is 1 if they have no sample axis."""
        if input.ndim < 3:
            input = input.unsqueeze(0)
        condition = condition.reshape(-1, *self.condition_shape)
        batch = max(input.shape[1], len(condition))
        rows = input.expand(-1, batch, -1).transpose(0, 1)
        return self.posterior.log_prob(rows, condition.expand(batch, *self.condition_shape)).T

    def loss(self, input: Tensor, condition: Tensor, **kwargs: Any) -> Tensor:
        """Return the negative log density ``(B,)`` of inputs ``(B, D)``."""
        return -self.log_prob(input, condition)[0]

    def sample(self, sample_shape: torch.Size, condition: Tensor, **kwargs: Any) -> Tensor:
        """Draw samples ``(*sample_shape, B, D)``, without gradients."""
        shape = torch.Size(sample_shape)
        drawn = self.posterior.sample(condition.reshape(-1, *self.condition_shape), shape.numel())
        return drawn.transpose(0, 1).reshape(*shape, len(drawn), *self.input_shape)

    def sample_and_log_prob(self, sample_shape: torch.Size, condition: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Draw samples ``(*sample_shape, B, D)`` with their log densities ``(*sample_shape, B)``."""
        samples = self.sample(sample_shape, condition)
        flat = samples.reshape(-1, *samples.shape[-2:])
        return samples, self.log_prob(flat, condition).reshape(samples.shape[:-1])


class FlowEstimator(ConditionalDensityEstimator):
    """A conditional flow as a density estimator of sbi.

    Args:
        flow: the flow of the parameters.
        standardize: the standardization of conditions.
        embedding: network from standardized conditions to contexts of the flow.

    Shape:
        input: ``(S, B, *event_shape)`` or ``(B, *event_shape)``; condition: ``(B, *condition_shape)``.
    """

    def __init__(self, flow: Flow, standardize: Standardize, embedding: nn.Module) -> None:
        super().__init__(flow, torch.Size(flow.event_shape), torch.Size(standardize.event_shape))
        self.standardize = standardize
        self.embedding = embedding

    @property
    def embedding_net(self) -> nn.Module:
        """The network from standardized conditions to contexts."""
        return self.embedding

    def log_prob(self, input: Tensor, condition: Tensor, **kwargs: Any) -> Tensor:
        """Return the log density ``(S, B)`` of inputs; S is 1 if they have no sample axis."""
        if input.ndim <= 1 + len(self.input_shape):
            input = input.unsqueeze(0)
        context = self._context(condition)
        shape = torch.broadcast_shapes(input.shape[: -len(self.input_shape)], context.shape[:-1])
        input = input.expand(*shape, *self.input_shape).reshape(-1, *self.input_shape)
        return self.net(input, context.expand(*shape, -1).flatten(0, -2)).reshape(shape)

    def loss(self, input: Tensor, condition: Tensor, **kwargs: Any) -> Tensor:
        """Return the negative log density ``(B,)`` of inputs ``(B, *event_shape)``."""
        return -self.log_prob(input, condition)[0]

    def sample(self, sample_shape: torch.Size, condition: Tensor, **kwargs: Any) -> Tensor:
        """Draw samples ``(*sample_shape, B, *event_shape)``, without gradients."""
        with torch.no_grad():
            return self.sample_and_log_prob(sample_shape, condition)[0]

    def sample_and_log_prob(self, sample_shape: torch.Size, condition: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Draw samples ``(*sample_shape, B, *event_shape)`` with their log densities ``(*sample_shape, B)``."""
        context = self._context(condition)
        shape = (*sample_shape, context.shape[0])
        context = context.expand(*shape, -1).flatten(0, -2)
        samples, log_prob = self.net.sample_with_log_prob(len(context), context)
        return samples.reshape(*shape, *self.input_shape), log_prob.reshape(shape)

    def _context(self, condition: Tensor) -> Tensor:
        """Return the contexts ``(*batch, K)`` of conditions ``(*batch, *condition_shape)``, each computed once."""
        self._check_condition_shape(condition)
        batch = condition.shape[: -len(self.condition_shape)]
        standardized, _ = self.standardize(condition.reshape(-1, *self.condition_shape))
        context: Tensor = self.embedding(standardized)
        return context.reshape(*batch, -1)
