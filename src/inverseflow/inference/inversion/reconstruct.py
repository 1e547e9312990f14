"""Reconstruction of a datum from incomplete measurements, in the latent space of a flow."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from inverseflow.errors import OptionError
from inverseflow.flows import Flow
from inverseflow.inference.inversion.invert import invert
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Penalty = Literal["squares", "absolute"]

_CORNER = 1e-3  # below it, an absolute value is rounded off


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A datum that explains measurements, and the search that found it."""

    x: Tensor
    """The datum, of the flow's event shape."""
    z: Tensor
    """Its latent ``(D,)``."""
    objective: float
    """What was minimized."""
    gradient: float
    """Largest entry of its gradient by z: near 0 if the search converged."""
    evaluations: int
    """Number of latents that were decoded."""

    @property
    def typicality(self) -> float:
        r""":math:`\|z\|^2 / D`, which is about 1 for a datum that is typical of the flow."""
        return float(self.z.square().mean())


class _Residuals(nn.Module):
    """The sum of squares of the outputs is twice the objective, as `invert` minimizes it."""

    def __init__(
        self, flow: Flow, operator: Callable[[Tensor], Tensor], noise: float, penalty: Penalty, weights: Tensor
    ) -> None:
        super().__init__()
        self.flow, self.operator, self.noise, self.penalty, self.weights = flow, operator, noise, penalty, weights
        self.free = weights.isfinite()

    def latent(self, free: Tensor) -> Tensor:
        z = free.new_zeros(len(free), len(self.free))
        return z.masked_scatter(self.free, free)

    def forward(self, free: Tensor) -> Tensor:
        fit = self.operator(self.flow.decode(self.latent(free))).flatten(1) / self.noise
        weights = self.weights[self.free]
        if self.penalty == "squares":
            return torch.cat([fit, weights.sqrt() * free], 1)
        return torch.cat([fit, (2 * weights).sqrt() * (free.square() + _CORNER**2) ** 0.25], 1)


def reconstruct(
    flow: Flow,
    operator: Callable[[Tensor], Tensor],
    measurements: Tensor,
    *,
    noise: float,
    weight: float | Mapping[str, float] = 1.0,
    penalty: Penalty = "squares",
    start: Tensor | None = None,
    max_evaluations: int = 200,
    **options: Any,
) -> Reconstruction:
    r"""Find the datum that a flow holds for likely and that explains measurements :math:`f = A u + n`.

    .. math:: \hat u = G(\hat z), \qquad
        \hat z = \arg\min_z \frac{\|f - A\,G(z)\|^2}{2\sigma^2} + \sum_l \lambda_l R(z_l)

    G is the inverse of the flow. R is :math:`\frac12 \|z_l\|^2` ("squares"; with all :math:`\lambda_l = 1` the most
    likely latent given f) or :math:`\|z_l\|_1` ("absolute"). An infinite :math:`\lambda_l` keeps the latents of a scale
    at 0. Every datum has a latent, so enough measurements recover what the flow has never seen. Weights for each scale
    are our reconstruction of the regularizer of Kelkar et al.

    Args:
        flow: a flow of real numbers.
        operator: A, differentiable, from ``(B, *event_shape)`` to ``(B, ...)``; linear or not.
        measurements: f, of the shape that A returns for one datum.
        noise: deviation σ of the noise n.
        weight: λ, or λ by scale with the names of ``flow.latent_slices``; scales that are left out have 1.
        penalty: R.
        start: first latent ``(D,)``, by default 0.
        max_evaluations: number of latents to decode.
        **options: as for `invert`, whose search this is.

    Returns:
        The datum, its latent, and what remains of the gradient.

    Raises:
        OptionError: if an argument is invalid, or the flow has gray levels, which have no gradient.

    Reference:
        Asim et al., Invertible generative models for inverse problems, 2020, https://arxiv.org/abs/1905.11672; Kelkar,
        Bhadra and Anastasio, Compressible latent-space invertible networks for generative model-constrained image
        reconstruction, 2021, https://doi.org/10.1109/TCI.2020.3049648.

    Example:
        >>> flow = Flow(ActNorm(3), (3,))
        >>> found = reconstruct(flow, lambda x: x[:, :2], torch.tensor([1.0, 2.0]), noise=1.0, max_evaluations=30)
        >>> found.x.round(decimals=3)  # half of each measurement: noise and prior weigh the same
        tensor([0.5000, 1.0000, 0.0000])
    """
    if not isinstance(flow, Flow):
        raise OptionError(f"flow must be a Flow, got {type(flow).__name__}")
    if flow.levels is not None:
        raise OptionError(
            "a flow of gray levels has no gradient by its latents: train one of real numbers, levels=None"
        )
    noise = finite_number("noise", noise, above=0)
    penalty = one_of("penalty", penalty, get_args(Penalty))
    max_evaluations = whole_number("max_evaluations", max_evaluations, at_least=1)
    dtype = next(flow.parameters()).dtype
    if not measurements.numel() or not measurements.isfinite().all():
        raise OptionError("measurements must be finite numbers; leave the others out of the operator")
    residuals = _Residuals(flow, operator, noise, penalty, _weights(flow, weight, measurements.to(dtype)))
    free = residuals.free
    given = measurements.new_zeros(flow.dims, dtype=dtype) if start is None else start.to(dtype)
    if given.shape != (flow.dims,):
        raise OptionError(f"start must be a latent of {flow.dims} numbers, got {tuple(given.shape)}")
    target = torch.cat([measurements.to(dtype).flatten() / noise, given.new_zeros(int(free.sum()))])
    settings = {"restarts": 1, "patience": max_evaluations, "max_evaluations": max_evaluations, **options}
    found = invert(residuals, target, inputs=int(free.sum()), start=given[free], **settings)
    best = found.solutions[:1].detach().requires_grad_()
    objective = (residuals(best) - target).square().sum() / 2
    (gradient,) = torch.autograd.grad(objective, best)
    with torch.no_grad():
        z = residuals.latent(best)
        x = flow.decode(z)[0]
    return Reconstruction(x, z[0], float(objective.detach()), float(gradient.abs().max()), found.evaluations)


def _weights(flow: Flow, weight: float | Mapping[str, float], like: Tensor) -> Tensor:
    """Return λ of each latent ``(D,)``."""
    by_scale = weight if isinstance(weight, Mapping) else dict.fromkeys(flow.latent_slices, weight)
    unknown = [name for name in by_scale if name not in flow.latent_slices]
    if unknown:
        raise OptionError(f"the flow has no scale {unknown[0]!r}; its scales are {', '.join(flow.latent_slices)}")
    weights = like.new_ones(flow.dims)
    for name, value in by_scale.items():
        if value != math.inf:
            value = finite_number(f"weight of {name}", value, at_least=0)
        weights[flow.latent_slices[name]] = value
    if weights.isinf().all():
        raise OptionError("an infinite weight of every scale leaves nothing to find: make one finite")
    return weights
