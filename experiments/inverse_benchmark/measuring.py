"""Train one method, or take a solver that learns nothing, and measure its posterior beside the exact one."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from experiments.result import Values
from inverseflow.inference import AmortizedPosterior, Problem, build_method
from inverseflow.inference.diagnostics import diagnose, posterior_mismatch
from inverseflow.inference.problems import create
from inverseflow.utils.seeding import derived_seed

PRIOR, NEAREST, EXACT = "prior", "nearest simulations (ABC)", "exact sampler"
"""Solvers that learn nothing."""
ACCEPTED = 1e-3
"""Share of the simulations that ABC accepts."""

_TIMED = 5


@dataclass(frozen=True)
class Effort:
    """Sizes of one budget."""

    simulations: int
    """Pairs that every method is trained on."""
    steps: int
    """Training steps of every method."""
    weights: int
    """Weights of every method, within ten percent."""
    observations: int
    """Observations at which samples are compared with exact ones."""
    samples: int
    """Samples of each."""
    judged: int
    """Pairs of the calibration tests."""
    nearest: int
    """Simulations that ABC chooses from."""


class Solver(Protocol):
    """Draws parameters given observations."""

    def sample(self, y: Tensor, n: int) -> Tensor:
        """Draw n parameters for each of m observations ``(m, M)``: ``(m, n, D)``."""


class Prior:
    """A solver that ignores the observation."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def sample(self, y: Tensor, n: int) -> Tensor:
        """Draw from the prior."""
        return self._problem.prior.sample((len(y), n))


class Nearest:
    """Approximate Bayesian computation: the simulations with the nearest observations, in units of their deviations."""

    def __init__(self, problem: Problem, simulations: int, seed: int) -> None:
        self._x, self._y = problem.simulate(simulations, seed=derived_seed(seed, "nearest"))
        self._scale = self._y.std(0)

    def nearest(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the accepted parameters of one observation ``(M,)``, and the distances of their observations."""
        distances = ((self._y - y) / self._scale).square().sum(1)
        found = distances.topk(max(2, round(ACCEPTED * len(distances))), largest=False)
        return self._x[found.indices], found.values.sqrt()

    def sample(self, y: Tensor, n: int) -> Tensor:
        """Draw from the accepted simulations, each once as long as there are enough."""
        drawn = []
        for observation in y:
            accepted, _ = self.nearest(observation)
            order = torch.cat([torch.randperm(len(accepted)) for _ in range(-(-n // len(accepted)))])
            drawn.append(accepted[order[:n]])
        return torch.stack(drawn)


class Exact:
    """The exact sampler of the problem."""

    def __init__(self, problem: Problem) -> None:
        assert problem.reference is not None
        self._reference = problem.reference

    def sample(self, y: Tensor, n: int) -> Tensor:
        """Draw from the exact posterior."""
        return torch.stack([self._reference(observation, n, None) for observation in y])


def matched_width(method: str, dims: int, context_channels: int, weights: int) -> tuple[int, int]:
    """Return the hidden units with which a method has about so many weights, and how many these are.

    Example:
        >>> width, weights = matched_width("maf", 4, 2, 60_000)
        >>> abs(weights - 60_000) < 6_000
        True
    """

    def count(width: int) -> int:
        model = build_method(method, dims, context_channels, width=width)
        return sum(weight.numel() for weight in model.parameters())

    high = 16
    while count(high) < weights:
        high *= 2
    low = 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= weights else (low, middle)
    width = min((low, high), key=lambda width: abs(count(width) - weights))
    return width, count(width)


def measure_method(method: str, problem_name: str, effort: Effort, seed: int) -> Values:
    """Train a method and measure it."""
    problem = create(problem_name)
    x, y = problem.simulate(effort.simulations, seed=seed)
    assert problem.support is not None
    width, _ = matched_width(method, problem.support.dims, y.shape[1], effort.weights)
    posterior = AmortizedPosterior.of(problem, method, width=width)
    start = time.perf_counter()
    posterior.fit(x, y, max_steps=effort.steps, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    assert posterior.result is not None
    values: Values = {
        "width": width,
        "weights": sum(weight.numel() for weight in posterior.model.parameters()),
        "training_seconds": seconds,
        "steps": posterior.result.steps,
        "best_step": posterior.result.best_step,
    }
    values |= measure(posterior, problem, effort, seed)
    if posterior.has_density:
        held_out = problem.simulate(effort.judged, seed=derived_seed(seed, "likelihood"))
        nats = -posterior.log_prob(*held_out).double()
        values |= {"nats": nats.mean().item(), "nats_error": (nats.std() / len(nats) ** 0.5).item()}
    return values


def measure_solver(name: str, problem_name: str, effort: Effort, seed: int) -> Values:
    """Measure one of the solvers that learn nothing."""
    problem = create(problem_name)
    if name == NEAREST:
        nearest = Nearest(problem, effort.nearest, seed)
        _, observed = _observed(problem_name, effort)
        tolerances = [float(nearest.nearest(y)[1][-1]) for y in observed]
        return {**measure(nearest, problem, effort, seed), "tolerance": statistics.fmean(tolerances)}
    solver: Solver = Prior(problem) if name == PRIOR else Exact(problem)
    return measure(solver, problem, effort, seed)


def measure(solver: Any, problem: Problem, effort: Effort, seed: int) -> Values:
    """Return the figures of a solver."""
    x, y = _observed(problem.name, effort)
    mismatch = posterior_mismatch(solver, _exact(problem.name), x, y, n=effort.samples)
    unreferenced = replace(problem, reference=None)
    diagnosis = diagnose(solver, unreferenced, simulations=effort.judged, seed=seed)
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        solver.sample(y[:1], 1000)
        times.append(1e3 * (time.perf_counter() - start))
    values: Values = {
        "mismatch": mismatch.mean,
        "mismatch_error": mismatch.standard_error,
        "floor": mismatch.floor,
        "floor_error": mismatch.floor_error,
        "sample_ms_per_1000": statistics.median(times),
        "verdict": diagnosis.verdict,
    }
    if diagnosis.sbc is not None and diagnosis.resimulation is not None and diagnosis.coverage is not None:
        covered = diagnosis.density_coverage or diagnosis.coverage
        values |= {
            "resimulation": diagnosis.resimulation.squared,
            "relative_resimulation": diagnosis.resimulation.relative,
            "failed_resimulations": diagnosis.resimulation.failed,
            "sbc_p": diagnosis.sbc.p_value,
            "coverage": [statistics.fmean(rates) for rates in zip(*covered.rates, strict=True)],
            "region": covered.region,
            "c2st": diagnosis.c2st,
            "contraction": list(diagnosis.contraction),
        }
    return values


@cache
def _observed(problem_name: str, effort: Effort) -> tuple[Tensor, Tensor]:
    """Return parameters of the prior, which give the units, and the observations to compare at: the same for all."""
    problem = create(problem_name)
    x, _ = problem.simulate(10_000, seed=derived_seed(0, "units"))
    _, y = problem.simulate(effort.observations, seed=derived_seed(0, "observations"))
    return x, y


class _Remembered:
    """Exact samples that are drawn once for all rows: the same generator state gives the same samples."""

    def __init__(self, problem: Problem) -> None:
        assert problem.reference is not None
        self._reference = problem.reference
        self._known: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def __call__(self, y: Tensor, n: int, generator: Generator | None) -> Tensor:
        assert generator is not None
        key = (*y.tolist(), n, generator.get_state().numpy().tobytes())
        if key not in self._known:
            self._known[key] = (self._reference(y, n, generator), generator.get_state())
        samples, state = self._known[key]
        generator.set_state(state)
        return samples


@cache
def _exact(problem_name: str) -> _Remembered:
    return _Remembered(create(problem_name))
