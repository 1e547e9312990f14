"""Flow through porous ground in one dimension."""

from functools import cache

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.priors import gaussian
from inverseflow.inference.problems.registry import register

MODES, SENSORS, NOISE = 8, 8, 0.01
_CELLS, _LENGTH = 144, 0.5  # a multiple of SENSORS + 1; correlation length of the log-permeability
_NEWTON_STEPS, _WIDER, _PROPOSALS = 10, 1.5, 50


def log_permeability(x: Tensor) -> Tensor:
    r"""Return the log-permeability in 144 cells of [0, 1] of coefficients ``(..., 8)``.

    It is a Gaussian process with covariance :math:`e^{-2|s - t|}`, truncated to its 8 largest modes.
    """
    return x @ _modes().to(x)


@cache
def _modes() -> Tensor:
    """Return the modes ``(8, 144)``, the largest first, each with its deviation."""
    middle = (torch.arange(_CELLS, dtype=torch.float64) + 0.5) / _CELLS
    values, vectors = torch.linalg.eigh((-(middle - middle[:, None]).abs() / _LENGTH).exp())
    modes = vectors[:, -MODES:].flip(1) * values[-MODES:].flip(0).sqrt()
    signed: Tensor = modes * modes[0].sign()  # the sign of an eigenvector is arbitrary
    return signed.T


def pressure(x: Tensor) -> Tensor:
    r"""Return the pressure at the points 1/9, …, 8/9 between 1 at the inlet and 0 at the outlet.

    .. math:: u(s) = 1 - \int_0^s e^{-m(t)} dt \Big/ \int_0^1 e^{-m(t)} dt

    Args:
        x: coefficients of m, ``(..., 8)``.

    Example:
        >>> pressure(torch.zeros(8).double())[:2]
        tensor([0.8889, 0.7778], dtype=torch.float64)
    """
    resistance = (-log_permeability(x)).exp().cumsum(-1)
    every = _CELLS // (SENSORS + 1)
    return 1 - resistance[..., every - 1 : -1 : every] / resistance[..., -1:]


@register("darcy")
def darcy_flow() -> Problem:
    """Return the problem of Darcy's flow in one dimension: the permeability of the ground from pressures.

    Eight pressures are measured with a noise of deviation 0.01. They do not depend on a constant factor of the
    permeability, and hardly on what is finer than the distance of the sensors, so most of the prior remains. This is
    the example of Padmanabha and Zabaras, 2021, https://arxiv.org/abs/2007.15849, reduced to one dimension by us.

    The reference is importance resampling from the linearization at the most probable x, widened by 1.5.

    Example:
        >>> x, y = darcy_flow().simulate(3)
        >>> x.shape, y.shape
        (torch.Size([3, 8]), torch.Size([3, 8]))
    """
    return Problem(
        name="darcy",
        prior=gaussian([1.0] * MODES),
        simulator=pressure,
        noise=lambda s: s + NOISE * torch.randn_like(s),
        observations=tuple(f"pressure at {index}/{SENSORS + 1}" for index in range(1, SENSORS + 1)),
        reference=_reference,
    )


def linearized_posterior(y: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the normal posterior if `pressure` were the linear map that it is near a point."""
    jacobian = torch.func.jacfwd(pressure)(point)
    covariance = torch.linalg.inv(torch.eye(MODES).to(point) + jacobian.T @ jacobian / NOISE**2)
    return covariance @ jacobian.T @ (y - pressure(point) + jacobian @ point) / NOISE**2, covariance


def _reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    mean = torch.zeros(MODES, dtype=torch.float64)
    for _ in range(_NEWTON_STEPS):
        mean, covariance = linearized_posterior(y.double(), mean)
    proposal = MultivariateNormal(mean, _WIDER**2 * covariance)
    noise = torch.randn(_PROPOSALS * n, MODES, dtype=torch.float64, generator=generator)
    x = mean + noise @ proposal.scale_tril.T
    log_joint = -0.5 * (((pressure(x) - y) / NOISE).square().sum(1) + x.square().sum(1))
    weights = (log_joint - proposal.log_prob(x)).softmax(0)
    return x[torch.multinomial(weights, n, generator=generator)].to(y.dtype)
