"""A flow as a distribution of `torch.distributions`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

if TYPE_CHECKING:
    from inverseflow.flows.flow import Flow


class FlowDistribution(Distribution):
    """What `Flow.condition` returns.

    Args:
        flow: the flow.
        context: None, one context ``(K,)``, or a batch of contexts ``(B, K)`` that becomes the batch shape.

    Example:
        >>> flow = Flow(ActNorm(2), (2,))
        >>> p = flow.condition()
        >>> p.log_prob(p.sample((5,))).shape
        torch.Size([5])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the attribute of torch's base class)

    def __init__(self, flow: Flow, context: Tensor | None = None) -> None:
        self.flow = flow
        self.context = context
        batch_shape = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch_shape, torch.Size(flow.event_shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Grey levels for a flow of discrete data, else the reals."""
        levels = self.flow.levels
        single = constraints.real if levels is None else constraints.integer_interval(0, levels - 1)
        return constraints.independent(single, len(self.event_shape))

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Draw samples of shape ``(*sample_shape, *batch_shape, *event_shape)``."""
        shape = torch.Size(sample_shape) + self.batch_shape
        n = math.prod(shape)
        return self.flow.sample(n, self._contexts(shape)).reshape(shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability of each event, in nats; for discrete data a lower bound."""
        events = len(self.event_shape)
        if value.shape[-events:] != self.event_shape:
            raise ValueError(f"values end in the event shape {tuple(self.event_shape)}, got {tuple(value.shape)}")
        shape = torch.broadcast_shapes(value.shape[: value.ndim - events], self.batch_shape)
        flat = value.expand(shape + self.event_shape).reshape(-1, *self.event_shape)
        return self.flow.log_prob(flat, self._contexts(shape)).reshape(shape)

    def _contexts(self, shape: torch.Size) -> Tensor | None:
        if self.context is None:
            return None
        return self.context.expand(*shape, self.context.shape[-1]).reshape(-1, self.context.shape[-1])
