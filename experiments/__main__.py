"""python -m experiments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from inverseflow.cli.command import Command
from inverseflow.cli.main import run_command

Name = Literal[
    "page",
    "bijectivity",
    "speedup",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "table8",
    "table9",
    "table10",
    "figure1",
    "arma",
    "scalability",
    "deblurring",
    "classifier",
]


def experiment(
    name: Name,
    budget: Literal["smoke", "quick", "full"] = "quick",
    out: Path | None = None,
    seeds: int | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    results: Path = Path("docs/results/experiments"),
) -> None:
    """Run one of the paper's tables or figures, or one of our own; or write the pages about them.

    Each writes NAME.json, NAME.md and NAME.png, measurement by measurement: the same command goes on where an earlier
    one was stopped. "page" measures nothing: it writes docs/differences.md, on what differs from the publications, and
    from committed results docs/experiments.md with its pictures. Without results it writes the former and fails.

    Examples:
      python -m experiments bijectivity
      python -m experiments table4 --budget quick --data-dir DIR
      python -m experiments page

    Args:
        name: Which experiment; or page.
        budget: smoke takes seconds, quick at most about 15 minutes on two cores, full the paper's 100 epochs.
        out: The folder for results and training runs; of page, the page in place of docs/experiments.md; the other
            goes beside it. By default runs/experiments/BUDGET.
        seeds: How many seeds to train with. By default as many as the budget has.
        data_dir: The folder that holds the data sets. By default $INVERSEFLOW_DATA.
        device: Where: cpu or cuda.
        overwrite: Measure again what is there already.
        results: The folder that page reads quick/NAME.json and full/NAME.json from.
    """
    from tqdm import tqdm

    from experiments import Settings, experiment_named, run
    from experiments.experiment import Task, markdown
    from inverseflow.utils.device import find_device

    if name == "page":
        from experiments.page import write_page

        write_page(results, Path("docs/experiments.md") if out is None else out)
        return
    chosen = experiment_named(name)
    device = str(find_device(device))
    folder = Path("runs/experiments") / budget if out is None else out
    settings = Settings(budget, folder, seeds, data_dir, device, overwrite)
    with tqdm(unit="measurement", leave=False) as progress:

        def show(task: Task, number: int, count: int) -> None:
            _show(progress, task.name, number, count)

        result = run(chosen, settings, show)
    print(markdown(chosen, result))


def _show(progress: Any, name: str, number: int, count: int) -> None:
    progress.total, progress.n = count, number
    progress.set_postfix_str(name)


COMMAND = Command(experiment, short={"out": "o"}, prog="python -m experiments")

if __name__ == "__main__":
    sys.exit(run_command(COMMAND))
