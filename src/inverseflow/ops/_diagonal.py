"""What stands on the diagonal of the last tap."""

from __future__ import annotations

from typing import Literal

Diagonal = Literal["free", "unit", "zero"]
"""Read from the kernel, ones, or zeros, which the derivative of a kernel with ones has."""


def of_derivative(diagonal: str) -> Diagonal:
    """Return the diagonal of the derivative of a kernel."""
    return "free" if diagonal == "free" else "zero"
