"""The standard logistic density of flat latents."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inverseflow.distributions.independent import Independent


class StandardLogistic(Independent):
    r"""Independent standard logistics over D dimensions; its device and dtype follow the flow that contains it.

    .. math:: \log p(z) = -\sum_d \log(1 + e^{z_d}) + \log(1 + e^{-z_d})

    Its tails are heavier than those of the normal, and each dimension has variance :math:`\pi^2 / 3`.

    Args:
        dims: number of dimensions D.

    Shape:
        z: ``(B, D)``; log p: ``(B,)``, in nats.

    Reference:
        Dinh et al., NICE, 2015, section 3.4, https://arxiv.org/abs/1410.8516.

    Example:
        >>> base = StandardLogistic(4)
        >>> base.log_prob(torch.zeros(1, 4))
        tensor([-5.5452])
        >>> base.sample(3).shape
        torch.Size([3, 4])
    """

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of each row in nats, in at least float32."""
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        return (F.logsigmoid(z) + F.logsigmoid(-z)).sum(1)

    def _draw(self, n: int, device: torch.device, source: dict[str, Any]) -> Tensor:
        # The quantile of a uniform number would end at ±17 in float32, and be infinite where the number is zero.
        waits = torch.empty(2, n, self.dims, device=device, dtype=self._zero.dtype).exponential_(**source).log()
        return waits[0] - waits[1]
