"""The shapes on which the solve is timed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Axis = Literal["side", "batch", "channels", "kernel"]


@dataclass(frozen=True)
class Case:
    """One problem: an image batch and a square kernel."""

    batch: int
    channels: int
    side: int
    kernel: int

    @property
    def name(self) -> str:
        """Batch × channels × height × width, kernel side."""
        return f"{self.batch}×{self.channels}×{self.side}×{self.side}, k={self.kernel}"

    @property
    def flops(self) -> int:
        """Floating-point operations of conv2d with pixels inside the image (an even kernel gets a padded image)."""
        half = self.kernel // 2 if self.kernel % 2 else 0
        outside = sum(min(step, self.side) for step in range(1, half + 1))  # taps, on each of two sides
        taps = self.side * self.kernel - 2 * outside
        return 2 * self.batch * taps**2 * self.channels**2

    @property
    def solve_flops(self) -> int:
        """Floating-point operations of the substitution: taps inside the image, and a strict triangle of the last."""
        taps = sum(min(position + 1, self.kernel) for position in range(self.side))
        triangle = self.side**2 * self.channels * (self.channels + 1) // 2
        return 2 * self.batch * (taps**2 * self.channels**2 - triangle)

    @property
    def bytes(self) -> int:
        """Size of the image batch in float32."""
        return 4 * self.batch * self.channels * self.side**2

    @property
    def kernel_bytes(self) -> int:
        """Size of the kernel in float32."""
        return 4 * self.channels**2 * self.kernel**2


@dataclass(frozen=True)
class Sweep:
    """Cases that differ in one number."""

    name: str
    axis: Axis
    base: Case
    values: tuple[int, ...]

    @property
    def cases(self) -> tuple[Case, ...]:
        """The base case with each of the values.

        Example:
            >>> [case.side for case in Sweep("image side", "side", Case(1, 2, 0, 3), (8, 16)).cases]
            [8, 16]
        """
        return tuple(
            replace(
                self.base,
                batch=value if self.axis == "batch" else self.base.batch,
                channels=value if self.axis == "channels" else self.base.channels,
                side=value if self.axis == "side" else self.base.side,
                kernel=value if self.axis == "kernel" else self.base.kernel,
            )
            for value in self.values
        )


@dataclass(frozen=True)
class OpBudget:
    """Amount of measuring."""

    grid: tuple[Case, ...]
    sweeps: tuple[Sweep, ...]
    rounds: int
    at_least_ms: float
    """A measurement repeats a short call for about this long."""
    at_most_ms: float
    """A slow method gets fewer rounds, so that all of them together take about this long."""

    @property
    def cases(self) -> int:
        """Number of all cases."""
        return len(self.grid) + sum(len(sweep.values) for sweep in self.sweeps)


GRID = (
    Case(100, 1, 28, 3),
    Case(100, 4, 14, 2),
    Case(100, 4, 14, 3),
    Case(100, 8, 7, 3),
    Case(100, 8, 7, 7),
    Case(128, 4, 7, 3),
    Case(256, 1, 7, 2),
    Case(256, 3, 32, 3),
    Case(50, 12, 16, 3),
    Case(112, 12, 16, 3),
    Case(256, 12, 16, 3),
    Case(32, 12, 16, 5),
    Case(32, 6, 28, 6),
    Case(50, 24, 8, 3),
    Case(16, 24, 32, 4),
    Case(50, 48, 7, 3),
    Case(16, 48, 16, 3),
    Case(8, 96, 8, 3),
    Case(1, 96, 32, 3),
    Case(2, 32, 64, 3),
    Case(8, 12, 64, 3),
    Case(1, 12, 64, 3),
    Case(1, 3, 128, 3),
    Case(4, 3, 128, 7),
    Case(1, 3, 256, 3),
    Case(1, 12, 256, 3),
)
_SIDES = (8, 16, 32, 64, 128, 256, 512)
SWEEPS = (
    Sweep("image side, 1 image", "side", Case(1, 12, 0, 3), _SIDES),
    Sweep("image side, 16 images", "side", Case(16, 4, 0, 3), _SIDES),
    Sweep("batch", "batch", Case(0, 12, 16, 3), (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    Sweep("channels", "channels", Case(16, 0, 8, 3), (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)),
    Sweep("kernel", "kernel", Case(16, 12, 32, 0), tuple(range(2, 12))),
)
OP_BUDGETS = {
    "smoke": OpBudget(
        (Case(4, 2, 6, 3), Case(2, 3, 5, 2)),
        (Sweep("image side, 1 image", "side", Case(1, 2, 0, 3), (8, 16)),),
        rounds=2,
        at_least_ms=0.1,
        at_most_ms=100,
    ),
    "default": OpBudget(GRID, (), rounds=25, at_least_ms=8, at_most_ms=2000),
    "sweeps": OpBudget((), SWEEPS, rounds=15, at_least_ms=5, at_most_ms=1500),
}
