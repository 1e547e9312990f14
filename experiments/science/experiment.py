"""Six scientific inverse problems, each with a trained posterior beside a reference."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from scipy.stats import kstest
from torch import Generator, Tensor, nn

from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Values
from experiments.science.asteroids import asteroids
from experiments.science.cosmic_rays import cosmic_rays, grid_posterior
from experiments.science.exoplanets import exoplanets, sample_segments, segment_share
from experiments.science.hii_regions import hii_regions, youngest_age
from experiments.science.report import (
    ASTEROIDS,
    ASTEROIDS_INN,
    COSMIC_RAYS,
    EXOPLANETS,
    HII,
    NITROGEN,
    PART,
    ROTOR,
    SEGMENT,
    SMALL_BODIES,
    TURBINE,
    draw,
    parts,
)
from experiments.science.rotor_section import PARAMETERS, linearized, rotor_section, screen
from experiments.science.small_bodies import (
    CLASSES,
    OBSERVATIONS,
    linear_regression_log_prob,
    relation,
    small_bodies,
)
from experiments.science.small_bodies import PARAMETERS as OF_BODIES
from experiments.science.study import Effort, correlation, differences, references, study
from experiments.science.turbine import BETZ, optimize, turbine
from inverseflow.inference import AmortizedPosterior
from inverseflow.inference.diagnostics import diagnose

EFFORTS: dict[Budget, Effort] = {
    "smoke": Effort(1000, 60, 100, judged=100, observations=1, samples=100, chain_steps=20, starts=1),
    "quick": Effort(20_000, 2000, 200, judged=400, observations=2, samples=400, chain_steps=None, starts=8),
    "full": Effort(200_000, 30_000, 500, judged=1000, observations=5, samples=2000, chain_steps=None, starts=16),
}
_ONE_ELEMENT = (14,)
_THRUSTS = (0.5, 0.6, 0.7, 0.8)
_REACHED = 0.995
_SCREENED = 0.01


def _hii_regions(effort: Effort) -> dict[str, Values]:
    found = study(hii_regions(), effort)
    older = max(float((youngest_age(each) - each[:, 3]).max()) for each in found.samples)
    return {
        HII: {
            **found.values,
            "correlation": correlation(found.samples[..., :2]),
            "reference_correlation": correlation(found.references[..., :2]),
            "oldest_is_oldest": older <= 0,
        }
    }


def _exoplanets(effort: Effort) -> dict[str, Values]:
    found = study(exoplanets(), effort, plotted=(1, 3))
    water = (found.samples[..., 3].mean(1) - found.references[..., 3].mean(1)).abs().mean()
    return {EXOPLANETS: {**found.values, "water": float(water)}}


def _segment(effort: Effort) -> dict[str, Values]:
    problem = replace(exoplanets(compressible=False, star=False), reference=sample_segments)
    found = study(problem, effort, plotted=(1, 3))
    values = found.values
    for name, samples in (("", found.samples), ("reference_", found.references)):
        distances, misses = [], []
        for layers, y in zip(samples[..., 1:], found.observations, strict=True):
            share, miss = segment_share(layers, *y.exp().tolist())
            distances.append(float(kstest(share.double().numpy(), "uniform").statistic))
            misses.append(float(miss.square().mean().sqrt()))
        values[f"{name}distance"] = sum(distances) / len(distances)
        values[f"{name}miss"] = sum(misses) / len(misses)
    return {SEGMENT: values}


def _cosmic_rays(effort: Effort) -> dict[str, Values]:
    return {COSMIC_RAYS: study(cosmic_rays(), effort, summary=_histogram_network()).values}


def _one_element(effort: Effort) -> dict[str, Values]:
    def exact(y: Tensor, n: int, generator: Generator | None) -> Tensor:
        return grid_posterior(y, _ONE_ELEMENT[0]).sample(n, generator)

    problem = cosmic_rays(_ONE_ELEMENT)
    chains = references(problem, effort)
    on_grid = replace(problem, reference=exact)
    found = study(on_grid, effort, summary=_histogram_network())
    shift, spread = differences(chains[2], found.references)
    return {NITROGEN: {**found.values, "chains_shift": shift, "chains_spread": spread}}


def _histogram_network() -> nn.Module:
    return nn.Sequential(nn.Linear(51, 64), nn.ReLU(), nn.Linear(64, 24))


def _asteroids(effort: Effort) -> dict[str, Values]:
    problem = asteroids()
    known = references(problem, effort)
    rows: dict[str, Values] = {}
    for name, method in ((ASTEROIDS, "cinn"), (ASTEROIDS_INN, "inn")):
        found = study(problem, effort, method=method, known=known, plotted=(1, 2))
        along, across = _core(found.samples)
        exact_along, exact_across = _core(found.references)
        rows[name] = {
            **found.values,
            "along": along,
            "across": across,
            "reference_along": exact_along,
            "reference_across": exact_across,
        }
    return rows


def _core(samples: Tensor) -> tuple[float, float]:
    """Return the mean deviation along and across curves of equal (ρ_c - ρ_m) r_c³, in logarithms."""
    radius, excess = samples[..., 1].log(), (samples[..., 2] - samples[..., 0]).clamp_min(1e-3).log()
    along, across = (radius - 3 * excess) / 10**0.5, (3 * radius + excess) / 10**0.5
    return float(along.std(1).mean()), float(across.std(1).mean())


def _small_bodies(effort: Effort, folder: Path | None) -> dict[str, Values]:
    bodies = small_bodies(folder)
    order = torch.randperm(len(bodies.x), generator=Generator().manual_seed(0))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    x, y = bodies.x[train], bodies.y[train]
    posterior = AmortizedPosterior("cinn", parameters=OF_BODIES, observations=OBSERVATIONS, width=32, steps=3)
    posterior.fit(x, y, max_steps=effort.steps, progress=False)
    held_x, held_y = bodies.x[test], bodies.y[test]
    diagnosis = diagnose(posterior, (held_x, held_y), simulations=effort.judged)
    assert diagnosis.sbc is not None
    samples = posterior.sample(held_y, 100, seed=0)
    error = relation(samples, held_y[:, :1]).flatten()
    true_error = relation(held_x, held_y[:, 0])
    deviation = samples[..., 0].std(1).mean()
    linear = linear_regression_log_prob(x, y, held_x, held_y)
    tno = OBSERVATIONS.index(CLASSES[1])
    return {
        SMALL_BODIES: {
            "parameters": sum(parameter.numel() for parameter in posterior.model.parameters()),
            "bodies": len(bodies.x),
            "unmeasured": len(bodies.unmeasured),
            "nats": -float(posterior.log_prob(held_x, held_y).double().mean()),
            "linear_nats": -float(linear.mean()),
            "relation": [float(true_error.median()), float(true_error.std())],
            "sampled_relation": [float(error.median()), float(error.std())],
            "diameter_deviation": float(deviation),
            "sbc_p": diagnosis.sbc.p_value,
            "trusted": diagnosis.trusted,
            "verdict": diagnosis.verdict,
            "transneptunian": [float(bodies.y[:, tno].mean()), float(bodies.unmeasured[:, tno].mean())],
            "surprising": float((posterior.surprise(bodies.unmeasured) < 0.01).float().mean()),
            "picture": {
                "names": list(OF_BODIES),
                "truth": None,
                "posterior": samples[:250, 0].tolist(),
                "reference": held_x[:250].tolist(),
            },
        }
    }


def _rotor_section(effort: Effort) -> dict[str, Values]:
    indices = screen(rotor_section()).max(0).values
    kept = tuple(name for name, index in zip(PARAMETERS, indices.tolist(), strict=True) if index > _SCREENED)
    problem = rotor_section(kept)
    found = study(problem, effort)
    assert problem.support is not None
    shifts, spreads = [], []
    for samples, y in zip(found.samples, found.observations, strict=True):
        mean, covariance = linearized(problem, y)
        u, _ = problem.support.to_real(samples)
        deviation = covariance.diag().sqrt()
        shifts.append(float(((u.mean(0) - mean).abs() / deviation).mean()))
        spreads.append(float((u.std(0) / deviation).log().abs().mean()))
    return {
        ROTOR: {
            **found.values,
            "dropped": [name for name in PARAMETERS if name not in kept],
            "correlation": correlation(found.samples[..., :2].log()),
            "reference_correlation": correlation(found.references[..., :2].log()),
            "linear_shift": sum(shifts) / len(shifts),
            "linear_spread": sum(spreads) / len(spreads),
        }
    }


def _turbine(effort: Effort) -> dict[str, Values]:
    problem = turbine()
    found = study(problem, effort, plotted=(1, 7))
    x, y = problem.simulate(effort.simulations, seed=1)
    calls: dict[str, list[int | None]] = {"prior": [], "posterior": []}
    largest, best_powers = 0.0, []
    for thrust in _THRUSTS:
        near = y[(y[:, 1] - thrust).abs() < 0.05]
        asked = torch.tensor([float(near[:, 0].quantile(0.99)), thrust])
        starts = {"prior": x[: effort.starts], "posterior": found.posterior.sample(asked, effort.starts, seed=0)}
        others = x[-max(2, effort.starts // 2) :]
        best = max(optimize(design.tolist(), thrust, 1.0).power for design in others)
        best_powers.append(best)
        for name, designs in starts.items():
            for design in designs:
                run = optimize(design.tolist(), thrust, _REACHED * best)
                calls[name].append(run.calls)
                largest = max(largest, run.largest)
    return {TURBINE: {**found.values, "calls": calls, "largest": largest, "betz": BETZ, "best": best_powers}}


_LINES: dict[tuple[str, ...], Callable[[Effort], Mapping[str, Values]]] = {
    (HII,): _hii_regions,
    (EXOPLANETS,): _exoplanets,
    (SEGMENT,): _segment,
    (COSMIC_RAYS,): _cosmic_rays,
    (NITROGEN,): _one_element,
    (ASTEROIDS, ASTEROIDS_INN): _asteroids,
    (ROTOR,): _rotor_section,
    (TURBINE,): _turbine,
}


def _tasks(settings: Settings) -> list[Task]:
    effort = EFFORTS[settings.budget]
    of_row: Values = asdict(effort)
    tasks = [Task(PART, dict.fromkeys(names, of_row), partial(measure, effort)) for names, measure in _LINES.items()]
    if settings.budget != "smoke":  # which needs no data
        folder = settings.data_dir or (Path(found) if (found := os.environ.get("INVERSEFLOW_DATA")) else None)
        tasks.append(Task(PART, {SMALL_BODIES: of_row}, partial(_small_bodies, effort, folder)))
    return tasks


EXPERIMENTS = (
    Experiment(
        name="science",
        title="Inverse problems of astronomy and wind energy",
        about="""
Six simulators of published studies of invertible networks: emission lines of H II regions, interiors of exoplanets,
sources of cosmic rays, interiors of asteroids, cross-sections of rotor blades, and blades of turbines. Each is our
reconstruction of a thinly published system, and its data are simulated; coefficients and noise are our own, so that no
number can be compared with a published one. Only the small bodies of the solar system are real. A posterior learns
from simulations, and is compared with samples of our own Metropolis–Hastings sampler, of an exact formula or of a grid.
""",
        tasks=_tasks,
        parts=parts,
        draw=draw,
    ),
)
