"""Benchmark of the triangular solve against the convolution that it inverts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.cases import OP_BUDGETS, Axis, Case
from benchmarks.contenders import call, contenders, problem, residual, training_step
from benchmarks.machine import Machine, machine, peak_gflops
from benchmarks.memory import Memory
from benchmarks.op_memory import Memories, MemoryMeter, memories
from inverseflow.ops import explain
from inverseflow.utils.timing import Timing, time_in_turn

_ONE_PIXEL = Case(1, 1, 1, 1)


@dataclass(frozen=True)
class OpRow:
    """One method on one case."""

    case: Case
    method: str
    variant: str
    """Short description of the algorithm."""
    default: bool
    """Whether a call without `backend` would use it."""
    forward: Timing
    training: Timing | None
    """Forward and backward for both inputs. None, like the memory, if only the forward was timed."""
    forward_memory: Memory | None
    training_memory: Memory | None
    error: float | None
    """Largest element of A x - y, in float64; None for conv2d."""

    @staticmethod
    def from_json(data: dict[str, Any]) -> OpRow:
        """Read what `asdict` wrote."""
        training = data["training"]
        forward_memory, training_memory = data["forward_memory"], data["training_memory"]
        return OpRow(
            case=Case(**data["case"]),
            method=data["method"],
            variant=data["variant"],
            default=data["default"],
            forward=Timing(**data["forward"]),
            training=Timing(**training) if training else None,
            forward_memory=Memory(**forward_memory) if forward_memory else None,
            training_memory=Memory(**training_memory) if training_memory else None,
            error=data["error"],
        )


@dataclass(frozen=True)
class SweepRows:
    """Measurements along one axis."""

    name: str
    axis: Axis
    rows: list[OpRow]


@dataclass(frozen=True)
class OpBenchmark:
    """Result of `bench_op`."""

    machine: Machine
    one_pixel: list[OpRow]
    """Measurements of an image of one pixel: the fixed cost of a call."""
    rows: list[OpRow]
    sweeps: list[SweepRows]

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> OpBenchmark:
        """Read what `to_json` returned."""
        return OpBenchmark(
            machine=data["machine"],
            one_pixel=[OpRow.from_json(row) for row in data["one_pixel"]],
            rows=[OpRow.from_json(row) for row in data["rows"]],
            sweeps=[
                SweepRows(sweep["name"], sweep["axis"], [OpRow.from_json(row) for row in sweep["rows"]])
                for sweep in data["sweeps"]
            ],
        )


def bench_op(
    budget: str = "default", device: str = "cpu", on_case: Callable[[Case], None] = lambda _: None
) -> OpBenchmark:
    """Time every method of solving, and ``torch.nn.functional.conv2d`` on the same image and kernel.

    The methods take turns in one process. All times are medians.

    Args:
        budget: ``"smoke"`` for seconds, ``"default"`` for the grid of shapes, ``"sweeps"`` for growth along each axis.
        device: where, ``"cpu"`` or ``"cuda"``.
        on_case: called before each case, for a progress bar.
    """
    where, chosen = torch.device(device), OP_BUDGETS[budget]
    here = machine(where)
    with MemoryMeter.started() if where.type == "cpu" else nullcontext() as meter:

        def rows_of(case: Case) -> list[OpRow]:
            memory = meter.measure(case) if meter else memories(case, where)
            return _bench_case(case, where, memory, chosen.rounds, chosen.at_least_ms, chosen.at_most_ms)

        def watched(case: Case) -> list[OpRow]:
            on_case(case)
            return rows_of(case)

        one_pixel = rows_of(_ONE_PIXEL)
        grid = [row for case in chosen.grid for row in watched(case)]
        sweeps = [
            SweepRows(sweep.name, sweep.axis, [row for case in sweep.cases for row in watched(case)])
            for sweep in chosen.sweeps
        ]
    here["peak_gflops"] = max(here["peak_gflops"], peak_gflops(where))  # either measurement may have been disturbed
    return OpBenchmark(here, one_pixel, grid, sweeps)


def _bench_case(
    case: Case, device: torch.device, memory: Memories, rounds: int, at_least_ms: float, at_most_ms: float
) -> list[OpRow]:
    y, weight = problem(case, device)
    methods = contenders(case, y, weight)
    default = explain(y, weight).partition(":")[0]
    calls = {name: call(method, weight) for name, method in methods.items()}
    steps = {name: training_step(method, weight) for name, method in methods.items() if method.trains}
    with torch.no_grad():
        errors = {name: residual(solve(), y, weight) for name, solve in calls.items() if name != "conv2d"}
        forward = time_in_turn(calls, rounds=rounds, at_least_ms=at_least_ms, at_most_ms=at_most_ms, device=device)
    training = time_in_turn(steps, rounds=rounds, at_least_ms=at_least_ms, at_most_ms=at_most_ms, device=device)
    return [
        OpRow(
            case,
            name,
            method.variant,
            name == default,
            forward[name],
            training.get(name),
            memory[name]["forward"] if name in memory else None,
            memory[name]["training"] if name in memory else None,
            errors.get(name),
        )
        for name, method in methods.items()
    ]
