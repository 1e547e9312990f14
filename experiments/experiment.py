"""What an experiment is, and how one is run: row by row, each kept as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from matplotlib.figure import Figure

from benchmarks.plotting import save_figure
from experiments.result import Result, Row, Values, read_result
from inverseflow.errors import InverseFlowError, OptionError, RunError, TrainingInterrupted
from inverseflow.utils.files import write_json, write_text
from inverseflow.utils.machine import Machine, machine

Budget = Literal["smoke", "quick", "full"]

BUDGETS: tuple[Budget, ...] = get_args(Budget)

_ELSEWHERE = "write elsewhere with --out, or measure it anew with --overwrite"
_CHANGES = ("peak_gflops",)  # from one measurement of a machine to the next


@dataclass(frozen=True)
class Settings:
    """What whoever runs an experiment decides."""

    budget: Budget
    """How long it may take: seconds, at most about 15 minutes on two cores, or the paper's 100 epochs on a GPU."""
    out: Path
    """The folder of results and, below it, of training runs."""
    seeds: int | None = None
    """Number of seeds, None for that of the budget."""
    data_dir: Path | None = None
    """The folder of the data sets, as for training."""
    device: str = "cpu"
    """Where: ``"cpu"`` or ``"cuda"``."""
    overwrite: bool = False
    """Whether to measure rows again that are there already."""

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise OptionError(f"there is no budget {self.budget!r}; there are {', '.join(BUDGETS)}")
        if self.seeds is not None and self.seeds < 1:
            raise OptionError(f"seeds must be at least 1, got {self.seeds}")


@dataclass(frozen=True)
class Task:
    """One measurement: of one line, or of several that have to be measured in turn."""

    part: str
    """What is measured."""
    settings: dict[str, Values]
    """Everything it depends on, by line."""
    measure: Callable[[], Mapping[str, Values]]
    """Measures: values by line."""

    @property
    def name(self) -> str:
        """For a progress bar and for errors."""
        lines = list(self.settings)
        return f"{lines[0] if len(lines) == 1 else f'{len(lines)} rows'}, {self.part}"


@dataclass(frozen=True)
class Experiment:
    """One table or figure, as a command."""

    name: str
    """What the command line calls it."""
    title: str
    """Above its section of the page."""
    about: str
    """What is measured and how, in Markdown."""
    tasks: Callable[[Settings], list[Task]]
    """What there is to measure, in order."""
    parts: Callable[[Result], list[str]]
    """The result as Markdown: tables and sentences."""
    draw: Callable[[Result], Figure]
    """The result as a plot."""
    seeds: Mapping[Budget, int] = field(default_factory=lambda: dict.fromkeys(BUDGETS, 1))
    """Number of seeds of each budget, where training is involved."""

    def with_seeds(self, settings: Settings) -> Settings:
        """Return the settings with their number of seeds."""
        return settings if settings.seeds is not None else replace(settings, seeds=self.seeds[settings.budget])


def run(
    experiment: Experiment,
    settings: Settings,
    on_task: Callable[[Task, int, int], None] = lambda task, number, count: None,
) -> Result:
    """Run an experiment, or what is missing of it, and write NAME.json, NAME.md and NAME.png into its folder.

    Each measurement is written as soon as it is there, and stands until another takes its place. A later call with the
    same settings on the same machine goes on after the last one.

    Args:
        experiment: which.
        settings: how.
        on_task: called before each measurement with its number, from 0, and how many there are.

    Raises:
        InverseFlowError: a row diverged, or its inverse did not converge; the message names the row.
        TrainingInterrupted: somebody asked to stop.
        DataError: the data are not there; the message names the folder.
        RunError: there is a result that this call would not go on with, and it is not to be overwritten.
    """
    settings = experiment.with_seeds(settings)
    seeds = settings.seeds
    assert seeds is not None
    path = settings.out / f"{experiment.name}.json"
    here = machine(torch.device(settings.device))
    tasks = [
        replace(task, settings=json.loads(json.dumps(task.settings)))  # as they will be read back
        for task in experiment.tasks(settings)
    ]
    rows = {} if settings.overwrite else _former(path, tasks, settings, here)
    names = [(name, task.part) for task in tasks for name in task.settings]

    def result(complete: bool) -> Result:
        there = tuple(rows[name] for name in names if name in rows)
        return Result(experiment.name, settings.budget, seeds, here, complete, there)

    for number, task in enumerate(tasks):
        found = [rows.get((name, task.part)) for name in task.settings]
        if any(row is None or row.settings != task.settings[row.name] for row in found):
            write_json(path, result(False).to_json())
            on_task(task, number, len(tasks))
            rows |= {(row.name, row.part): row for row in _measured(experiment, task, path, settings)}
    whole = result(True)
    write_json(path, whole.to_json())
    write_text(path.with_suffix(".md"), markdown(experiment, whole))
    save_figure(path.with_suffix(".png"), experiment.draw(whole))
    return whole


def markdown(experiment: Experiment, result: Result) -> str:
    """Return a result as a page of its own."""
    return "\n\n".join([f"# {experiment.title}", experiment.about.strip(), *experiment.parts(result)]) + "\n"


def _measured(experiment: Experiment, task: Task, path: Path, settings: Settings) -> list[Row]:
    try:
        values = task.measure()
    except (TrainingInterrupted, KeyboardInterrupt):
        same = "the same command without --overwrite" if settings.overwrite else "the same command"
        raise TrainingInterrupted(
            f"stopped in {task.name}; what is finished is in {path}; {same} goes on from there"
        ) from None
    except InverseFlowError as error:
        error.args = (f"{experiment.name}: {task.name}: {error}", *error.args[1:])
        raise
    return [Row(name, task.part, task.settings[name], dict(values[name])) for name in task.settings]


def _former(path: Path, tasks: list[Task], settings: Settings, here: Machine) -> dict[tuple[str, str], Row]:
    """Rows of an earlier call, by line and part; refused if this one would not keep them all."""
    if not path.exists():
        return {}
    former = read_result(path)
    if former.budget != settings.budget:
        raise RunError(f"{path} is of the budget {former.budget}, not {settings.budget}; {_ELSEWHERE}")
    theirs, ours = _fixed(former.machine), _fixed(here)
    if theirs != ours:
        which = sorted(fact for fact in theirs | ours if theirs.get(fact) != ours.get(fact))
        changed = ", ".join(f"{fact} {theirs.get(fact)}, here {ours.get(fact)}" for fact in which)
        raise RunError(f"{path} was measured elsewhere ({changed}); {_ELSEWHERE}")
    wanted = {(name, task.part) for task in tasks for name in task.settings}
    rows = {(row.name, row.part): row for row in former.rows}
    others = sorted({", ".join(name) for name in rows.keys() - wanted})
    if others:
        raise RunError(
            f"{path} holds what this command does not measure: {'; '.join(others[:3])}"
            f"{f' and {len(others) - 3} more' if len(others) > 3 else ''}; ask for them too (--seeds), or {_ELSEWHERE}"
        )
    return rows


def _fixed(facts: Machine) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in _CHANGES}
