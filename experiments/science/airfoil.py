"""Airfoils for the turbine: anything that finds a shape with a wanted lift, and knows lift and drag of a shape."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor


class Airfoils(Protocol):
    """Family of shapes with one number each."""

    def shape(self, lift: Tensor) -> Tensor:
        """Return shapes with a wanted lift coefficient at the angle of attack of 4°."""
        ...

    def lift(self, shape: Tensor, angle: Tensor) -> Tensor:
        """Return lift coefficients at angles of attack in radians."""
        ...

    def drag(self, shape: Tensor, angle: Tensor) -> Tensor:
        """Return drag coefficients at angles of attack in radians."""
        ...


class ParabolicCamber:
    r"""Thin airfoils with a parabolic camber line of height m: :math:`C_l = 2\pi(\alpha + 2m)`.

    The drag is an assumption, :math:`C_d = 0.008 + 0.01\,C_l^2`, and :math:`2(|\alpha| - 12°)^2` more beyond 12°.

    Source: Katz and Plotkin, *Low-Speed Aerodynamics*, chapter 5

    Example:
        >>> airfoils = ParabolicCamber()
        >>> camber = airfoils.shape(torch.tensor(1.0))
        >>> airfoils.lift(camber, torch.tensor(4 * torch.pi / 180))
        tensor(1.0000)
    """

    def shape(self, lift: Tensor) -> Tensor:
        """Return the camber with a wanted lift coefficient at 4°."""
        return (lift / (2 * math.pi) - math.radians(4)) / 2

    def lift(self, shape: Tensor, angle: Tensor) -> Tensor:
        """Return the lift coefficient."""
        return 2 * math.pi * (angle + 2 * shape)

    def drag(self, shape: Tensor, angle: Tensor) -> Tensor:
        """Return the drag coefficient."""
        beyond = (angle.abs() - math.radians(12)).clamp_min(0)
        return 0.008 + 0.01 * self.lift(shape, angle).square() + 2 * beyond.square()
