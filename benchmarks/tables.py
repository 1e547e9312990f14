"""Tables of measurements in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.markdown import table
from benchmarks.memory import Memory
from benchmarks.model import ModelBenchmark
from benchmarks.op import OpBenchmark, OpRow
from benchmarks.summary import (
    UNITS,
    Pair,
    fitted_points,
    geometric_mean,
    gflops,
    growth_exponent,
    limits,
    pairs,
)
from inverseflow.utils.timing import Timing

_SMALL_KERNEL = 0.1


def ratio_table(rows: Sequence[OpRow], *, training: bool) -> str:
    """Return the times of every method relative to conv2d, one line for each case."""
    methods = [name for name in dict.fromkeys(row.method for row in rows) if name != "conv2d"]
    if training:
        methods = [name for name in methods if any(row.training for row in rows if row.method == name)]
    cells: dict[tuple[object, str], Pair] = {
        (pair.row.case, name): pair for name in methods for pair in pairs(rows, name)
    }
    lines = []
    for case in dict.fromkeys(row.case for row in rows):
        limit = next(row for row in rows if row.case == case and row.method == "conv2d")
        line = [case.name, milliseconds(limit.training if training else limit.forward)]
        for name in methods:
            pair = cells.get((case, name))
            ratio = None if pair is None else pair.training if training else pair.forward
            line.append("–" if ratio is None else f"**{ratio:.2f}**" if pair and pair.row.default else f"{ratio:.2f}")
        lines.append(line)
    return table(["N×C×H×W", "conv2d, ms", *methods], lines)


def rate_table(benchmark: OpBenchmark) -> str:
    """Return the rates of conv2d and the default, and algorithm and error of the default."""
    peak = float(benchmark.machine["peak_gflops"])
    return table(
        ["N×C×H×W", "conv2d, GFLOP/s", "of peak", "solve, GFLOP/s", "of peak", "residual", "how"],
        [
            [
                pair.row.case.name,
                f"{gflops(pair.limit):.1f}",
                f"{gflops(pair.limit) / peak:.0%}",
                f"{gflops(pair.row):.1f}",
                f"{gflops(pair.row) / peak:.0%}",
                f"{pair.row.error:.0e}",
                f"{pair.row.method}: {pair.row.variant}",
            ]
            for pair in pairs(benchmark.rows)
        ],
    )


def memory_table(rows: Sequence[OpRow]) -> str:
    """Return peak extra memory of conv2d and of the default, in units of the image batch."""
    lines = []
    for pair in pairs(rows):
        size = pair.row.case.bytes
        measured = [
            row_memory
            for row in (pair.limit, pair.row)
            for row_memory in (row.forward_memory, row.training_memory)
            if row_memory is not None
        ]
        sizes = [f"{size / 2**20:.2f}", f"{pair.row.case.kernel_bytes / size:.2f}"]
        lines.append([pair.row.case.name, *sizes, *(_units(memory, size) for memory in measured)])
    head = ["N×C×H×W", "input, MiB", "kernel"]
    head += ["conv2d, forward", "conv2d, training", "solve, forward", "solve, training"]
    return table(head, lines)


def memory_summary(rows: Sequence[OpRow]) -> str:
    """Return the largest memory of a training step of the default among cases with a small kernel."""
    small = [pair.row for pair in pairs(rows) if pair.row.case.kernel_bytes <= _SMALL_KERNEL * pair.row.case.bytes]
    measured = [(row.training_memory, row.case.bytes) for row in small]
    tensors = [memory.tensors / size for memory, size in measured if memory]
    resident = [memory.resident / size for memory, size in measured if memory and memory.resident is not None]
    if not tensors:
        return "Every kernel is large compared with its image."
    text = f"If the kernel is at most {_SMALL_KERNEL:.0%} of the input ({len(small)} of {len(pairs(rows))} shapes), "
    text += f"forward and backward of the default take at most {max(tensors):.2f} inputs in tensors"
    return f"{text} and {max(resident):.2f} in the whole process." if resident else f"{text}."


def summary_lines(rows: Sequence[OpRow]) -> list[str]:
    """Return geometric mean and worst of the default's ratios, forward and with gradient."""
    lines = []
    for what, training in (("Forward", False), ("Forward and backward", True)):
        ratios = [(pair.training if training else pair.forward, pair.row.case.name) for pair in pairs(rows)]
        known = [(ratio, name) for ratio, name in ratios if ratio is not None]
        worst, where = max(known)
        mean = geometric_mean([ratio for ratio, _ in known])
        lines.append(
            f"{what} relative to conv2d, {len(known)} shapes: geometric mean {mean:.2f}, worst {worst:.2f} ({where})."
        )
    return lines


def limit_table(benchmark: OpBenchmark) -> str:
    """Return the limits of each row on which the default is slower than conv2d, or a sentence if there is none."""
    slower = [pair for pair in pairs(benchmark.rows) if max(pair.forward, pair.training or 0) > 1]
    if not slower:
        return "No row is above 1."
    return table(
        ["N×C×H×W", "forward", "training", "likely limit"],
        [
            [
                pair.row.case.name,
                f"{pair.forward:.2f}",
                "–" if pair.training is None else f"{pair.training:.2f}",
                "; ".join(limits(pair, benchmark)),
            ]
            for pair in slower
        ],
    )


def growth_table(benchmark: OpBenchmark) -> str:
    """Return fitted exponents of time along each sweep."""
    lines = []
    for sweep in benchmark.sweeps:
        methods = [
            name
            for name in dict.fromkeys(row.method for row in sweep.rows)
            if name == "conv2d" or any(row.training for row in sweep.rows if row.method == name)
        ]
        for name in methods:
            fits = [fitted_points(sweep, name, training=training) for training in (False, True)]
            sizes = f"{fits[0][0][0]:,}–{fits[0][-1][0]:,}" if fits[0] else "–"
            cells = [f"{growth_exponent(points):.2f}" if len(points) > 1 else "–" for points in fits]
            lines.append([sweep.name, UNITS[sweep.axis], name, sizes, *cells])
    return table(["sweep", "size in", "method", "sizes", "exponent, forward", "exponent, training"], lines)


def model_table(benchmark: ModelBenchmark) -> str:
    """Return times, memory and parameters of whole flows."""
    return table(
        ["architecture", "batch", "flow", "FT, ms", "ST, ms", "training step, ms", "peak, MiB", "parameters"],
        [
            [
                row.architecture.name,
                str(row.architecture.batch),
                row.flow,
                milliseconds(row.forward),
                milliseconds(row.sample),
                milliseconds(row.training),
                "–" if row.memory is None else _units(row.memory, 2**20, digits=0),
                f"{row.parameters:,}",
            ]
            for row in benchmark.rows
        ],
    )


def share_table(benchmark: ModelBenchmark) -> str:
    """Return the share of the solve in a training step, for each backend."""
    return table(
        ["backend", "training step, ms", "its solves, ms", "share"],
        [
            [
                share.backend,
                milliseconds(share.step),
                milliseconds(share.solves),
                f"{share.solves.median / share.step.median:.0%}",
            ]
            for share in benchmark.shares
        ],
    )


def op_report(benchmark: OpBenchmark) -> str:
    """Return the tables of `python -m benchmarks op`, for the terminal."""
    parts = []
    if benchmark.rows:
        parts += ["Forward, relative to conv2d (bold: the default):", ratio_table(benchmark.rows, training=False)]
        parts += ["Forward and backward, relative to conv2d:", ratio_table(benchmark.rows, training=True)]
        parts += ["Peak extra memory, in inputs (tensors; whole process in brackets):", memory_table(benchmark.rows)]
        parts += summary_lines(benchmark.rows)
    if benchmark.sweeps:
        parts += ["Exponents e of time ~ sizeᵉ:", growth_table(benchmark)]
    return "\n\n".join(parts)


def model_report(benchmark: ModelBenchmark) -> str:
    """Return the tables of `python -m benchmarks model`, for the terminal."""
    share = "Share of the solve in a training step of Inverse-Flow:"
    return "\n\n".join([model_table(benchmark), share, share_table(benchmark)])


def _units(memory: Memory, size: int, digits: int = 2) -> str:
    text = f"{memory.tensors / size:.{digits}f}"
    return text if memory.resident is None else f"{text} ({memory.resident / size:.{digits}f})"


def milliseconds(timing: Timing | None) -> str:
    """Return a median with its quartiles, a dash for None."""
    if timing is None:
        return "–"
    digits = 3 if timing.median < 1 else 2 if timing.median < 10 else 1 if timing.median < 100 else 0
    return f"{timing.median:.{digits}f} ({timing.low:.{digits}f}–{timing.high:.{digits}f})"
