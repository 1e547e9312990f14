"""Two moons: a posterior with two crescents."""

import math

import torch
from torch import Generator, Tensor

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.priors import box
from inverseflow.inference.problems.registry import register

_OFFSET, _RADIUS, _WIDTH = 0.25, 0.1, 0.01


@register("two-moons")
def two_moons() -> Problem:
    r"""Return the problem of two moons, whose posterior is two crescents.

    .. math:: x \sim \mathcal{U}(-1, 1)^2, \quad
        y = \begin{pmatrix} r \cos a + ¼ - |x_1 + x_2| / \sqrt 2 \\ r \sin a + (x_2 - x_1) / \sqrt 2 \end{pmatrix},
        \quad a \sim \mathcal{U}(-π/2, π/2), \quad r \sim \mathcal{N}(0.1, 0.01^2)

    Task T.8 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653. The reference is exact: the noise is drawn
    and the equations are solved for x.

    Example:
        >>> two_moons().reference(torch.tensor([0.0, 0.0]), 5, None).shape
        torch.Size([5, 2])
    """
    return Problem(
        name="two-moons",
        prior=box(-1, 1, dims=2),
        simulator=lambda x: (
            _crescent(len(x), None).to(x) + torch.stack([-x.sum(1).abs(), x[:, 1] - x[:, 0]], 1) / 2**0.5
        ),
        reference=_reference,
    )


def _crescent(n: int, generator: Generator | None) -> Tensor:
    angle = math.pi * (torch.rand(n, dtype=torch.float64, generator=generator) - 0.5)
    radius = _RADIUS + _WIDTH * torch.randn(n, dtype=torch.float64, generator=generator)
    return torch.stack([radius * angle.cos() + _OFFSET, radius * angle.sin()], 1)


def _reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    accepted = torch.empty(0, 2, dtype=torch.float64)
    for _ in range(1000):
        total, difference = ((_crescent(4 * n, generator) - y.double()) * y.new_tensor([1, -1])).unbind(1)
        sign = torch.randint(2, (4 * n,), generator=generator) * 2 - 1
        x = torch.stack([sign * total - difference, sign * total + difference], 1) / 2**0.5
        accepted = torch.cat([accepted, x[(total >= 0) & (x.abs() <= 1).all(1)]])
        if len(accepted) >= n:
            return accepted[:n].to(y.dtype)
    raise ValueError(f"no parameters lead to {y.tolist()}")
