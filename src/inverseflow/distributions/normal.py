"""The standard normal density of flat latents."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.utils.arguments import whole_number


class StandardNormal(nn.Module):
    r"""Independent standard normals over D dimensions; its device and dtype follow the flow that contains it.

    .. math:: \log p(z) = -\tfrac12 \lVert z \rVert^2 - \tfrac D2 \log 2\pi

    Args:
        dims: number of dimensions D.

    Shape:
        z: ``(B, D)``; log p: ``(B,)``, in nats.

    Example:
        >>> base = StandardNormal(4)
        >>> base.log_prob(torch.zeros(1, 4))
        tensor([-3.6758])
        >>> base.sample(3).shape
        torch.Size([3, 4])
    """

    _zero: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = whole_number("dims", dims, at_least=1)
        self.register_buffer("_zero", torch.zeros(()), persistent=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of each row in nats, in at least float32."""
        dtype = torch.promote_types(z.dtype, torch.float32)
        return -0.5 * z.to(dtype).square().sum(1) - 0.5 * self.dims * math.log(2 * math.pi)

    def sample(self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw n rows with standard deviation `temperature`, on the device and in the dtype of this module."""
        like = self._zero
        device = generator.device if generator is not None else like.device
        # Even generator=None would keep torch.compile from making n dynamic.
        source: dict[str, Any] = {} if generator is None else {"generator": generator}
        noise: Tensor = torch.randn(n, self.dims, device=device, dtype=like.dtype, **source)
        return temperature * noise.to(like.device)

    def extra_repr(self) -> str:
        """Show the number of dimensions."""
        return f"dims={self.dims}"
