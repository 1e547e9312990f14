"""The matched comparison of all methods of inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.inverse_benchmark.measuring import (
    EXACT,
    NEAREST,
    PRIOR,
    Effort,
    measure_method,
    measure_solver,
)
from experiments.inverse_benchmark.report import draw, part_of, parts
from experiments.result import Values
from inverseflow.inference import method_names
from inverseflow.inference.methods import method_entry

PROBLEMS = ("kinematics", "ballistics")

_SMOKE = Effort(simulations=300, steps=2, weights=4_000, observations=3, samples=50, judged=100, nearest=10_000)
_QUICK = Effort(
    simulations=50_000,
    steps=600,
    weights=60_000,
    observations=50,
    samples=1_000,
    judged=500,
    nearest=1_000_000,
)
EFFORTS: dict[Budget, Effort] = {
    "smoke": _SMOKE,
    "quick": _QUICK,
    "full": replace(_QUICK, simulations=100_000, steps=20_000, observations=100, judged=1_000),
}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    effort, tasks = EFFORTS[settings.budget], []
    for problem in PROBLEMS:
        for seed in range(settings.seeds):
            common = {**asdict(effort), "problem": problem, "seed": seed}
            for method in method_names():
                own = {**common, "training": asdict(method_entry(method).training)}
                measure = partial(_named, method, measure_method, problem, effort, seed)
                tasks.append(Task(part_of(problem, seed), {method: own}, measure))
            for name in (EXACT, NEAREST, PRIOR) if seed == 0 else ():
                measure = partial(_named, name, measure_solver, problem, effort, seed)
                tasks.append(Task(part_of(problem, seed), {name: common}, measure))
    return tasks


def _named(name: str, measure: Callable[..., Values], *arguments: object) -> dict[str, Values]:
    return {name: measure(name, *arguments)}


EXPERIMENTS = (
    Experiment(
        name="inverse-benchmark",
        title="Methods of inference",
        about="""
Every method learns the posteriors of two problems, a robot arm on a rail and a thrown ball
([Kruse et al. 2021](https://arxiv.org/abs/2101.10763)), from the same simulations, with the same number of training
steps and, within ten percent, of weights. Batch size and learning rate are its own. Both problems have an exact
sampler, so that samples are compared with exact ones by the squared maximum mean discrepancy, with parameters in units
of the prior. Both are without noise. An exact posterior therefore lies on a surface and has no density in all four
parameters, and −log p(x | y) is no measure of quality there: a narrower model can always have less.""",
        tasks=_tasks,
        parts=parts,
        draw=draw,
        seeds={"smoke": 1, "quick": 1, "full": 3},
    ),
)
