"""The standard normal density of flat latents."""

import math
from typing import Any

import torch
from torch import Tensor

from inverseflow.distributions.independent import Independent


class StandardNormal(Independent):
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

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of each row in nats, in at least float32."""
        dtype = torch.promote_types(z.dtype, torch.float32)
        return -0.5 * z.to(dtype).square().sum(1) - 0.5 * self.dims * math.log(2 * math.pi)

    def _draw(self, n: int, device: torch.device, source: dict[str, Any]) -> Tensor:
        return torch.randn(n, self.dims, device=device, dtype=self._zero.dtype, **source)
