"""Benchmark of flows of vectors beside zuko, nflows and normflows: held-out log-likelihoods and times."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import Machine, machine
from benchmarks.peers import FITTED, PACKAGES, SAMPLED, Contender, contenders, installed
from benchmarks.summary import geometric_mean
from inverseflow.bijections import Autoregressive
from inverseflow.data import load_toy
from inverseflow.flows import MAF, Flow
from inverseflow.utils.timing import Timing, time_in_turn

_BATCH, _LEARNING_RATE, _POINTS = 256, 1e-3, 20_000
_TABLES = {"galaxies": "galaxies/galaxies.npz", "power plant": "tabular/ccpp.npz"}
_CORRELATION = 0.8


@dataclass(frozen=True)
class LikelihoodRow:
    """One flow of one data set after training."""

    data: str
    columns: int
    model: str
    package: str
    parameters: int
    log_likelihood: float
    """Mean over the test points and the starts, in nats of the standardized data."""
    standard_error: float
    """Of the mean, over the test points and, of several, the starts."""
    starts: int = 1
    """How often it was trained, each time from other weights on other batches."""
    diverged: int = 0
    """How many of the starts ended with a likelihood that is not finite; the mean leaves them out."""


@dataclass(frozen=True)
class TimeRow:
    """Times of one flow for a batch of vectors."""

    columns: int
    model: str
    package: str
    parameters: int
    log_prob: Timing | None
    """Without gradients. None for a flow that is only sampled."""
    step: Timing | None
    """Log-likelihood, backward and a step of Adam."""
    sample: Timing


@dataclass(frozen=True)
class InverseRow:
    """How a masked autoregressive flow that was trained for a while finds its inverse."""

    columns: int
    batch: int
    passes: int
    """Evaluations of the network of a layer by the parallel solver, on average over the layers."""
    sequential: Timing
    parallel: Timing


@dataclass(frozen=True)
class DensityBenchmark:
    """Result of `bench_densities`."""

    machine: Machine
    versions: dict[str, str]
    """Of the packages that were there."""
    training_steps: int
    geometric_means: dict[str, float]
    """Of our times over those of the fastest peer, by what was timed; empty without peers."""
    likelihoods: list[LikelihoodRow]
    times: list[TimeRow]
    inverses: list[InverseRow]

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DensityBenchmark:
        """Return what `to_json` made a mapping of."""
        rows: dict[str, type[Any]] = {"likelihoods": LikelihoodRow, "times": TimeRow, "inverses": InverseRow}
        read = {name: [_read(kind, row) for row in values[name]] for name, kind in rows.items()}
        return cls(**{**values, **read})


@dataclass(frozen=True)
class _Budget:
    training_steps: int
    starts: int
    rounds: int
    at_most_ms: float
    """Approximate limit for all rounds of one function."""
    columns: tuple[int, ...]
    data: tuple[str, ...]


DENSITY_BUDGETS = {
    "smoke": _Budget(5, 1, 3, 20, (6,), ("two-moons",)),
    "default": _Budget(400, 3, 100, 800, (6, 21, 63), ("two-moons", *_TABLES)),
}

TIMED = {"log_prob": "log_prob", "step": "training step", "sample": "sample"}
"""What is timed: the field of `TimeRow`, and words for it."""


def bench_densities(
    budget: str = "default", device: str = "cpu", on_part: Callable[[str], None] = lambda _: None
) -> DensityBenchmark:
    """Train flows of equal size equally long, and time them, beside those of the peers that are installed.

    Args:
        budget: ``"smoke"`` for seconds, ``"default"`` for about twenty minutes with all peers.
        device: where, ``"cpu"`` or ``"cuda"``.
        on_part: called with a description before each part.
    """
    where, options = torch.device(device), DENSITY_BUDGETS[budget]
    likelihoods, times, inverses = [], [], []
    for data in options.data:
        splits = _standardized(data)
        if splits is None:
            on_part(f"{data} is left out: its folder is not in $INVERSEFLOW_DATA")
            continue
        train, test = (part.to(where) for part in splits)
        for model in FITTED:
            on_part(f"training {model} on {data}")
            starts = [contenders(model, train.shape[1], seed) for seed in range(options.starts)]
            for package in starts[0]:
                same = [start[package] for start in starts]
                likelihoods.append(_likelihood_row(data, model, package, same, train, test, options.training_steps))
    for columns in options.columns:
        for model in FITTED + SAMPLED:
            on_part(f"timing {model} of {columns} columns")
            times += _time_rows(columns, model, where, options)
        on_part(f"inverting maf of {columns} columns")
        inverses += _inverse_rows(columns, where, options)
    versions = {name: version(name) for name in installed()}
    return DensityBenchmark(
        machine(where), versions, options.training_steps, _geometric_means(times), likelihoods, times, inverses
    )


def missing_peers(benchmark: DensityBenchmark) -> list[str]:
    """Return the peers that were not installed."""
    return [name for name in PACKAGES if name not in benchmark.versions]


def fastest_peer(rows: list[TimeRow], ours: TimeRow, timed: str) -> Timing | None:
    """Return the shortest time of a peer for what one of our flows does, None if there is no peer."""
    peers = [row for row in rows if (row.columns, row.model) == (ours.columns, ours.model) and row is not ours]
    timings: list[Timing] = [timing for row in peers if (timing := getattr(row, timed)) is not None]
    return min(timings, key=lambda timing: timing.median, default=None)


def ratios(rows: list[TimeRow], timed: str) -> dict[tuple[int, str], float]:
    """Return our median time over the fastest peer's, by numbers of columns and model."""
    found = {}
    for row in rows:
        ours: Timing | None = getattr(row, timed)
        peer = fastest_peer(rows, row, timed) if row.package == PACKAGES[0] else None
        if ours is not None and peer is not None:
            found[row.columns, row.model] = ours.median / peer.median
    return found


def _geometric_means(rows: list[TimeRow]) -> dict[str, float]:
    found = {timed: list(ratios(rows, timed).values()) for timed in TIMED}
    return {timed: geometric_mean(values) for timed, values in found.items() if values}


def _standardized(data: str) -> tuple[Tensor, Tensor] | None:
    """Return points for training and test with columns of mean 0 and deviation 1; None if the data is not here."""
    if data in _TABLES:
        path = Path(os.environ.get("INVERSEFLOW_DATA", "")) / _TABLES[data]
        if not path.is_file():
            return None
        table = np.load(path, allow_pickle=False)
        columns = [table["X"], *([table["y"][:, None]] if "y" in table else [])]
        points = torch.from_numpy(np.concatenate(columns, 1)).float()
        points = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))]
        test, train = points.tensor_split([len(points) // 10])
    else:
        splits = load_toy(data, count=_POINTS)
        train, test = splits.train.tensor(), splits.test.tensor()
    mean, deviation = train.mean(0), train.std(0, correction=0)
    return (train - mean) / deviation, (test - mean) / deviation


def _likelihood_row(
    data: str, model: str, package: str, starts: list[Contender], train: Tensor, test: Tensor, steps: int
) -> LikelihoodRow:
    values: list[Tensor] = []
    for seed, contender in enumerate(starts):
        contender.module.to(train.device)
        _train(contender.module, contender.log_prob, train, steps, seed)
        contender.module.eval()
        with torch.no_grad():
            values.append(contender.log_prob(test).double())
    finite = [value for value in values if value.isfinite().all()]
    if not finite:
        raise RuntimeError(f"the training of {package}'s {model} on {data} diverged from every start")
    each = torch.stack(finite)  # (starts, N)
    variance = each.mean(0).var().item() / len(test)
    if len(each) > 1:
        variance += each.mean(1).var().item() / len(each)
    return LikelihoodRow(
        data,
        train.shape[1],
        model,
        package,
        starts[0].parameters,
        each.mean().item(),
        math.sqrt(variance),
        len(starts),
        len(starts) - len(each),
    )


def _time_rows(columns: int, model: str, where: torch.device, options: _Budget) -> list[TimeRow]:
    """Time the flows of all packages in turn on one batch of normal vectors."""
    x = torch.randn(_BATCH, columns, generator=torch.Generator().manual_seed(0)).to(where)
    models = contenders(model, columns)
    functions: dict[str, Callable[[], object]] = {}
    for package, contender in models.items():
        contender.module.to(where)
        functions[f"{package} sample"] = torch.no_grad()(partial(contender.sample, _BATCH))
        if model in FITTED:
            functions[f"{package} log_prob"] = torch.no_grad()(partial(contender.log_prob, x))
            functions[f"{package} step"] = _step(contender.module, contender.log_prob, x)
    timings = time_in_turn(functions, rounds=options.rounds, at_least_ms=0, at_most_ms=options.at_most_ms, device=where)
    return [
        TimeRow(
            columns,
            model,
            package,
            contender.parameters,
            timings.get(f"{package} log_prob"),
            timings.get(f"{package} step"),
            timings[f"{package} sample"],
        )
        for package, contender in models.items()
    ]


def _inverse_rows(columns: int, where: torch.device, options: _Budget) -> list[InverseRow]:
    """Invert a flow that was trained on synthetic vectors: each column is correlated with the one before it."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(_POINTS // 10, columns, generator=generator)
    for column in range(1, columns):
        before = points[:, column - 1].sin() * 2
        points[:, column] = _CORRELATION * before + math.sqrt(1 - _CORRELATION**2) * points[:, column]
    torch.manual_seed(0)
    flow = MAF((columns,)).to(where)
    flow.initialize(points.to(where))
    _train(flow, flow.log_prob, points.to(where), options.training_steps // 2)
    layers = [module for module in flow.modules() if isinstance(module, Autoregressive)]
    rows = []
    for batch in (1, _BATCH):
        z = torch.randn(batch, columns, generator=generator).to(where)
        evaluations = _evaluations(flow, layers, z)
        timings = time_in_turn(
            {name: partial(_decode, flow, layers, name, z) for name in ("sequential", "parallel")},
            rounds=options.rounds,
            at_least_ms=0,
            at_most_ms=options.at_most_ms,
            device=where,
        )
        rows.append(InverseRow(columns, batch, evaluations, timings["sequential"], timings["parallel"]))
    return rows


@torch.no_grad()
def _decode(flow: Flow, layers: list[Autoregressive], solver: Any, z: Tensor) -> Tensor:
    for layer in layers:
        layer.solver = solver
    return flow.decode(z)


def _evaluations(flow: Flow, layers: list[Autoregressive], z: Tensor) -> int:
    """Return how often the parallel solver evaluates the network of a layer, on average."""
    calls: list[None] = []
    hooks = [layer.net.register_forward_hook(lambda *_: calls.append(None)) for layer in layers]
    _decode(flow, layers, "parallel", z)
    for hook in hooks:
        hook.remove()
    return round(len(calls) / len(layers))


def _train(module: nn.Module, log_prob: Callable[[Tensor], Tensor], train: Tensor, steps: int, seed: int = 0) -> None:
    """Train on batches in the order of a seed with a cosine schedule."""
    optimizer = torch.optim.Adam(module.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (_BATCH,), generator=generator).to(train.device)]
        optimizer.zero_grad()
        (-log_prob(batch).mean()).backward()
        optimizer.step()
        schedule.step()


def _step(module: nn.Module, log_prob: Callable[[Tensor], Tensor], batch: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        (-log_prob(batch).mean()).backward()
        optimizer.step()

    return step


def _read(kind: type[Any], values: Mapping[str, Any]) -> Any:
    return kind(**{name: Timing(**value) if isinstance(value, Mapping) else value for name, value in values.items()})
