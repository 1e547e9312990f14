"""Benchmark of density models of points: test log-likelihoods and times, beside zuko if installed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import Machine, machine
from inverseflow.data import load_toy
from inverseflow.flows import MAF, NSF, AutoregressiveNSF, Flow
from inverseflow.flows.vector.flow import VectorKwargs
from inverseflow.utils.timing import Timing, time_in_turn

_STEPS, _WIDTH, _BINS, _BOUND = 3, 64, 8, 5.0
_BATCH, _LEARNING_RATE, _POINTS = 256, 1e-3, 20_000
_AUTOREGRESSIVE_STEPS = 5

LogProb = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DensityRow:
    """One model of one distribution of points."""

    data: str
    model: str
    parameters: int
    log_likelihood: float
    """Mean over the test points, in nats and in the unit of the data."""
    step: Timing
    """Log-likelihood of a batch, backward and a step of Adam."""


@dataclass(frozen=True)
class AutoregressiveRow:
    """Times of one autoregressive flow of batches of vectors."""

    columns: int
    model: str
    parameters: int
    log_prob: Timing
    """Without gradients."""
    step: Timing
    sample: Timing


@dataclass(frozen=True)
class DensityBenchmark:
    """Result of `bench_densities`."""

    machine: Machine
    training_steps: int
    rows: list[DensityRow]
    autoregressive: list[AutoregressiveRow]

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON."""
        return asdict(self)


DENSITY_BUDGETS: dict[str, tuple[int, int, float, tuple[int, ...]]] = {
    "smoke": (20, 3, 200, (6,)),
    "default": (3000, 200, 20_000, (6, 21, 63)),
}
"""Training steps, rounds of timing, approximate limit in ms for all rounds of one model, and numbers of columns."""


def bench_densities(
    budget: str = "default", device: str = "cpu", on_model: Callable[[str], None] = lambda _: None
) -> DensityBenchmark:
    """Train neural spline flows of equal size on two moons, equally long, and time autoregressive flows of vectors.

    Args:
        budget: ``"smoke"`` for seconds, ``"default"`` for a few minutes.
        device: where, ``"cpu"`` or ``"cuda"``.
        on_model: called before each model is trained, for a progress bar.
    """
    where, data = torch.device(device), "two-moons"
    training_steps, rounds, at_most_ms, numbers_of_columns = DENSITY_BUDGETS[budget]
    splits = load_toy(data, count=_POINTS)
    train, test = splits.train.tensor().to(where), splits.test.tensor().to(where)
    models = _models(train)
    likelihoods = {}
    for name, (module, log_prob) in models.items():
        on_model(name)
        likelihoods[name] = _train(module, log_prob, train, test, training_steps)
    steps = {name: _step(module, log_prob, train[:_BATCH]) for name, (module, log_prob) in models.items()}
    timings = time_in_turn(steps, rounds=rounds, at_least_ms=0, at_most_ms=at_most_ms, device=where)
    rows = [
        DensityRow(data, name, sum(p.numel() for p in module.parameters()), likelihoods[name], timings[name])
        for name, (module, _) in models.items()
    ]
    autoregressive = []
    for columns in numbers_of_columns:
        on_model(f"autoregressive flows of {columns} columns")
        autoregressive += _autoregressive_rows(columns, where, rounds, at_most_ms)
    about = machine(where)
    about = {**about, "zuko": version("zuko")} if find_spec("zuko") else about
    return DensityBenchmark(about, training_steps, rows, autoregressive)


def _models(train: Tensor) -> dict[str, tuple[nn.Module, LogProb]]:
    """Build models of equal numbers of transforms, hidden units and bins; the peers' data are standardized for them."""
    torch.manual_seed(0)
    ours = NSF((2,), steps=_STEPS, width=_WIDTH, depth=2, spline_bins=_BINS, spline_bound=_BOUND).to(train.device)
    ours.initialize(train)
    models: dict[str, tuple[nn.Module, LogProb]] = {"inverseflow NSF": (ours, ours.log_prob)}
    if find_spec("zuko"):
        import zuko

        sizes = {"transforms": _STEPS, "hidden_features": (_WIDTH, _WIDTH)}
        spline = {"univariate": zuko.transforms.MonotonicRQSTransform, "shapes": [(_BINS,), (_BINS,), (_BINS - 1,)]}
        peers = {
            "zuko NSF, autoregressive": zuko.flows.NSF(2, bins=_BINS, **sizes),
            "zuko NSF, coupling": zuko.flows.NICE(2, **spline, **sizes),
        }
        models |= {name: (peer.to(train.device), _standardized(peer, train)) for name, peer in peers.items()}
    return models


@dataclass(frozen=True)
class _Timed:
    module: nn.Module
    log_prob: LogProb
    sample: Callable[[], object]


def _autoregressive_rows(columns: int, where: torch.device, rounds: int, at_most_ms: float) -> list[AutoregressiveRow]:
    """Time flows of equal numbers of transforms, hidden units, bins and parameters on one batch of normal vectors."""
    torch.manual_seed(0)
    x = torch.randn(_BATCH, columns, device=where)
    models = _autoregressive_models(x)
    functions: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        functions |= {
            f"{name} log_prob": torch.no_grad()(lambda model=model: model.log_prob(x)),
            f"{name} step": _step(model.module, model.log_prob, x),
            f"{name} sample": torch.no_grad()(model.sample),
        }
    timings = time_in_turn(functions, rounds=rounds, at_least_ms=0, at_most_ms=at_most_ms, device=where)
    return [
        AutoregressiveRow(
            columns,
            name,
            sum(p.numel() for p in model.module.parameters()),
            *(timings[f"{name} {what}"] for what in ("log_prob", "step", "sample")),
        )
        for name, model in models.items()
    ]


def _autoregressive_models(x: Tensor) -> dict[str, _Timed]:
    columns = x.shape[1]
    options: VectorKwargs = {"steps": _AUTOREGRESSIVE_STEPS, "width": _WIDTH, "depth": 2}
    ours: dict[str, Flow] = {
        "inverseflow MAF": MAF((columns,), **options),
        "inverseflow NSF-AR": AutoregressiveNSF((columns,), **options, spline_bins=_BINS, spline_bound=_BOUND),
    }
    models = {}
    for name, flow in ours.items():
        flow.to(x.device).initialize(x)
        models[name] = _Timed(flow, flow.log_prob, partial(flow.sample, len(x)))
    if find_spec("zuko"):
        import zuko

        sizes = {"transforms": _AUTOREGRESSIVE_STEPS, "hidden_features": (_WIDTH, _WIDTH)}
        peers = {
            "zuko MAF": zuko.flows.MAF(columns, **sizes).to(x.device),
            "zuko NSF-AR": zuko.flows.NSF(columns, bins=_BINS, **sizes).to(x.device),
        }
        models |= {name: _timed_peer(peer, len(x)) for name, peer in peers.items()}
    return models


def _timed_peer(peer: nn.Module, count: int) -> _Timed:
    return _Timed(peer, lambda x: peer().log_prob(x), lambda: peer().sample((count,)))


def _standardized(peer: nn.Module, train: Tensor) -> LogProb:
    mean, deviation = train.mean(0), train.std(0, correction=0)

    def log_prob(x: Tensor) -> Tensor:
        value: Tensor = peer().log_prob((x - mean) / deviation) - deviation.log().sum()
        return value

    return log_prob


def _train(module: nn.Module, log_prob: LogProb, train: Tensor, test: Tensor, steps: int) -> float:
    """Train on batches of a fixed order with a cosine schedule, and return the mean test log-likelihood."""
    optimizer = torch.optim.Adam(module.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (_BATCH,), generator=generator).to(train.device)]
        optimizer.zero_grad()
        (-log_prob(batch).mean()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        mean = log_prob(test).mean().item()
    if not math.isfinite(mean):
        raise RuntimeError(f"the training diverged: the mean test log-likelihood is {mean}")
    return mean


def _step(module: nn.Module, log_prob: LogProb, batch: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        (-log_prob(batch).mean()).backward()
        optimizer.step()

    return step
