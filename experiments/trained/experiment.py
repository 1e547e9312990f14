"""A table of trained flows as an experiment."""

from __future__ import annotations

from functools import partial

from experiments.experiment import Experiment
from experiments.trained.plot import draw
from experiments.trained.report import parts
from experiments.trained.table import TrainedTable
from experiments.trained.tasks import tasks


def trained_experiment(table: TrainedTable) -> Experiment:
    """Return the experiment that measures a table.

    Args:
        table: the definition.
    """
    return Experiment(
        name=table.name,
        title=table.title,
        about=table.about,
        tasks=partial(tasks, table),
        parts=partial(parts, table),
        draw=draw,
        seeds={"smoke": 1, "quick": table.quick_seeds, "full": table.full_seeds},
    )
