"""Definition of an experiment, and how it runs: row by row, each saved as soon as it is measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from matplotlib.figure import Figure

from benchmarks.machine import Machine, machine
from benchmarks.plotting import save_figure
from experiments.result import Result, Row, Values, read_result
from inverseflow.errors import InverseFlowError, OptionError, RunError, TrainingInterrupted
from inverseflow.utils.files import write_json, write_text

Budget = Literal["smoke", "quick", "full"]

BUDGETS: tuple[Budget, ...] = get_args(Budget)

_ELSEWHERE = "choose another folder with --out, or measure again with --overwrite"
_CHANGES = ("peak_gflops",)  # differs between measurements on one machine


@dataclass(frozen=True)
class Settings:
    """Choices of the user who runs an experiment."""

    budget: Budget
    """Duration: seconds, at most about 15 minutes on two cores, or the paper's 100 epochs on a GPU."""
    out: Path
    """Folder for results, with training runs below it."""
    seeds: int | None = None
    """Number of seeds, None for the default of the budget."""
    data_dir: Path | None = None
    """Folder of the data sets, as for training."""
    device: str = "cpu"
    """Device: ``"cpu"`` or ``"cuda"``."""
    overwrite: bool = False
    """Whether to measure existing rows again."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What to measure, by the names that the registry gives an experiment, such as "methods"; all of the budget if
    left out."""

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise OptionError(f"there is no budget {self.budget!r}; there are {', '.join(BUDGETS)}")
        if self.seeds is not None and self.seeds < 1:
            raise OptionError(f"seeds must be at least 1, got {self.seeds}")


@dataclass(frozen=True)
class Task:
    """One measurement, of one line or of several lines that take turns."""

    part: str
    """Name of the measurement, such as "speed"."""
    settings: dict[str, Values]
    """All settings that it depends on, by line."""
    measure: Callable[[], Mapping[str, Values]]
    """Runs the measurement and returns values by line."""

    @property
    def name(self) -> str:
        """Name for progress bar and errors."""
        lines = list(self.settings)
        return f"{lines[0] if len(lines) == 1 else f'{len(lines)} rows'}, {self.part}"


@dataclass(frozen=True)
class Experiment:
    """One table or figure."""

    name: str
    """Name on the command line."""
    title: str
    """Heading of its section on the page."""
    about: str
    """Description of the measurement, in Markdown."""
    tasks: Callable[[Settings], list[Task]]
    """Returns the measurements, in order."""
    parts: Callable[[Result], list[str]]
    """Returns the result as Markdown: tables and sentences."""
    draw: Callable[[Result], Figure]
    """Plots the result."""
    seeds: Mapping[Budget, int] = field(default_factory=lambda: dict.fromkeys(BUDGETS, 1))
    """Number of seeds for each budget, if the experiment trains."""

    def with_seeds(self, settings: Settings) -> Settings:
        """Return the settings with a number of seeds."""
        return settings if settings.seeds is not None else replace(settings, seeds=self.seeds[settings.budget])


def run(
    experiment: Experiment,
    settings: Settings,
    on_task: Callable[[Task, int, int], None] = lambda task, number, count: None,
) -> Result:
    """Run an experiment, or its missing measurements, and write NAME.json, NAME.md and NAME.png.

    Each measurement is saved as soon as it is complete. A later call with the same settings on the same machine
    continues after the last one.

    Args:
        experiment: the experiment.
        settings: the choices of the user.
        on_task: called before each measurement with its number, starting at 0, and the number of measurements.

    Raises:
        InverseFlowError: if a row diverged, or its inverse did not converge; the message names the row.
        TrainingInterrupted: if the user asked to stop.
        DataError: if the data are missing; the message names the folder.
        RunError: if an existing result does not belong to these settings, and overwriting was not requested.
    """
    settings = experiment.with_seeds(settings)
    seeds = settings.seeds
    assert seeds is not None
    path = settings.out / f"{experiment.name}.json"
    here = machine(torch.device(settings.device))
    tasks = [
        replace(task, settings=json.loads(json.dumps(task.settings)))  # as they are read back from JSON
        for task in experiment.tasks(settings)
    ]
    rows = {} if settings.overwrite else _previous(path, tasks, settings, here)
    names = [(name, task.part) for task in tasks for name in task.settings]

    def result(complete: bool) -> Result:
        there = tuple(rows[name] for name in names if name in rows)
        return Result(experiment.name, settings.budget, seeds, here, complete, there)

    for number, task in enumerate(tasks):
        found = [rows.get((name, task.part)) for name in task.settings]
        if any(row is None or row.settings != task.settings[row.name] for row in found):
            with _interruption_explained(task, path, settings):
                write_json(path, result(False).to_json())
                on_task(task, number, len(tasks))
                rows |= {(row.name, row.part): row for row in _measured(experiment, task)}
    finished = result(True)
    write_json(path, finished.to_json())
    write_text(path.with_suffix(".md"), markdown(experiment, finished))
    save_figure(path.with_suffix(".png"), experiment.draw(finished))
    return finished


def markdown(experiment: Experiment, result: Result) -> str:
    """Return a result as a separate page."""
    return "\n\n".join([f"# {experiment.title}", experiment.about.strip(), *experiment.parts(result)]) + "\n"


@contextmanager
def _interruption_explained(task: Task, path: Path, settings: Settings) -> Iterator[None]:
    try:
        yield
    except (TrainingInterrupted, KeyboardInterrupt):
        same = "the same command without --overwrite" if settings.overwrite else "the same command"
        raise TrainingInterrupted(
            f"stopped in {task.name}; finished measurements are in {path}; {same} continues from there"
        ) from None


def _measured(experiment: Experiment, task: Task) -> list[Row]:
    try:
        values = task.measure()
    except TrainingInterrupted:
        raise
    except InverseFlowError as error:
        error.args = (f"{experiment.name}: {task.name}: {error}", *error.args[1:])
        raise
    return [Row(name, task.part, task.settings[name], dict(values[name])) for name in task.settings]


def _previous(path: Path, tasks: list[Task], settings: Settings, here: Machine) -> dict[tuple[str, str], Row]:
    """Return the rows of an earlier call by line and part, and refuse a file that holds other rows."""
    if not path.exists():
        return {}
    previous = read_result(path)
    if previous.budget != settings.budget:
        raise RunError(f"{path} has the budget {previous.budget}, not {settings.budget}; {_ELSEWHERE}")
    theirs, ours = _fixed(previous.machine), _fixed(here)
    if theirs != ours:
        which = sorted(fact for fact in theirs | ours if theirs.get(fact) != ours.get(fact))
        changed = ", ".join(f"{fact} {theirs.get(fact)}, here {ours.get(fact)}" for fact in which)
        raise RunError(f"{path} was measured elsewhere ({changed}); {_ELSEWHERE}")
    wanted = {(name, task.part) for task in tasks for name in task.settings}
    rows = {(row.name, row.part): row for row in previous.rows}
    others = sorted({", ".join(name) for name in rows.keys() - wanted})
    if others:
        raise RunError(
            f"{path} holds rows that this command does not measure: {'; '.join(others[:3])}"
            f"{f' and {len(others) - 3} more' if len(others) > 3 else ''}; request them too (--seeds), or {_ELSEWHERE}"
        )
    return rows


def _fixed(facts: Machine) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in _CHANGES}
