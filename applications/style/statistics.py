"""Mean and covariance of feature maps, given from one picture to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from inverseflow.errors import OptionError

Kind = Literal["wct", "adain"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MIN_DEVIATION = 1e-3
"""The least deviation along a direction, as a fraction of the largest: fewer pixels than channels leave directions
without any, and a constant channel has none."""


@dataclass(frozen=True)
class Statistics:
    """What a style is: the mean of each channel, and the root of the covariance of all channels over the pixels."""

    mean: Tensor
    """``(C,)``."""
    root: Tensor
    """Symmetric and positive definite, ``(C, C)``; with AdaIN the diagonal matrix of the deviations."""

    @classmethod
    def of(cls, z: Tensor, kind: Kind = "wct") -> Statistics:
        """Return the statistics of feature maps ``(C, H, W)``, with gradients.

        Args:
            z: the features.
            kind: ``"wct"`` keeps the covariance, ``"adain"`` the deviation of each channel alone.

        Raises:
            OptionError: if there is no such kind.

        Example:
            >>> z = torch.tensor([[[1.0, 3.0]], [[0.0, 8.0]]])
            >>> Statistics.of(z, "adain").root
            tensor([[1., 0.],
                    [0., 4.]])
        """
        if kind not in KINDS:
            raise OptionError(f"there is no transfer {kind!r}; there are {', '.join(KINDS)}")
        rows = z.flatten(1)
        mean = rows.mean(1)
        centered = rows - mean[:, None]
        if kind == "wct":
            return cls(mean, _Root.apply(centered @ centered.T / rows.shape[1]))  # type: ignore[no-untyped-call]
        deviations = (centered.square().mean(1) + torch.finfo(z.dtype).tiny).sqrt()
        return cls(mean, torch.diag(torch.maximum(deviations, _least(deviations.max()))))

    def towards(self, other: Statistics, strength: float) -> Statistics:
        """Return the statistics on the way from these to others: these at a strength of 0, the others at 1.

        Raises:
            OptionError: if the strength is not from 0 to 1.
        """
        if not 0 <= strength <= 1:
            raise OptionError(f"strength must be from 0 to 1, got {strength:g}")
        return Statistics(self.mean.lerp(other.mean, strength), self.root.lerp(other.root, strength))


def transfer(z: Tensor, source: Statistics, target: Statistics) -> Tensor:
    r"""Give features with the statistics `source` the statistics `target`.

    .. math:: z' = S_t S_s^{-1} (z - \mu_s) + \mu_t

    With the roots S of covariances it is the whitening-and-coloring transform, with deviations it is AdaIN. Towards
    statistics at the strength α it is :math:`(1 - \alpha) z + \alpha z'_{\alpha=1}`. Each root is symmetric and
    positive definite, so a transfer back to `source` restores z, and of several transfers in a row the last one counts.

    Args:
        z: ``(C, H, W)``.
        source: the statistics of z.
        target: those wanted.

    Reference:
        Li et al., https://arxiv.org/abs/1705.08086, section 3.2; Huang and Belongie,
        https://arxiv.org/abs/1703.06868, section 5.

    Example:
        >>> a, b = torch.randn(4, 20, 20), 3 + torch.randn(4, 30, 10).cumsum(0)
        >>> target = Statistics.of(b)
        >>> there = transfer(a, Statistics.of(a), target)
        >>> torch.allclose(Statistics.of(there).root, target.root, atol=1e-4)
        True
        >>> torch.allclose(transfer(there, target, Statistics.of(a)), a, atol=1e-4)
        True
    """
    matrix = torch.linalg.solve(source.root, target.root, left=False)
    moved: Tensor = matrix @ (z.flatten(1) - source.mean[:, None]) + target.mean[:, None]
    return moved.view_as(z)


class _Root(torch.autograd.Function):
    """The symmetric root of a covariance, with a derivative that is finite where eigenvalues are equal."""

    @staticmethod
    def forward(ctx: Any, covariance: Tensor) -> Tensor:
        variances, vectors = torch.linalg.eigh(covariance.double())
        deviations = variances.clamp_min(0).sqrt()
        deviations = torch.maximum(deviations, _least(deviations[-1]))
        ctx.save_for_backward(deviations, vectors)
        root: Tensor = (vectors * deviations @ vectors.T).to(covariance.dtype)
        return root

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # S dS + dS S = dΣ, in the basis of the eigenvectors.
        deviations, vectors = ctx.saved_tensors
        (gradient,) = gradients
        inside = vectors.T @ gradient.double() @ vectors / (deviations[:, None] + deviations)
        derivative: Tensor = (vectors @ inside @ vectors.T).to(gradient.dtype)
        return derivative


def _least(largest: Tensor) -> Tensor:
    """Return the least deviation; features that are all constant keep the deviation `MIN_DEVIATION`."""
    return MIN_DEVIATION * torch.where(largest > MIN_DEVIATION**2, largest, torch.ones_like(largest))
