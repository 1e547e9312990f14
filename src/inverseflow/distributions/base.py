"""The contract of a flow's base density."""

from typing import Protocol

import torch
from torch import Tensor


class Base(Protocol):
    """A density of flat latents ``(B, D)``, usually a module so that it moves and casts with the flow that holds it."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density ``(B,)`` of each row in nats."""

    def sample(self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw n rows ``(n, D)`` whose spread is `temperature` times that of the density."""
