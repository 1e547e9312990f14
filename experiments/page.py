"""The page about all experiments, computed from committed results and nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.page import describe_machine, describe_versions
from benchmarks.plotting import save_figure
from experiments.registry import REGISTRY, experiment_named
from experiments.result import Result, read_result
from inverseflow.errors import OptionError
from inverseflow.utils.files import write_text

_BUDGETS = {
    "quick": "The `quick` budget: at most about 15 minutes on two cores",
    "full": "The `full` budget: the paper's number of epochs, or as long as a preset says",
}
_HEAD = """# Experiments

Every table and figure of the Inverse-Flow paper, and some studies of our own, each as one command.
`python -m experiments page` computes every number and verdict on this page from the JSON files in
[results/experiments](results/experiments), and a test checks that page and files agree. To measure again, for example:

```
python -m experiments table4 --budget quick --data-dir DIR
cp runs/experiments/quick/table4.json docs/results/experiments/quick/
python -m experiments page
```

Differences from the publication and their reasons are in [differences.md](differences.md)."""

Results = dict[str, dict[str, Result]]
"""By budget, by name."""


def read_results(folder: Path) -> Results:
    """Read ``BUDGET/NAME.json`` of every finished experiment.

    Args:
        folder: of the results.

    Raises:
        OptionError: if a result has another budget than its folder, or is not complete.
    """
    found: Results = {budget: {} for budget in _BUDGETS}
    for budget, results in found.items():
        for name in REGISTRY:
            path = folder / budget / f"{name}.json"
            if not path.exists():
                continue
            result = read_result(path)
            if result.budget != budget:
                raise OptionError(
                    f"{path} holds a result with the budget {result.budget}; "
                    f"run python -m experiments {name} --budget {budget}, or remove it"
                )
            if not result.complete:
                raise OptionError(f"{path} is not complete; run python -m experiments {name} to its end")
            results[name] = result
    return found


def page(results: Results, assets: str = "assets") -> str:
    """Return the page in Markdown.

    Args:
        results: by budget, by name.
        assets: folder of the plots, relative to the page.
    """
    parts = [_HEAD]
    for name in REGISTRY:
        measured = {budget: of_budget[name] for budget, of_budget in results.items() if name in of_budget}
        if not measured:
            continue
        experiment = experiment_named(name)
        parts += [f"## {experiment.title}", f"`python -m experiments {name}`", experiment.about.strip()]
        for budget, result in measured.items():
            parts += [f"{_BUDGETS[budget]}, {_where(result.machine)}.", *experiment.parts(result)]
            parts.append(f"![{experiment.title}]({assets}/experiment-{name}-{budget}.png)")
    missing = [f"`{name}`" for name in REGISTRY if not any(name in of_budget for of_budget in results.values())]
    if missing:
        parts += ["## Not measured yet", f"{', '.join(missing)}."]
    if not any(result.machine["device"] != "cpu" for of_budget in results.values() for result in of_budget.values()):
        parts += ["## On a GPU", "No experiment has been run on a GPU yet."]
    return "\n\n".join(parts) + "\n"


def write_page(folder: Path, path: Path) -> None:
    """Write the page and, into ``assets`` next to it, its plots.

    Args:
        folder: of the results.
        path: of the page.

    Raises:
        OptionError: if the folder holds no results.
    """
    results = read_results(folder)
    if not any(results.values()):
        raise OptionError(
            f"there are no results in {folder}/quick or {folder}/full; "
            f"python -m experiments NAME --out {folder}/quick makes some"
        )
    for budget, of_budget in results.items():
        for name, result in of_budget.items():
            figure = experiment_named(name).draw(result)
            save_figure(path.parent / "assets" / f"experiment-{name}-{budget}.png", figure)
    write_text(path, page(results))


def _where(machine: Machine) -> str:
    return f"{describe_machine(machine)}; {describe_versions(machine)}"
