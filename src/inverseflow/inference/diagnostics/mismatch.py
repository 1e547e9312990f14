"""Posterior mismatch: maximum mean discrepancy between a posterior and exact samples."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from inverseflow.inference.diagnostics.draws import Sampler, draw
from inverseflow.ops import mmd
from inverseflow.utils.seeding import derived_seed

Reference = Callable[[Tensor, int, Generator | None], Tensor]
"""Exact posterior samples ``(n, D)`` of one observation: ``reference(y, n, generator)``."""


@dataclass(frozen=True)
class Mismatch:
    """Squared maximum mean discrepancies, means over observations."""

    mean: float
    """Of the posterior and exact samples. It can be negative."""
    standard_error: float
    floor: float
    """Of two sets of exact samples, which is zero but for chance."""
    floor_error: float
    observations: int
    """Number of those that there were exact samples for."""


def posterior_mismatch(
    posterior: Sampler, reference: Reference, x: Tensor, y: Tensor, *, n: int = 1000, seed: int = 0
) -> Mismatch:
    """Return the unbiased squared MMD between n draws of a posterior and n exact ones, and that of exact ones alone.

    Parameters are standardized by the prior, and the kernels are those of `ops.mmd`. Values for other kernels or other
    units cannot be compared.

    Args:
        posterior: anything with ``sample(y, n)``.
        reference: exact posterior samples.
        x: parameters drawn from the prior ``(S, D)``, which give the units.
        y: observations ``(m, ...)`` to compare at.
        n: number of samples of each set, 2 or more.
        seed: seed of all samples.

    An observation that the reference raises a ValueError for, as rejection sampling may, is left out.

    Raises:
        ValueError: if the reference does so for all of them.

    Example:
        >>> class Exact:
        ...     def sample(self, y, n):
        ...         return y[:, None] + torch.randn(len(y), n, 1)
        >>> x = 10 * torch.randn(100, 1)
        >>> def reference(y, n, generator):
        ...     return y + torch.randn(n, 1, generator=generator)
        >>> mismatch = posterior_mismatch(Exact(), reference, x, x[:5], n=100)
        >>> abs(mismatch.mean) < 0.05
        True
    """
    mean, deviation = x.mean(0), x.std(0)
    generator = torch.Generator().manual_seed(derived_seed(seed, "reference"))
    values, failure = [], None
    for observation, samples in zip(y, draw(posterior, y, n, seed=seed), strict=True):
        try:
            first, second = ((reference(observation, n, generator) - mean) / deviation for _ in range(2))
        except ValueError as error:
            failure = error
            continue
        drawn = (samples.to(first) - mean) / deviation
        values.append(torch.stack([mmd(drawn, first, unbiased=True), mmd(second, first, unbiased=True)]))
    if failure is not None and not values:
        raise failure
    table = torch.stack(values).double()  # (m, 2)
    means, errors = table.mean(0).tolist(), (table.std(0, correction=0) / max(1, len(values) - 1) ** 0.5).tolist()
    return Mismatch(means[0], errors[0], means[1], errors[1], len(values))
