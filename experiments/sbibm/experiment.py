"""Posteriors of the ten published tasks, compared with reference samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Values
from experiments.sbibm.contenders import SBI, check_method, train
from experiments.sbibm.published import TASKS, observations_and_references
from experiments.sbibm.report import draw, parts
from inverseflow.errors import OptionError
from inverseflow.inference.diagnostics import c2st
from inverseflow.inference.problems import create
from inverseflow.utils.arguments import whole_number

_ABOUT = f"""
Each method is trained with its defaults on simulations of a task, which is amortized: one network for all observations.
For each of the published observations, as many samples as there are reference samples are drawn, and a classifier tries
to tell both apart. C2ST is its accuracy, 0.5 if the posteriors are equal, 1 at worst, in the benchmark's own definition
(scikit-learn's classifier, five folds). The ten tasks are written anew here in torch, and the reference samples are the
published ones. Observables that are constant in all simulations are left out.

`--tasks`, `--simulations` and `--methods` choose the rows. `{"` and `".join(SBI)}` are the neural posterior estimation
of the package sbi with its default network and with splines of zuko, in the same process on the same simulations; they
need `inverseflow[interop]`.
"""


@dataclass(frozen=True)
class Size:
    """Amount of everything."""

    tasks: tuple[str, ...]
    simulations: tuple[int, ...]
    methods: tuple[str, ...]
    observations: int
    """How many of the ten observations are compared."""
    samples: int
    """Number of samples of each posterior."""
    max_steps: int | None = None
    """Training steps, None for the default of a method."""


SIZES: dict[Budget, Size] = {
    "smoke": Size(("two-moons", "gaussian-linear"), (300,), ("maf",), 1, 100, 20),
    "quick": Size(
        ("gaussian-linear", "slcp", "bernoulli-glm", "gaussian-mixture", "two-moons"),
        (1000, 10_000),
        ("nsf",),
        3,
        10_000,
    ),
    "full": Size(tuple(TASKS), (1000, 10_000), ("nsf", "maf", "cinn"), 10, 10_000),
}


def measure(
    task: str, simulations: int, method: str, size: Size, seed: int, data_dir: Path | None
) -> dict[str, float | int | list[float] | None]:
    """Train one method on one task, and compare its posteriors with the reference samples.

    Args:
        task: name of the problem.
        simulations: number of pairs to train on.
        method: name of the contender.
        size: number of observations and samples.
        seed: of simulations and training.
        data_dir: folder that holds ``sbibm/``.
    """
    observations, references = observations_and_references(task, data_dir)
    problem = create(task)
    x, y = problem.simulate(simulations, seed=seed)
    informative = y.std(0) > 0  # on the first day of sir, hardly anybody is ill
    trained = train(method, problem, x, y[:, informative], seed=seed, max_steps=size.max_steps)
    accuracies = [
        c2st(reference[: size.samples], trained.sample(observation[informative], size.samples))
        for observation, reference in zip(observations[: size.observations], references, strict=False)
    ]
    return {
        "c2st": accuracies,
        "seconds": trained.seconds,
        "steps": trained.steps,
        "parameters": trained.parameters,
    }


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    names = settings.only.get("tasks", size.tasks)
    methods = settings.only.get("methods", size.methods)
    counts = settings.only.get("simulations", size.simulations)
    if unknown := [name for name in names if name not in TASKS]:
        raise OptionError(f"there is no task {unknown[0]!r}; there are {', '.join(TASKS)}")
    for method in methods:
        check_method(method)
    if settings.device != "cpu":
        raise OptionError(f"posteriors are trained on the CPU, not on {settings.device}; leave --device out")
    assert settings.seeds is not None
    tasks = []
    for name in names:
        for count in counts:
            for method in methods:
                row = f"{name}, {method}"
                number = _count(count)
                for seed in range(settings.seeds):
                    chosen: Values = {
                        "task": name,
                        "method": method,
                        "simulations": number,
                        "seed": seed,
                        "observations": size.observations,
                        "samples": size.samples,
                        "max_steps": size.max_steps,
                    }
                    run = partial(_row, row, name, number, method, size, seed, settings.data_dir)
                    tasks.append(Task(f"{number} simulations, seed {seed}", {row: chosen}, run))
    return tasks


def _count(value: int | str) -> int:
    try:
        return whole_number("simulations", int(value), at_least=100)
    except ValueError as error:
        raise OptionError(f"--simulations takes whole numbers of at least 100, got {value!r}") from error


def _row(row: str, *arguments: object) -> Mapping[str, Values]:
    return {row: measure(*arguments)}  # type: ignore[arg-type]


EXPERIMENTS = (
    Experiment(
        name="sbibm",
        title="Posteriors beside the benchmark of simulation-based inference",
        about=_ABOUT,
        tasks=_tasks,
        parts=parts,
        draw=draw,
        seeds={"smoke": 1, "quick": 1, "full": 3},
    ),
)
