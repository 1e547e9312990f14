"""The Gaussian mixture with known parameters, a reference for learned densities."""

from typing import Any

import torch
from torch import Generator, Tensor

from inverseflow.bijections.rosenblatt import Rosenblatt
from inverseflow.densities.density import Density


class GaussianMixture(Density):
    r"""Gaussian mixture of vectors with known parameters: the density, samples, and `rosenblatt`, the exact map.

    .. math:: p(x) = \sum_k \pi_k\, N(x; \mu_k, \Sigma_k)

    It ignores a context. To fit a mixture to data, see `inverseflow.training.baselines`.

    Args:
        weights: :math:`\pi`, ``(K,)``, positive, of sum 1.
        means: :math:`\mu`, ``(K, D)``.
        covariances: :math:`\Sigma`, ``(K, D, D)``, symmetric and positive definite.

    Shape:
        x: ``(B, D)``; log_prob: ``(B,)``, in nats.

    Raises:
        ValueError: if a shape does not fit, weights are not positive or do not add up to 1, or a covariance is not
            symmetric and positive definite.

    Example:
        >>> mixture = GaussianMixture([0.5, 0.5], [[-3.0, 0.0], [3.0, 0.0]], torch.eye(2).expand(2, 2, 2))
        >>> x = mixture.sample(5)
        >>> z, log_det = mixture.rosenblatt(x)
        >>> normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        >>> torch.allclose(mixture.log_prob(x), normal + log_det, atol=1e-4)
        True
    """

    def __init__(self, weights: Any, means: Any, covariances: Any) -> None:
        rosenblatt = Rosenblatt(weights, means, covariances)
        super().__init__(rosenblatt.means.shape[1:])
        self.rosenblatt = rosenblatt

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density of each row in nats.

        Raises:
            TypeError: if the data are integers: a density of whole numbers is unbounded.
        """
        self._check_batch(x, self.event_shape)
        if not x.is_floating_point():
            raise TypeError(
                f"a Gaussian mixture is a density of real numbers, got {x.dtype}; dequantize discrete data first, with "
                "Dequantize or DequantizeColumns"
            )
        _, log_densities = self.rosenblatt.standardize(x)
        return (self.rosenblatt.log_weights.to(x)[:, None] + log_densities.sum(1)).logsumexp(0)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows ``(n, D)``; the temperature scales deviations from the mean of a component."""
        n, _, temperature = self._sampling_args(n, context, temperature)
        means, factors = self.rosenblatt.means, self.rosenblatt.factors
        device = means.device if generator is None else generator.device
        weights = self.rosenblatt.log_weights.exp().to(device)
        component = torch.multinomial(weights, max(n, 1), replacement=True, generator=generator)[:n].to(means.device)
        noise = torch.randn(n, self.dims, 1, dtype=means.dtype, device=device, generator=generator).to(means.device)
        return means[component] + temperature * (factors[component] @ noise).squeeze(-1)
