"""What a posterior must offer to be judged, and the draws from it that every diagnostic uses."""

from typing import Any, Protocol

import torch
from torch import Tensor

from inverseflow.errors import DataError, NonFiniteError
from inverseflow.utils.seeding import seeded

_DRAWS = 2**18  # at most so many draws at a time: they fit into memory with the activations of a network


class Sampler(Protocol):
    """Anything that draws parameters given observations, such as an `AmortizedPosterior`.

    It may have ``log_prob(x, y) -> (m, n)``, which is used unless its attribute ``has_density`` is false.
    """

    def sample(self, y: Tensor, n: int) -> Tensor:
        """Draw n parameters for each of m observations ``(m, ...)``: ``(m, n, D)``."""


def draw(posterior: Sampler, y: Tensor, n: int, *, seed: int = 0) -> Tensor:
    """Draw parameters ``(m, n, D)`` for a batch of observations ``(m, ...)``, in one call unless they are very many.

    A posterior that samples one coordinate after the other, such as an autoregressive flow, calls its network D times
    for this. All others call it once.

    Raises:
        DataError: if the draws have another shape.
        NonFiniteError: if a draw is not finite.
    """
    with torch.no_grad(), seeded(seed, "draws of the posterior"):
        samples = torch.cat([posterior.sample(part, n) for part in y.split(max(1, _DRAWS // n))])
    if samples.ndim != 3 or samples.shape[:2] != (len(y), n):
        raise DataError(
            f"sample(y, n={n}) must return (m, n, D) for {len(y)} observations, got shape {tuple(samples.shape)}"
        )
    finite = samples.isfinite().all(-1)
    if not bool(finite.all()):
        share = 100 * (1 - finite.double().mean().item())
        raise NonFiniteError(f"{share:.3g} % of the draws of the posterior are not finite; train it with smaller steps")
    return samples


def log_density(posterior: Any, x: Tensor, y: Tensor) -> Tensor:
    """Return log p(x | y) ``(m, n)`` of parameters ``(m, n, D)``."""
    with torch.no_grad():
        parts = zip(x.split(size := max(1, _DRAWS // x.shape[1])), y.split(size), strict=True)
        values = torch.cat([posterior.log_prob(*part) for part in parts])
    if values.shape != x.shape[:2]:
        raise DataError(
            f"log_prob(x, y) must return (m, n) for x of shape {tuple(x.shape)}, got shape {tuple(values.shape)}"
        )
    return values


def has_density(posterior: Any) -> bool:
    """Return whether a posterior has a density to evaluate."""
    return hasattr(posterior, "log_prob") and bool(getattr(posterior, "has_density", True))


def check_pairs(x: Tensor, y: Tensor) -> None:
    """Raise DataError unless x ``(S, D)`` and y ``(S, ...)`` are finite pairs."""
    if x.ndim != 2 or y.ndim < 1 or len(x) != len(y) or not x.numel():
        raise DataError(
            f"pairs are parameters (S, D) and observations (S, ...), got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    for name, values in (("parameters", x), ("observations", y)):
        if not bool(values.isfinite().all()):
            raise DataError(f"some {name} of the pairs are not finite; leave these pairs out")


def features(y: Tensor, *, at_most: int = 20) -> Tensor:
    """Return observations ``(S, ...)`` as standardized vectors ``(S, K)``, without numbers that never change.

    More numbers than `at_most` are replaced by principal components, as many of them as hold 99 % of the variance.
    """
    y = y.flatten(1).double()
    deviation = y.std(0)
    y = ((y - y.mean(0)) / deviation)[:, deviation > 0]
    if y.shape[1] > at_most:
        components, scales, _ = torch.linalg.svd(y, full_matrices=False)
        shares = scales.square().cumsum(0) / scales.square().sum()
        kept = min(at_most, int((shares < 0.99).sum()) + 1)
        y = components[:, :kept] * len(y) ** 0.5  # of mean zero, as y is
    return y
