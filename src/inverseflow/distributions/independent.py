"""What the base densities of independent dimensions share."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.utils.arguments import whole_number


class Independent(nn.Module, ABC):
    """Base class of densities of D independent dimensions; device and dtype follow the flow that contains them."""

    _zero: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = whole_number("dims", dims, at_least=1)
        self.register_buffer("_zero", torch.zeros(()), persistent=False)

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of each row in nats, in at least float32."""

    def sample(self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw n rows, `temperature` times as far from zero, on the device and in the dtype of this module."""
        like = self._zero
        device = generator.device if generator is not None else like.device
        # Even generator=None would keep torch.compile from making n dynamic.
        source: dict[str, Any] = {} if generator is None else {"generator": generator}
        return temperature * self._draw(n, device, source).to(like.device)

    @abstractmethod
    def _draw(self, n: int, device: torch.device, source: dict[str, Any]) -> Tensor:
        """Draw n rows on a device from a source of random numbers."""

    def extra_repr(self) -> str:
        """Show the number of dimensions."""
        return f"dims={self.dims}"
