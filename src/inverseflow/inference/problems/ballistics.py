"""A thrown ball."""

import math

import torch
from torch import Generator, Tensor
from torch.distributions import Normal, Poisson, Uniform

from inverseflow.inference.problem import Problem, independent
from inverseflow.inference.problems.registry import register

GRAVITY, DRAG, MASS = 9.81, 0.25, 0.2
LOWEST, HIGHEST = math.radians(9), math.radians(81)
_AT_ONCE = 100_000  # proposals


def lambert_w(z: Tensor) -> Tensor:
    r"""Return the principal solution w ≥ −1 of :math:`w e^w = z` for −1/e ≤ z ≤ 0, by Halley's iteration.

    Example:
        >>> lambert_w(torch.tensor([-1 / torch.e, 0.0]).double())
        tensor([-1., -0.], dtype=torch.float64)
    """
    p = (2 * (torch.e * z + 1)).clamp(min=0).sqrt()
    w = -1 + p - p**2 / 3 + 11 / 72 * p**3  # the series around −1/e
    for _ in range(6):
        residual = w * w.exp() - z
        slope = w.exp() * (w + 1) - (w + 2) * residual / (2 * w + 2)
        w = torch.where(p > 1e-6, w - residual / slope, w)
    return w


def landing_point(x: Tensor) -> Tensor:
    r"""Return where a ball meets the ground, in closed form.

    .. math:: x(t) = x_0 + \frac{v_x m}{k} (1 - e^{-kt/m}), \quad
        t^* = s + \frac{m}{k} W_0\!\left(-\frac{A k}{B m} e^{-ks/m}\right), \quad
        A = \frac{m}{k^2} (gm + v_y k), \quad B = \frac{gm}{k}, \quad s = \frac{y_0 + A}{B}

    Args:
        x: x₀, y₀, angle and speed, ``(..., 4)``. A negative y₀ counts as 0, and of a speed the whole part.

    Returns:
        ``(..., 1)``.
    """
    start, height, angle, speed = x.double().unbind(-1)
    height, speed, rate = height.clamp(min=0), speed.floor(), DRAG / MASS
    a = MASS / DRAG**2 * (GRAVITY * MASS + speed * angle.sin() * DRAG)
    b = GRAVITY * MASS / DRAG
    s = (height + a) / b
    time = s + lambert_w(-a * rate / b * (-rate * s).exp()) / rate
    return (start - speed * angle.cos() / rate * torch.expm1(-rate * time)).unsqueeze(-1).to(x.dtype)


@register("ballistics")
def inverse_ballistics() -> Problem:
    """Return the problem of a thrown ball with drag: from where and how was it thrown, given where it landed.

    Position N(0, ½²) and height N(1.5, ½²) of the throw, angle uniform from 9° to 81°, speed Poisson(15), no noise.
    The reference is exact rejection sampling.

    Two entries need care. The speed is a whole number: a model sees it with uniform noise in [0, 1) added. The height
    was published as max(N(1.5, ½²), 0), which is 0 with a probability of 0.13 %. Here it stays negative, and the ball
    starts from the ground then: y is the same, and the height has a density.

    From Kruse et al., *Benchmarking invertible architectures on inverse problems*, 2021,
    https://arxiv.org/abs/2101.10763.

    Example:
        >>> problem = inverse_ballistics()
        >>> (landing_point(problem.reference(torch.tensor([5.0]), 100, None)) - 5).abs().max() < 1e-5
        tensor(True)
    """
    return Problem(
        name="ballistics",
        prior=independent(Normal(0.0, 0.5), Normal(1.5, 0.5), Uniform(LOWEST, HIGHEST), Poisson(15.0)),
        simulator=landing_point,
        parameters=("position [m]", "height [m]", "angle [rad]", "speed [m/s]"),
        observations=("landing point [m]",),
        reference=_reference,
    )


def _reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    """Draw all but the position from the prior, and accept with the prior density of the position that leads to y."""
    accepted, count, proposed = [], 0, 0
    while count < n:
        angle, u = torch.rand(2, _AT_ONCE, dtype=torch.float64, generator=generator)
        height = 1.5 + 0.5 * torch.randn(_AT_ONCE, dtype=torch.float64, generator=generator)
        speed = torch.poisson(torch.full_like(height, 15.0), generator=generator)
        x = torch.stack([torch.zeros_like(height), height, LOWEST + (HIGHEST - LOWEST) * angle, speed], -1)
        x[:, 0] = y.double() - landing_point(x)[:, 0]
        accepted.append(x[u < (-x[:, 0].square() / (2 * 0.5**2)).exp()])
        count, proposed = count + len(accepted[-1]), proposed + _AT_ONCE
        if count < 1e-5 * proposed and proposed >= 1e6:
            raise ValueError(f"hardly any throw lands at {y.item():g}: {count} of {proposed} proposals were accepted")
    return torch.cat(accepted)[:n].to(y.dtype)
