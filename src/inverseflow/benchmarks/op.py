"""The triangular solve beside the convolution that it inverts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.benchmarks.machine import machine
from inverseflow.benchmarks.timing import Timing, time_in_turn
from inverseflow.ops import backend, causal_conv2d, inv_conv2d
from inverseflow.ops._backends import blocked

Budget = Literal["smoke", "default"]


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
        """Floating-point operations of the convolution, and of a solve that does no more."""
        return 2 * self.batch * self.side**2 * self.channels**2 * self.kernel**2


@dataclass(frozen=True)
class Row:
    """One method on one case, in milliseconds."""

    case: Case
    method: str
    forward: Timing
    training: Timing | None
    """Forward and backward, for both inputs; None where only the forward was timed."""
    error: float | None
    """Largest difference from the dense oracle in float64; None for conv2d and where the oracle would be too large."""


GRID = (
    Case(100, 1, 28, 3),
    Case(100, 4, 14, 2),
    Case(100, 4, 14, 3),
    Case(100, 8, 7, 3),
    Case(128, 4, 4, 3),
    Case(32, 12, 16, 5),
    Case(50, 12, 16, 3),
    Case(112, 12, 16, 3),
    Case(256, 12, 16, 3),
    Case(50, 24, 8, 3),
    Case(50, 48, 4, 3),
    Case(16, 48, 16, 3),
    Case(8, 96, 8, 3),
    Case(8, 12, 64, 3),
    Case(1, 12, 64, 3),
    Case(1, 3, 128, 3),
    Case(4, 3, 128, 7),
    Case(1, 3, 256, 3),
    Case(1, 12, 256, 3),
    Case(1, 96, 32, 3),
)
SMOKE = (Case(4, 2, 6, 3), Case(2, 3, 5, 2))
BUDGETS: dict[str, tuple[tuple[Case, ...], int, float]] = {"smoke": (SMOKE, 2, 0.1), "default": (GRID, 15, 4.0)}
_LARGEST_DENSE = 1200
_LARGEST_ROW = 1600


@dataclass(frozen=True)
class OpBenchmark:
    """What `bench_op` measured."""

    machine: dict[str, str | int]
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    def to_markdown(self) -> str:
        """Return a table of times over those of conv2d, one line for each case."""
        cases = list(dict.fromkeys(row.case for row in self.rows))
        methods = [name for name in dict.fromkeys(row.method for row in self.rows) if name != "conv2d"]
        by_name = {(row.case, row.method): row for row in self.rows}
        lines = [
            "| batch×channels×height×width, kernel | conv2d, ms | "
            + " | ".join(methods)
            + " | blocked, with gradient |",
            "|---|---|" + "---|" * (len(methods) + 1),
        ]
        for case in cases:
            limit = by_name[case, "conv2d"]
            cells = [
                f"{by_name[case, name].forward.median / limit.forward.median:.2f}" if (case, name) in by_name else "–"
                for name in methods
            ]
            training = by_name[case, "blocked"].training
            assert training is not None and limit.training is not None
            cells.append(f"{training.median / limit.training.median:.2f}")
            lines.append(f"| {case.name} | {limit.forward.median:.3f} | " + " | ".join(cells) + " |")
        ratios = [by_name[case, "blocked"].forward.median / by_name[case, "conv2d"].forward.median for case in cases]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        return "\n".join([*lines, "", f"Geometric mean of blocked over conv2d, forward: {mean:.2f}."])


def bench_op(
    budget: Budget = "default", device: str = "cpu", on_case: Callable[[Case], None] = lambda _: None
) -> OpBenchmark:
    """Time the solve by every method beside ``torch.nn.functional.conv2d`` on the same image and kernel.

    The convolution gets an image that is padded already, so its time is that of the bare product. Methods take turns
    in one process; every time is a median.

    Args:
        budget: ``"smoke"`` for seconds, ``"default"`` for the whole grid.
        device: where, ``"cpu"`` or ``"cuda"``.
        on_case: called before each case, for a progress bar.

    Example:
        >>> benchmark = bench_op("smoke")
        >>> all(row.error < 1e-4 for row in benchmark.rows if row.method != "conv2d")
        True
    """
    where = torch.device(device)
    cases, rounds, at_least_ms = BUDGETS[budget]
    rows: list[Row] = []
    for case in cases:
        on_case(case)
        rows += _bench_case(case, where, rounds, at_least_ms)
    return OpBenchmark(machine(where), rows)


def _bench_case(case: Case, device: torch.device, rounds: int, at_least_ms: float) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, case.channels, case.side, case.side)
    y = torch.randn(shape, generator=generator).to(device)
    taps = torch.randn(case.channels, case.channels, case.kernel, case.kernel, generator=generator)
    weight = (0.2 * taps / math.sqrt(case.channels * case.kernel**2)).to(device)
    padded = F.pad(y, (case.kernel - 1, 0, case.kernel - 1, 0))

    methods: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"blocked": _blocked}
    if case.side * case.channels <= _LARGEST_ROW:
        methods["rows"] = _rows
    methods["sweeps"] = _sweeps
    if case.channels * case.side**2 <= _LARGEST_DENSE:
        methods["dense"] = _dense
    with torch.no_grad():
        expected = _dense(y[:1].double(), weight.double()) if "dense" in methods else None
        errors = {
            name: None if expected is None else float((solve(y[:1], weight) - expected).abs().max())
            for name, solve in methods.items()
        }
        calls = {name: _bind(solve, y, weight) for name, solve in methods.items()}
        forward = time_in_turn(
            {"conv2d": _bind(F.conv2d, padded, weight), **calls}, rounds=rounds, at_least_ms=at_least_ms, device=device
        )
    training = time_in_turn(
        {"conv2d": _training_step(F.conv2d, padded, weight), "blocked": _training_step(_blocked, y, weight)},
        rounds=rounds,
        at_least_ms=at_least_ms,
        device=device,
    )
    return [Row(case, name, forward[name], training.get(name), errors.get(name)) for name in forward]


def _blocked(y: Tensor, weight: Tensor) -> Tensor:
    with backend("blocked"):
        return inv_conv2d(y, weight, unitriangular=True)


def _dense(y: Tensor, weight: Tensor) -> Tensor:
    with backend("dense"):
        return inv_conv2d(y, weight, unitriangular=True)


def _rows(y: Tensor, weight: Tensor) -> Tensor:
    """Whole rows as tiles: one product for each row, with the inverse of the operator inside a row."""
    kernel = weight.clone()
    kernel[:, :, -1, -1] = weight[:, :, -1, -1].tril(-1) + torch.eye(
        len(weight), device=weight.device, dtype=weight.dtype
    )
    return blocked.solve(y, kernel, "top_left", 1, False, blocked.Tile(1, y.shape[-1]))


def _sweeps(y: Tensor, weight: Tensor) -> Tensor:
    """Jacobi iteration with the last tap inverted: exact after as many sweeps as there are anti-diagonals."""
    inverse = torch.linalg.inv(_last_tap(weight))
    x = torch.zeros_like(y)
    for _ in range(y.shape[2] + y.shape[3] - 1):
        residual = y - causal_conv2d(x, weight, unitriangular=True)
        x = x + torch.einsum("oi,nihw->nohw", inverse, residual)
    return x


def _last_tap(weight: Tensor) -> Tensor:
    return weight[:, :, -1, -1].tril(-1) + torch.eye(len(weight), device=weight.device, dtype=weight.dtype)


def _training_step(function: Callable[[Tensor, Tensor], Tensor], image: Tensor, weight: Tensor) -> Callable[[], object]:
    image, weight = image.clone().requires_grad_(), weight.clone().requires_grad_()
    gradient = torch.ones_like(function(image, weight))

    def step() -> object:
        return torch.autograd.grad(function(image, weight), (image, weight), gradient)

    return step


def _bind(function: Callable[[Tensor, Tensor], Tensor], image: Tensor, weight: Tensor) -> Callable[[], object]:
    def call() -> object:
        return function(image, weight)

    return call
