"""A neuron that fires, given a stimulus."""

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.registry import register

_BINS, _FILTER = 100, 9


def design_matrix() -> Tensor:
    """Return the matrix ``(100, 10)`` of a constant and the stimulus, delayed by 0 to 8 bins.

    The stimulus is white noise, fixed by the seed with which the task was published.
    """
    stimulus = np.random.RandomState(42).randn(_BINS).astype(np.float32)
    delayed = [np.concatenate([np.zeros(delay, np.float32), stimulus[: _BINS - delay]]) for delay in range(_FILTER)]
    return torch.from_numpy(np.stack([np.ones(_BINS, np.float32), *delayed], 1))


def smooth_filters() -> MultivariateNormal:
    r"""Return the prior of an offset of variance 2 and a filter f with rough differences made improbable.

    .. math:: f \sim \mathcal{N}(0, (F^\top F)^{-1}), \quad F_{i, i-2} = 1, \quad F_{i, i-1} = -2, \quad
        F_{i, i} = 1 + \sqrt{i / 9}, \quad i = 0, \dots, 8
    """
    below = torch.diag(torch.ones(_FILTER - 1, dtype=torch.float64), -1)
    difference = torch.eye(_FILTER, dtype=torch.float64) - below
    rough = difference @ difference + torch.diag((torch.arange(_FILTER, dtype=torch.float64) / _FILTER).sqrt())
    precision = torch.block_diag(torch.tensor([[0.5]], dtype=torch.float64), rough.T @ rough)
    return MultivariateNormal(torch.zeros(_FILTER + 1), torch.linalg.inv(precision).float())


@register("bernoulli-glm-raw")
def spike_train() -> Problem:
    r"""Return the problem of a neuron: an offset and a filter of the stimulus from 100 spikes or silences.

    .. math:: y_t \sim \mathrm{Bernoulli}\big(1 / (1 + e^{-(V x)_t})\big)

    with the `design_matrix` V and the prior `smooth_filters`. Task T.6 of Lueckmann et al., 2021,
    https://arxiv.org/abs/2101.04653.

    Example:
        >>> spike_train().simulate(3)[1].unique()
        tensor([0., 1.])
    """
    matrix = design_matrix()
    return Problem("bernoulli-glm-raw", smooth_filters(), lambda x: torch.bernoulli((x @ matrix.T).sigmoid()))


@register("bernoulli-glm")
def spike_statistics() -> Problem:
    r"""Return the problem of `spike_train` with its ten sufficient statistics :math:`V^\top y` as the observation.

    Task T.5 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653.

    Example:
        >>> spike_statistics().simulate(3)[1].shape
        torch.Size([3, 10])
    """
    matrix = design_matrix()
    simulator = spike_train().simulator
    return Problem("bernoulli-glm", smooth_filters(), lambda x: simulator(x) @ matrix)
