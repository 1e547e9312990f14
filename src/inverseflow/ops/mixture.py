"""Cumulative distribution functions of mixtures, on a scale where their tails don't vanish."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_LARGEST = 12.0
"""Beyond it the normal distribution function is 1, and the functions of its complement overflow in float32."""
_FAR = {torch.float32: -10.0, torch.float64: -30.0}
"""Below it the asymptotic series of the normal distribution function is exact, and gradients elsewhere are not."""


def logistic_mixture(x: Tensor, log_weights: Tensor, means: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the logit of the distribution function of a logistic mixture, and its derivative.

    .. math:: z = \log F(x) - \log(1 - F(x)), \qquad F(x) = \sum_k \pi_k\, \sigma((x - m_k) / s_k)

    Both logarithms are computed on their own, and the derivative is a sum of positive terms, so that nothing cancels
    and nothing vanishes, however far out x is.

    Args:
        x: points, any shape.
        log_weights: :math:`\log \pi_k`, ``(K, *shape)``, the shape broadcasting to x's.
        means: :math:`m_k`, of the shape of the weights.
        scales: :math:`s_k`, positive, of the shape of the weights.

    Returns:
        z and dz/dx, of x's shape.

    Example:
        >>> log_weights, means, scales = torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1)
        >>> z, slope = logistic_mixture(torch.tensor([-1e6, 2.0]), log_weights, means, scales)
        >>> z, slope
        (tensor([-1.0000e+06,  2.0000e+00]), tensor([1., 1.]))
    """
    u = (x - means) / scales
    left = logsigmoid(u)
    right = left - u
    log_cdf, shares_below = _log_sum_and_shares(log_weights + left)
    log_survival, shares_above = _log_sum_and_shares(log_weights + right)
    terms = shares_below * right.exp() + shares_above * left.exp()
    return log_cdf - log_survival, (terms / scales).sum(0)


def gaussian_mixture(x: Tensor, log_weights: Tensor, means: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`z = \Phi^{-1}(F(x))` for the distribution function of a Gaussian mixture, and dz/dx.

    Like `logistic_mixture` with :math:`F(x) = \sum_k \pi_k\, \Phi((x - m_k) / s_k)`. It works with the smaller of F and
    1 - F, in logarithms.

    Example:
        >>> log_weights, means, scales = torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1)
        >>> z, slope = gaussian_mixture(torch.tensor([-1e6, 2.0]), log_weights, means, scales)
        >>> z, slope
        (tensor([-1.0000e+06,  2.0000e+00]), tensor([1., 1.]))
    """
    return standardized_gaussian_mixture((x - means) / scales, log_weights, scales)


def standardized_gaussian_mixture(u: Tensor, log_weights: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `gaussian_mixture` does, of ``(x - means) / scales`` for each component, ``(K, *shape)``."""
    limit = _limit(u)
    near, nearest = u.abs().min(0)
    farthest = near > limit  # where all squares overflow, the nearest component alone counts
    reached = u.gather(0, nearest[None])[0]
    u = u.clamp(-limit, limit)
    log_cdf, shares_below = _log_sum_and_shares(log_weights + log_normal_cdf(u))
    log_survival, shares_above = _log_sum_and_shares(log_weights + log_normal_cdf(-u))
    is_left = log_cdf <= log_survival
    z = inverse_log_normal_cdf(torch.where(is_left, log_cdf, log_survival))
    shares = torch.where(is_left, shares_below, shares_above)
    slope = (shares * normal_hazard(torch.where(is_left, u, -u)) / scales).sum(0) / normal_hazard(z)
    slope = torch.where(farthest, (1 / scales).expand_as(u).gather(0, nearest[None])[0], slope)
    return torch.where(farthest, reached, torch.where(is_left, z, -z)), slope


def standardized_log_slope(z: Tensor, u: Tensor, log_weights: Tensor, scales: Tensor) -> Tensor:
    """Return log(dz/dx) for the z of `standardized_gaussian_mixture`, also in gaps where dz/dx itself underflows."""
    limit = _limit(u)
    z, u = z.clamp(-limit, limit), u.clamp(-limit, limit)
    near = torch.where(z <= 0, u, -u)
    log_shares = (log_weights + log_normal_cdf(near)).log_softmax(0)
    log_hazards = log_shares + _log_normal_hazard(near) - scales.log()
    return log_hazards.logsumexp(0) - _log_normal_hazard(-z.abs())


def _limit(u: Tensor) -> float:
    """Return the number of deviations up to which squares do not overflow."""
    return 0.1 * math.sqrt(torch.finfo(u.dtype).max)


def _log_sum_and_shares(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the sum of exponentials, and the share of each in it.

    The shares add up to 1, unlike shares computed from the logarithm, which is rounded.
    """
    largest = logits.detach().amax(0)
    terms = (logits - largest).exp()
    total = terms.sum(0)
    return largest + total.log(), terms / total


def log_normal_cdf(x: Tensor) -> Tensor:
    r"""Return :math:`\log \Phi(x)`, also where it is below the smallest number and where it rounds to 0."""
    bound = _FAR[x.dtype]
    far = x.clamp_max(bound)
    log_tail = -0.5 * far**2 - 0.5 * math.log(2 * math.pi) - _far_hazard(far).log()
    return torch.where(x < bound, log_tail, torch.special.log_ndtr(x.clamp(bound, _LARGEST)))


def normal_hazard(x: Tensor) -> Tensor:
    r"""Return :math:`\varphi(x) / \Phi(x)`, the derivative of `log_normal_cdf`; from 12 on it stays at 2e-32."""
    bound = _FAR[x.dtype]
    near = math.sqrt(2 / math.pi) / torch.special.erfcx(x.clamp(bound, _LARGEST) / -math.sqrt(2))
    return torch.where(x < bound, _far_hazard(x.clamp_max(bound)), near)


def _log_normal_hazard(x: Tensor) -> Tensor:
    tail = -0.5 * x**2 - 0.5 * math.log(2 * math.pi)  # where Φ is 1
    return torch.where(x > _LARGEST, tail, normal_hazard(x).log())


def _far_hazard(x: Tensor) -> Tensor:
    square = x**-2
    return -x * (1 + square * (1 + square * (-2 + square * (10 + square * (706 * square - 74)))))


def inverse_log_normal_cdf(log_p: Tensor) -> Tensor:
    r"""Return the x with :math:`\log \Phi(x)` = log_p, for log_p at most :math:`\log\frac12`."""
    y = log_p.detach()
    t = -2 * y.clamp_max(-5) - math.log(2 * math.pi)
    x = torch.where(y > -5, torch.special.ndtri(y.clamp_min(-6).exp()), -(t - t.log()).sqrt())
    with torch.no_grad():
        for _ in range(3):
            x = x - (log_normal_cdf(x) - y) / normal_hazard(x)
    # Two steps of Newton's method with residuals that are zero in value give the first and second derivatives.
    hazard = normal_hazard(x)
    for _ in range(2):
        reached = log_normal_cdf(x)
        x = x + ((log_p - y) - (reached - reached.detach())) / hazard
    return x
