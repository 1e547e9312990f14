"""The page about all experiments, made of committed results and nothing else, and the one about differences."""

from __future__ import annotations

from pathlib import Path

from experiments.differences import differences_page
from experiments.registry import EXPERIMENTS
from experiments.result import Result, read_result
from inverseflow.errors import OptionError
from inverseflow.utils.files import atomic_write, write_text

_BUDGETS = {
    "quick": "The `quick` budget: at most about 15 minutes on two cores",
    "full": "The `full` budget: the paper's number of epochs",
}
_HEAD = """# Experiments

Every table and figure of the Inverse-Flow paper, and some of our own, each as one command. Every figure and verdict on
this page is computed from the JSON files in [results/experiments](results/experiments) by
`inverseflow experiment page`; a test compares the two. To measure anew, for instance:

```
inverseflow experiment table4 --budget quick --data-dir DIR
cp runs/experiments/quick/table4.json docs/results/experiments/quick/
inverseflow experiment page
```

What differs from the publication, and why, is in [differences.md](differences.md)."""

Results = dict[str, dict[str, Result]]
"""By budget, by name."""


def read_results(folder: Path) -> Results:
    """Read ``BUDGET/NAME.json`` of every experiment that has come to its end.

    Args:
        folder: of the results.

    Raises:
        OptionError: a result is of another budget than its folder, or not complete.
    """
    found: Results = {budget: {} for budget in _BUDGETS}
    for budget, results in found.items():
        for name in EXPERIMENTS:
            path = folder / budget / f"{name}.json"
            if not path.exists():
                continue
            result = read_result(path)
            if result.budget != budget:
                raise OptionError(
                    f"{path} holds a result of the budget {result.budget}; "
                    f"run inverseflow experiment {name} --budget {budget}, or remove it"
                )
            if not result.complete:
                raise OptionError(f"{path} is not complete; run inverseflow experiment {name} to its end")
            results[name] = result
    return found


def page(results: Results, assets: str = "assets") -> str:
    """Return the page in Markdown.

    Args:
        results: by budget, by name.
        assets: folder of the pictures, relative to the page.
    """
    parts = [_HEAD]
    for name, experiment in EXPERIMENTS.items():
        measured = {budget: of_budget[name] for budget, of_budget in results.items() if name in of_budget}
        if not measured:
            continue
        parts += [f"## {experiment.title}", f"`inverseflow experiment {name}`", experiment.about.strip()]
        for budget, result in measured.items():
            parts += [f"{_BUDGETS[budget]}, {_machine(result)}.", *experiment.parts(result)]
            parts.append(f"![{experiment.title}]({assets}/experiment-{name}-{budget}.png)")
    missing = [f"`{name}`" for name in EXPERIMENTS if not any(name in of_budget for of_budget in results.values())]
    if missing:
        parts += ["## Not measured yet", f"{', '.join(missing)}."]
    if not results["full"]:
        parts += ["## On a GPU", "The `full` budget was never run: there are no results of it."]
    return "\n\n".join(parts) + "\n"


def write_page(folder: Path, path: Path) -> None:
    """Write ``differences.md`` beside the page, then the page and, into ``assets`` beside it, its pictures.

    Args:
        folder: of the results.
        path: of the page.

    Raises:
        OptionError: the folder holds no results; then ``differences.md``, which needs none, is written all the same.
    """
    differences = path.parent / "differences.md"
    write_text(differences, differences_page())
    results = read_results(folder)
    if not any(results.values()):
        raise OptionError(
            f"wrote {differences} but not {path}: no results in {folder}/quick or {folder}/full; "
            f"inverseflow experiment NAME --out {folder}/quick makes some"
        )
    for budget, of_budget in results.items():
        for name, result in of_budget.items():
            with atomic_write(path.parent / "assets" / f"experiment-{name}-{budget}.png") as temporary:
                EXPERIMENTS[name].draw(temporary, result)
    write_text(path, page(results))


def _machine(result: Result) -> str:
    machine = result.machine
    threads = f"{machine['threads']} thread" + ("s" if machine["threads"] != 1 else "")
    on = f"{machine['processor']}, {machine['cores']} cores, {threads} used"
    if machine["device"] != "cpu":
        on = f"{machine['device']} beside {on}"
    return f"on {on}; inverseflow {machine['inverseflow']}, torch {machine['torch']}, Python {machine['python']}"
