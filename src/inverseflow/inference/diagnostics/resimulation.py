"""Re-simulation: do posterior draws, put through the simulator again, give the observation?"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.errors import DataError, NonFiniteError
from inverseflow.inference.diagnostics.draws import Sampler, check_pairs, draw
from inverseflow.utils.seeding import seeded


@dataclass(frozen=True)
class Resimulation:
    """Errors of re-simulated observations."""

    squared: float
    """Mean of ‖s(x̂) − y‖², in squared units of y."""
    relative: float
    """Mean over the numbers of y of the squared error divided by the variance of y under the prior: 2 for the prior."""
    exact: float
    """Relative error of an exact posterior: that of the true parameters, simulated again. 0 without noise."""
    p_value: float
    """Probability of an excess as large or larger over the exact error if the posterior is exact."""
    failed: int
    """Draws that the simulator returned numbers for that are not finite. They are left out."""

    @property
    def excess(self) -> float:
        """Share of the way from the exact posterior (0) to the prior (1)."""
        return (self.relative - self.exact) / max(2 - self.exact, 1e-12)


def resimulation_error(
    posterior: Sampler, simulator: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, *, seed: int = 0
) -> Resimulation:
    r"""Return the error of one re-simulated posterior draw for each observation.

    .. math:: E = \mathbb{E}\, \lVert s(\hat x) - y^* \rVert^2, \qquad \hat x \sim q(x \mid y^*)

    The pairs of an exact posterior have the distribution of the simulator's, so its error is that of the true
    parameters with new noise. That makes the error of an imperfect one meaningful for noisy simulators too.

    Args:
        posterior: anything with ``sample(y, n)``.
        simulator: function of a batch ``(S, D)`` that returns observations ``(S, ...)``, noise included.
        x: parameters ``(S, D)`` drawn from the prior, not used in training.
        y: their observations ``(S, ...)``.
        seed: seed of the draws and the noise.

    Raises:
        DataError: if x and y are not finite pairs, all observations are equal, or the draws have another shape.
        NonFiniteError: if a draw is not finite, or more than half of the simulations are not.

    Example:
        >>> class Prior:
        ...     def sample(self, y, n):
        ...         return torch.randn(len(y), n, 1)
        >>> x = torch.randn(4000, 1)
        >>> error = resimulation_error(Prior(), lambda x: 3 * x, x, 3 * x)
        >>> round(error.relative, 0), error.exact
        (2.0, 0.0)
    """
    check_pairs(x, y)
    return resimulate(simulator, draw(posterior, y, 1, seed=seed)[:, 0], x, y, seed=seed)


def resimulate(
    simulator: Callable[[Tensor], Tensor], drawn: Tensor, x: Tensor, y: Tensor, *, seed: int = 0
) -> Resimulation:
    """Return the error of `resimulation_error` for draws ``(S, D)``, one for each observation."""
    with torch.no_grad(), seeded(seed, "re-simulation"):
        again, of_truth = simulator(drawn.to(x)), simulator(x)
    if again.shape != y.shape:
        raise DataError(f"the simulator returned shape {tuple(again.shape)} for observations {tuple(y.shape)}")
    y, again, of_truth = (values.flatten(1).double() for values in (y, again, of_truth))
    finite = (again.isfinite() & of_truth.isfinite()).all(1)
    failed = int((~again.isfinite().all(1)).sum())
    if 2 * int(finite.sum()) <= len(y):
        raise NonFiniteError(f"{failed} of {len(y)} re-simulated observations are not finite; restrict the prior")
    variance = y.var(0)
    used = variance > 0
    if not bool(used.any()):
        raise DataError("all observations are the same, so they tell nothing about the parameters; observe more")

    def relative(values: Tensor) -> Tensor:
        return ((values - y).square() / variance)[finite][:, used].mean(1)

    errors, exact = relative(again), relative(of_truth)
    excess = errors - exact
    error = (excess.std() / len(excess) ** 0.5).clamp_min(1e-12)
    return Resimulation(
        squared=(again - y)[finite].square().sum(1).mean().item(),
        relative=errors.mean().item(),
        exact=exact.mean().item(),
        p_value=0.5 * torch.erfc(excess.mean() / error / 2**0.5).item(),
        failed=failed,
    )
