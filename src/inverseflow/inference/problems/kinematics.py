"""A robot arm on a rail."""

import math

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.priors import gaussian
from inverseflow.inference.problems.registry import register

LENGTHS = (0.5, 0.5, 1.0)
SCALES = (0.25, 0.5, 0.5, 0.5)
_ANGLES, _STEPS = 160, 40  # of the grid: the evidence has a relative error of about 3e-4


def hand(x: Tensor) -> Tensor:
    r"""Return the position of the arm's end.

    .. math:: y_1 = \sum_i l_i \cos \theta_i, \quad y_2 = x_1 + \sum_i l_i \sin \theta_i, \quad
        \theta = (x_2, x_2 + x_3, x_2 + x_3 + x_4), \quad l = (½, ½, 1)

    Args:
        x: height on the rail and the angles of the three joints, ``(..., 4)``.

    Returns:
        ``(..., 2)``.

    Example:
        >>> hand(torch.tensor([0.25, 0.0, 0.0, torch.pi / 2]))
        tensor([1.0000, 1.2500])
    """
    angles, lengths = x[..., 1:].cumsum(-1), x.new_tensor(LENGTHS)
    return torch.stack([angles.cos() @ lengths, x[..., 0] + angles.sin() @ lengths], -1)


@register("kinematics")
def inverse_kinematics() -> Problem:
    """Return the problem of a robot arm: which joint angles put the hand at a given place, without noise.

    The posterior lives on a surface of dimension two. The reference draws from it by a grid on that surface, of which
    each sample leads the hand to y exactly.

    From Kruse et al., *Benchmarking invertible architectures on inverse problems*, 2021,
    https://arxiv.org/abs/2101.10763.

    Example:
        >>> problem = inverse_kinematics()
        >>> problem.simulator(problem.reference(torch.tensor([1.5, 0.5]), 2, None))
        tensor([[1.5000, 0.5000],
                [1.5000, 0.5000]])
    """
    return Problem(
        name="kinematics",
        prior=gaussian(SCALES),
        simulator=hand,
        parameters=("height", "joint 1 [rad]", "joint 2 [rad]", "joint 3 [rad]"),
        observations=("hand 1", "hand 2"),
        reference=_reference,
    )


def _reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    cells, weights = posterior_grid(y)
    if not weights.sum() > 0:
        raise ValueError(f"the hand cannot reach {y.tolist()}")
    chosen = cells[torch.multinomial(weights, n, replacement=True, generator=generator)]
    jitter = torch.rand(n, 2, dtype=torch.float64, generator=generator) - 0.5
    x, volume = _on_surface(y.double(), chosen + torch.cat([jitter, torch.zeros(n, 3)], 1))
    middle, _ = _on_surface(y.double(), chosen)
    return torch.where(volume[:, None] > 0, x, middle).to(y.dtype)  # a cell at the edge can jut out over the surface


def posterior_grid(y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the cells of a grid on the surface of all x that lead to y, and the probability p(x, y) of each.

    The sum of the probabilities is p(y).

    Args:
        y: position of the hand, ``(2,)``.

    Returns:
        cells ``(N, 5)`` and probabilities ``(N,)``.
    """
    signs, turns = torch.tensor([-1, 1]), torch.tensor([-1, 0, 1])
    ranges = (torch.arange(_ANGLES), torch.arange(_STEPS), signs, signs, turns)
    cells = torch.cartesian_prod(*ranges).double()
    x, volume = _on_surface(y.double(), cells)
    prior = Normal(torch.zeros(4, dtype=torch.float64), torch.tensor(SCALES, dtype=torch.float64))
    return cells, (prior.log_prob(x.nan_to_num()).sum(-1).exp() * volume).nan_to_num()


def _on_surface(y: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the points ``(N, 4)`` of cells of the grid, and their share of the measure δ(hand(x) − y) dx.

    For a given first angle, the second runs over the arcs on which :math:`|\cos\theta_3| \le 1`, where
    :math:`l_3 \cos\theta_3 = y_1 - l_1 \cos\theta_1 - l_2 \cos\theta_2`. The measure
    :math:`dx_2\,d\theta_2 / (l_3 |\sin\theta_3|)` is singular where an arc ends. It is smooth in s with
    :math:`\theta_2 = \alpha + (\beta - \alpha)(1 - \cos \pi s) / 2`.
    """
    first, second, sign2, sign3, turn3 = cells.unbind(-1)
    l1, l2, l3 = LENGTHS
    range1 = 5.5 * SCALES[1]
    theta1 = ((first + 0.5) / _ANGLES * 2 - 1) * range1
    rest = y[0] - l1 * theta1.cos()
    alpha, beta = ((rest + sign * l3).div(l2).clamp(-1, 1).acos() for sign in (1, -1))
    s = (second + 0.5) / _STEPS * math.pi
    bent = alpha + (beta - alpha) * (1 - s.cos()) / 2
    theta2 = sign2 * bent  # beyond ±π, its prior has a mass of 1e-5
    outer = (rest - l2 * bent.cos()).div(l3).clamp(-1, 1).acos()
    theta3 = sign3 * outer + 2 * math.pi * turn3
    height = y[1] - l1 * theta1.sin() - l2 * theta2.sin() - l3 * theta3.sin()
    x = torch.stack([height, theta1, theta2 - theta1, theta3 - theta2], -1)
    area = (2 * range1 / _ANGLES) * (beta - alpha) * s.sin() / 2 * (math.pi / _STEPS)
    return x, area / (l3 * outer.sin())
