"""Draw shapes with wanted coefficients from a posterior, and correct them by the gradient of the surrogate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from experiments.design.airfoils import SHAPE, NeuralFoil, thickness

ANGLES = (-2.0, 8.0)
"""Angles of attack in degrees: beyond, the boundary layer may separate, where XFOIL itself is not to be trusted."""
CONFIDENCE = 0.9
"""A design counts if the surrogate is at least so sure of it, and its surfaces do not cross."""
PARAMETERS = (
    *(f"{side} {number}" for side in ("upper", "lower") for number in range(1, 9)),
    "leading edge",
    "trailing edge",
    "angle [°]",
)
OBSERVATIONS = ("lift", "log drag", "thickness")


class BlendedShapes(torch.distributions.Distribution):
    """A shape on the line between two real ones, with noise, and an angle: ``(19,)``.

    Args:
        shapes: real shapes ``(N, 18)``.
        noise: deviation of the noise, in those of the real shapes.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.independent(constraints.real, 1)

    def __init__(self, shapes: Tensor, noise: float = 0.1) -> None:
        super().__init__(event_shape=torch.Size([SHAPE + 1]), validate_args=False)
        self.shapes = shapes
        self.deviation = noise * shapes.std(0)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw ``(*sample_shape, 19)``."""
        count = torch.Size(sample_shape).numel()
        first, second = torch.randint(len(self.shapes), (2, count))
        share = torch.rand(count, 1)
        shape = share * self.shapes[first] + (1 - share) * self.shapes[second]
        shape = shape + self.deviation * torch.randn(count, SHAPE)
        angle = ANGLES[0] + (ANGLES[1] - ANGLES[0]) * torch.rand(count, 1)
        return torch.cat([shape, angle], 1).reshape(*sample_shape, SHAPE + 1)


def coefficients(surrogate: NeuralFoil) -> Callable[[Tensor], Tensor]:
    """Return the simulator: from ``(B, 19)`` to lift, logarithm of the drag and largest thickness ``(B, 3)``."""

    def simulate(design: Tensor) -> Tensor:
        polar = surrogate(design[:, :SHAPE], design[:, SHAPE])
        return torch.stack([polar.lift, polar.drag.log(), thickness(design[:, :SHAPE])[0]], 1)

    return simulate


def usable(surrogate: NeuralFoil, design: Tensor) -> Tensor:
    """Return which designs the surrogate is sure of and whose surfaces do not cross, ``(B,)``."""
    shape, angle = design[:, :SHAPE], design[:, SHAPE]
    sure: Tensor = surrogate(shape, angle).confidence >= CONFIDENCE
    inside = (angle >= ANGLES[0]) & (angle <= ANGLES[1])
    return sure & inside & (thickness(shape)[1] > 0)


@dataclass(frozen=True)
class Refined:
    """Designs after the correction."""

    designs: Tensor
    """``(B, 19)``."""
    moved: Tensor
    """How far each was moved, in deviations of the prior: the root of the mean square, ``(B,)``."""
    evaluations: int
    """Evaluations of the surrogate for each design; a row of its Jacobian counts as one."""


def refined(
    simulate: Callable[[Tensor], Tensor], design: Tensor, wanted: Tensor, scale: Tensor, *, iterations: int = 5
) -> Refined:
    r"""Move designs to wanted coefficients by Newton steps of least length.

    .. math:: x \leftarrow x - S^2 J^T (J S^2 J^T)^{-1} (s(x) - y)

    with the Jacobian J of the simulator s and the deviations S of the prior on a diagonal. There are fewer coefficients
    than numbers of a design, so most of what makes a design itself stays.

    Args:
        simulate: a differentiable simulator, each row for itself.
        design: ``(B, D)``.
        wanted: coefficients ``(M,)``.
        scale: deviations of the prior ``(D,)``.
        iterations: Newton steps.
    """
    outputs = len(wanted)
    current = design
    for _ in range(iterations):
        leaf = current.detach().requires_grad_()
        found = simulate(leaf)
        rows = [torch.autograd.grad(found[:, place].sum(), leaf, retain_graph=True)[0] for place in range(outputs)]
        jacobian = torch.stack(rows, 1) * scale  # of the simulator as a function of x / S
        gram = jacobian @ jacobian.mT
        ridge = 1e-6 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(outputs)
        step = jacobian.mT @ torch.linalg.solve(gram + ridge, (found.detach() - wanted)[:, :, None])
        longest = step.norm(dim=1, keepdim=True) / design.shape[1] ** 0.5
        current = (leaf - scale * (step / longest.clamp(min=1))[:, :, 0]).detach()  # at most one deviation at a time
    moved = ((current - design) / scale).square().mean(1).sqrt()
    return Refined(current, moved, iterations * (1 + outputs))
