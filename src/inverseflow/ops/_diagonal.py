"""The diagonal of the last tap."""

from __future__ import annotations

from typing import Literal

Diagonal = Literal["free", "unit", "zero"]
"""``"free"``: read from the kernel; ``"unit"``: ones; ``"zero"``: zeros, as in the derivative of a kernel with ones."""


def of_derivative(diagonal: str) -> Diagonal:
    """Return the diagonal of the derivative of a kernel."""
    return "free" if diagonal == "free" else "zero"
