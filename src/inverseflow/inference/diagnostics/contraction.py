"""How much narrower than the prior is a posterior?"""

from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.inference.diagnostics.draws import Sampler, check_pairs, draw


def contraction(posterior: Sampler, x: Tensor, y: Tensor, *, draws: int = 99, seed: int = 0) -> tuple[float, ...]:
    """Return 1 − (mean posterior variance) / (prior variance) of each parameter.

    It is 1 for parameters that are known, 0 for those of which nothing was learned, and negative for a posterior wider
    than the prior. A posterior of several modes can be informative and as wide as the prior.

    Args:
        posterior: anything with ``sample(y, n)``.
        x: parameters ``(S, D)`` drawn from the prior.
        y: their observations ``(S, ...)``.
        draws: number of draws for each observation, 2 or more.
        seed: seed of the draws.

    Raises:
        DataError: if x and y are not finite pairs, or a parameter is constant.
        NonFiniteError: if a draw is not finite.

    Reference:
        Schad, Betancourt and Vasishth, Toward a Principled Bayesian Workflow in Cognitive Science, 2021,
        https://arxiv.org/abs/1904.12765.

    Example:
        >>> class Known:
        ...     def sample(self, y, n):
        ...         return y[:, None].expand(-1, n, -1)
        >>> x = torch.randn(100, 1)
        >>> contraction(Known(), x, x)
        (1.0,)
    """
    check_pairs(x, y)
    return contraction_of(draw(posterior, y, draws, seed=seed), x)


def contraction_of(samples: Tensor, x: Tensor) -> tuple[float, ...]:
    """Return the contraction of draws ``(S, L, D)``."""
    variance = x.double().var(0)
    if not bool((variance > 0).all()):
        raise DataError(f"parameter {int((variance <= 0).nonzero()[0])} of the pairs is constant; leave it out")
    return tuple((1 - samples.double().var(1).mean(0) / variance.to(samples.device)).tolist())
