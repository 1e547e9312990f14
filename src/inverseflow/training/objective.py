"""Objectives: what a training step minimizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.utils.arguments import finite_number


@dataclass(frozen=True)
class Loss:
    """What an objective returns for a batch: the scalar to minimize, and the terms to record."""

    total: Tensor
    """Minimized in training; the model with the smallest total in validation is the best one."""
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars by name. A term ``mmd`` is recorded as ``train_mmd`` and ``val_mmd``."""

    def __post_init__(self) -> None:
        for name, term in {"total": self.total, **self.terms}.items():
            if not isinstance(term, Tensor) or term.ndim:
                got = f"the shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
                raise TypeError(f"{name} of a Loss must be a tensor without axes, got {got}: take the mean of a batch")

    def named(self) -> dict[str, Tensor]:
        """Return the total, called ``loss`` unless it is one of the terms, and the other terms, without gradients."""
        name = next((name for name, term in self.terms.items() if term is self.total), "loss")
        return {name: term.detach() for name, term in {name: self.total, **self.terms}.items()}


class Objective(Protocol):
    """A function of a model and a batch. It MUST call the model, not a method of it, so that wrappers see the call.

    Example:
        >>> from inverseflow.training import Loss, MaximumLikelihood
        >>> def shrunk(model, batch):
        ...     loss = MaximumLikelihood()(model, batch)
        ...     penalty = sum(weight.square().sum() for weight in model.parameters())
        ...     return Loss(loss.total + 1e-3 * penalty, {**loss.terms, "penalty": penalty})
    """

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the loss of a batch."""


@dataclass(frozen=True)
class MaximumLikelihood:
    """Minimize the mean of −log p(x | context), in the metric of the density: bits per dimension, or nats.

    Example:
        >>> from inverseflow.bijections import ActNorm
        >>> from inverseflow.flows import Flow
        >>> MaximumLikelihood()(Flow(ActNorm(2), (2,)), Batch(torch.zeros(5, 2))).named()  # log 2π
        {'nats': tensor(1.8379)}
    """

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        cost = model.to_metric(model(batch.x, batch.context)).mean()
        return Loss(cost, {model.metric.name: cost})


@dataclass(frozen=True)
class CycleLoss:
    """Minimize the mean squared error of the network of a `Distilled` flow.

    Args:
        likelihood: weight of −log p(x) beside it, for a flow that is not frozen.

    Example:
        >>> from inverseflow.flows import MAF, Distilled
        >>> CycleLoss()(Distilled(MAF((2,))), Batch(torch.zeros(5, 2))).named()
        {'cycle_error': tensor(0.)}
    """

    likelihood: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "likelihood", finite_number("likelihood", self.likelihood, at_least=0))

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        error = model(batch.x, batch.context).mean()
        if not self.likelihood:
            return Loss(error, {"cycle_error": error})
        nats = -model.log_prob(batch.x, batch.context).mean()
        return Loss(error + self.likelihood * nats, {"cycle_error": error, "nats": nats})


@dataclass(frozen=True)
class ReconstructionLoss:
    """Minimize the mean error with which an `Autoencoder` rebuilds the data.

    Example:
        >>> from inverseflow.densities import Autoencoder
        >>> ReconstructionLoss()(Autoencoder((3,), 1), Batch(torch.zeros(5, 3))).named().keys()
        dict_keys(['reconstruction_error'])
    """

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        error = model(batch.x, batch.context).mean()
        return Loss(error, {"reconstruction_error": error})
