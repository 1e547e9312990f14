"""The Rosenblatt map of a known mixture: conditional distribution functions, one coordinate after another."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.maps.mixture import mixture_bracket
from inverseflow.bijections.maps.root import MAX_ERROR
from inverseflow.errors import ConvergenceError
from inverseflow.ops import monotone_root
from inverseflow.ops.fixed_point import default_tolerance
from inverseflow.ops.mixture import (
    gaussian_mixture,
    log_normal_cdf,
    standardized_gaussian_mixture,
    standardized_log_slope,
)
from inverseflow.ops.torch_internals import unwrap_functorch


class Rosenblatt(Bijection):
    r"""Exact map of a Gaussian mixture with known parameters to a standard normal.

    .. math:: z_i = \Phi^{-1}\big(F_i(x_i \mid x_{<i})\big), \qquad
        F_i = \sum_k w_k(x_{<i})\, \Phi\big((x_i - m_{ki}) / s_{ki}\big)

    with the conditional means m and deviations s of the components, and weights
    :math:`w_k \propto \pi_k N(x_{<i}; \mu_k, \Sigma_k)`. It is the only increasing triangular map between the two, the
    one that a learned triangular flow approximates; :math:`\Phi(z)` is uniform. The inverse is a root for each
    coordinate in turn. It raises `ConvergenceError` where rounding leaves a coordinate undetermined: in a gap between
    components, or very far out. There are no parameters to learn.

    Args:
        weights: :math:`\pi`, ``(K,)``, positive, of sum 1.
        means: :math:`\mu`, ``(K, D)``.
        covariances: :math:`\Sigma`, ``(K, D, D)``, symmetric and positive definite.

    Shape:
        x: ``(B, D)``; z: the same.

    Raises:
        ValueError: if a shape does not fit, weights are not positive or do not add up to 1, or a covariance is not
            symmetric and positive definite.

    Reference:
        Rosenblatt, Remarks on a multivariate transformation, 1952, https://doi.org/10.1214/aoms/1177729394.

    Example:
        >>> layer = Rosenblatt([0.3, 0.7], [[-2.0, 0.0], [2.0, 1.0]], torch.eye(2).expand(2, 2, 2))
        >>> z, log_det = layer(torch.randn(5, 2))
    """

    full_precision = True
    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, weights: Any, means: Any, covariances: Any) -> None:
        weights, means, covariances = (_as_floats(value) for value in (weights, means, covariances))
        channels = _checked_shape(weights, means, covariances)
        super().__init__(channels=channels, spatial_axes=0)
        factors, failures = torch.linalg.cholesky_ex(covariances)
        if not weights.is_meta:
            _check_values(weights, covariances, failures)
        self.register_buffer("log_weights", (weights / weights.sum()).log())
        self.register_buffer("means", means)
        self.register_buffer("factors", factors)  # lower triangular Cholesky factors

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        u, log_densities = self.standardize(x)
        before = F.pad(log_densities[:, :-1].cumsum(1), (0, 0, 1, 0))
        log_weights = self.log_weights.to(x)[:, None, None] + before
        deviations = self.factors.to(x).diagonal(dim1=1, dim2=2)[..., None]
        mixture = u, log_weights.log_softmax(0), deviations
        z, _ = standardized_gaussian_mixture(*mixture)
        return z.T, standardized_log_slope(z, *mixture).sum(0)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        means, factors = self.means.to(z), self.factors.to(z)
        log_weights = self.log_weights.to(z)[:, None].expand(-1, z.shape[0])
        found: list[Tensor] = []
        standardized: list[Tensor] = []  # (K, B) each
        rounding = torch.zeros_like(log_weights)  # of the weights, in their logarithms
        for place, latent in enumerate(z.T):
            row = zip(factors[:, place].T, standardized, strict=False)
            mean = means[:, place, None] + sum(factor[:, None] * u for factor, u in row)
            mixture = log_weights.log_softmax(0), mean, factors[:, place, place, None]
            start, reach = mixture_bracket(latent.detach(), *(tensor.detach() for tensor in mixture))
            found.append(monotone_root(gaussian_mixture, latent, *mixture, start=start, reach=reach).value)
            standardized.append((found[-1] - mean) / mixture[2])
            log_weights = log_weights - 0.5 * standardized[-1] ** 2 - mixture[2].log()
            self._check_determined(found[-1], latent, mixture, rounding)
            u, scaled = standardized[-1].detach(), (found[-1] / mixture[2]).detach()
            rounding = rounding + 4 * torch.finfo(z.dtype).eps * (0.5 * u**2 + (u * scaled).abs())
        x = torch.stack(found, 1)
        _, log_det = self._forward(x, context)
        return x, -log_det

    @torch.no_grad()
    def _check_determined(self, x: Tensor, z: Tensor, mixture: tuple[Tensor, ...], rounding: Tensor) -> None:
        """Raise if rounding of z and of the logarithms of the weights moves x; slopes can't tell where they jump."""
        log_weights, means, deviations = mixture
        u = (x - means) / deviations
        tails = log_weights + log_normal_cdf(torch.where(z <= 0, u, -u))
        doubt = torch.where(tails > tails.amax(0) - 20 - rounding, rounding, 0).amax(0) / z.abs().clamp_min(1)
        doubt = doubt + 2 * torch.finfo(z.dtype).eps * z.abs().clamp_min(1)
        # Far out a gap has sharp edges: there z must move by more than the root's own tolerance.
        doubt = doubt + torch.where(z.abs() > 20, 3 * default_tolerance(z.dtype) * z.abs(), 0)
        around = torch.stack([z - doubt, z + doubt])
        low, high = monotone_root(gaussian_mixture, around, *(tensor[:, None] for tensor in mixture), start=x).value
        undetermined = high - low > MAX_ERROR * x.abs().clamp_min(1)
        undetermined = undetermined if torch.compiler.is_compiling() else unwrap_functorch(undetermined)
        if undetermined.any():
            raise ConvergenceError(
                f"rounding in {x.dtype} leaves {int(undetermined.sum())} of the coordinates undetermined, in a gap "
                "between components or very far out; compute in float64"
            )

    def standardize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return, under each component, each coordinate given those before it.

        Returns:
            The conditional coordinate in deviations from its mean, and its log density, both ``(K, D, B)``.
        """
        factors = self.factors.to(x)
        u = torch.linalg.solve_triangular(factors, (x - self.means.to(x)[:, None]).mT, upper=False)
        deviations = factors.diagonal(dim1=1, dim2=2)[..., None]
        return u, -0.5 * u**2 - deviations.log() - 0.5 * math.log(2 * math.pi)


def _as_floats(value: Any) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def _checked_shape(weights: Tensor, means: Tensor, covariances: Tensor) -> int:
    """Return the number of coordinates D."""
    shapes = tuple(tuple(tensor.shape) for tensor in (weights, means, covariances))
    if means.ndim != 2 or not means.numel() or shapes != (shapes[1][:1], shapes[1], (*shapes[1], shapes[1][1])):
        raise ValueError(
            f"a mixture needs weights (K,), means (K, D) and covariances (K, D, D), got {', '.join(map(str, shapes))}"
        )
    return shapes[1][1]


def _check_values(weights: Tensor, covariances: Tensor, failures: Tensor) -> None:
    """Raise if the parameters belong to no mixture; failures are those of the Cholesky factorization."""
    if not ((weights > 0).all() and abs(float(weights.sum()) - 1) < 1e-4):
        raise ValueError(f"weights must be positive with sum 1, got {weights.tolist()}; divide them by their sum")
    symmetric = torch.isclose(covariances, covariances.mT, rtol=1e-4, atol=0).all((1, 2))
    wrong = (~symmetric | (failures > 0)).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"covariances must be symmetric and positive definite, those of the components {wrong} of {len(weights)} "
            "are not; add a multiple of the identity"
        )
