"""Statistics of measurements: ratios, means, growth exponents, and the likely limit of a row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases import Axis, Case
from benchmarks.op import OpBenchmark, OpRow, SweepRows
from inverseflow.utils.timing import Timing

_SMALLEST_SIDE_FITTED = 16
_WIDE = 24
_LARGE_KERNEL = 0.15
UNITS: dict[Axis, str] = {"side": "pixels", "batch": "images", "channels": "channels", "kernel": "taps"}


@dataclass(frozen=True)
class Pair:
    """A method and conv2d on the same case."""

    row: OpRow
    limit: OpRow
    """conv2d."""

    @property
    def forward(self) -> float:
        """Forward time relative to conv2d."""
        return self.row.forward.median / self.limit.forward.median

    @property
    def training(self) -> float | None:
        """Time of forward and backward relative to conv2d."""
        if self.row.training is None or self.limit.training is None:
            return None
        return self.row.training.median / self.limit.training.median


def pairs(rows: Sequence[OpRow], method: str | None = None) -> list[Pair]:
    """Pair a method with conv2d for each case on which it was measured.

    Args:
        rows: all methods on all cases.
        method: its name; the default method if None.
    """
    limits = {row.case: row for row in rows if row.method == "conv2d"}
    chosen = [row for row in rows if (row.default if method is None else row.method == method)]
    return [Pair(row, limits[row.case]) for row in chosen]


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean.

    Example:
        >>> geometric_mean([0.5, 2.0])
        1.0
    """
    return math.exp(sum(map(math.log, values)) / len(values))


def growth_exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the exponent e of the least-squares fit y = a xᵉ, in logarithms.

    Example:
        >>> growth_exponent([(1, 2.0), (2, 8.0), (4, 32.0)])
        2.0
    """
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - mean_x) ** 2 for x in xs)


def size(case: Case, axis: Axis) -> int:
    """Return the size of a case along an axis: pixels, images, channels or taps."""
    return {"side": case.side**2, "batch": case.batch, "channels": case.channels, "kernel": case.kernel**2}[axis]


def fitted_points(sweep: SweepRows, method: str, *, training: bool) -> list[tuple[int, float]]:
    """Return the sizes and times of a method along a sweep that enter the fit of its growth.

    A sweep over the image side is fitted from 16×16 on.
    """
    smallest = _SMALLEST_SIDE_FITTED**2 if sweep.axis == "side" else 1
    timed = [(row.case, row.training if training else row.forward) for row in sweep.rows if row.method == method]
    points = [(size(case, sweep.axis), timing.median) for case, timing in timed if timing is not None]
    return [point for point in points if point[0] >= smallest]


def gflops(row: OpRow) -> float:
    """Return the rate in 10⁹ floating-point operations per second, counting only pixels inside the image."""
    flops = row.case.flops if row.method == "conv2d" else row.case.solve_flops
    return 1e-6 * flops / row.forward.median


def limits(pair: Pair, benchmark: OpBenchmark) -> list[str]:
    """Return the likely reasons why a row is slower than conv2d."""
    row, case = pair.row, pair.row.case
    peak = float(benchmark.machine["peak_gflops"])
    found = []
    timings = [("forward", row.forward, pair.limit.forward), ("training", row.training, pair.limit.training)]
    found += [f"{name}: quartiles overlap" for name, one, other in timings if one and other and _overlap(one, other)]
    share, of_limit = gflops(row) / peak, gflops(pair.limit) / peak
    if pair.forward > 1:
        found += _forward_limits(row, benchmark)
        if case.channels >= _WIDE and share < of_limit:
            found.append(
                f"many channels: conv2d, one large matrix product, reaches {of_limit:.0%} of the peak, and the solve, "
                f"products for a few pixels at a time, {share:.0%}"
            )
    elif pair.training is not None and pair.training > 1:
        found.append("the backward (weight gradient and second solve), since forward is faster")
    if case.kernel_bytes > _LARGE_KERNEL * case.bytes:
        found.append(f"the kernel, which is packed first, is {case.kernel_bytes / case.bytes:.1f} times the input")
    return found or [f"not identified; conv2d reaches {of_limit:.0%} of the peak, the solve {share:.0%}"]


def _forward_limits(row: OpRow, benchmark: OpBenchmark) -> list[str]:
    case, found = row.case, []
    fixed = next((one for one in benchmark.one_pixel if one.method == row.method), None)
    if fixed is not None and fixed.forward.median > 0.25 * row.forward.median:
        found.append(f"the fixed cost of a call is {fixed.forward.median / row.forward.median:.0%} of the time")
    if lanes := re.search(r"(\d+) lanes are (images|rows|channels)", row.variant):
        what, width = lanes[2], int(lanes[1])
        count = {"images": case.batch, "rows": case.side, "channels": case.channels}[what]
        filled = count / (width * math.ceil(count / width))
        if filled < 0.85:
            found.append(f"{count} {what} fill {filled:.0%} of the vectors of {width} lanes")
        if what == "rows" and case.side / (case.side + width - 1) < 0.85:
            found.append(f"{width} rows, each one column behind the previous, work together only part of the time")
    if case.channels <= 4:
        found.append(f"few channels: {case.flops / (2 * case.bytes):.0f} operations per byte moved")
    return found


def _overlap(slower: Timing, faster: Timing) -> bool:
    return faster.median < slower.median and slower.low < faster.high
