"""python -m benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from inverseflow.cli.command import Command
from inverseflow.cli.main import run_command
from inverseflow.errors import OptionError


def bench(
    what: Literal["op", "model", "page"],
    budget: Literal["smoke", "default", "sweeps"] = "default",
    device: str = "cpu",
    output: Path | None = None,
    results: Path = Path("docs/results"),
) -> None:
    """Time this library on this machine, side by side in one process, as ratios.

    "op" times the inverse convolution by every method beside the ordinary convolution of the same shape. "model" times
    whole flows of equal architecture. "page" measures nothing: it writes docs/performance.md and its pictures from the
    results of the other two.

    Examples:
      python -m benchmarks op
      python -m benchmarks op --budget sweeps -o op-sweeps.json
      python -m benchmarks model -o model.json
      python -m benchmarks page

    Args:
        what: What to time, op or model; or page.
        budget: smoke takes seconds, default a few minutes; sweeps, of op, goes along each axis instead of a grid.
        device: Where: cpu or cuda.
        output: A JSON file for machine, versions, shapes, medians and quartiles (none by default); of page, the page.
        results: The folder that page reads op-cpu.json, op-sweeps-cpu.json and model-cpu.json from.
    """
    from inverseflow.utils.device import find_device

    if what == "page":
        from benchmarks.page import write_page

        write_page(results, Path("docs/performance.md") if output is None else output)
        return
    device = str(find_device(device))
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise OptionError(f"--output {output} is not a file in a folder that is there; name one")
    if what == "op":
        _op(budget, device, output)
    else:
        _model(budget, device, output)


def _op(budget: str, device: str, output: Path | None) -> None:
    from tqdm import tqdm

    from benchmarks import BUDGETS, bench_op
    from benchmarks.tables import op_report
    from inverseflow.utils.files import write_json

    with tqdm(total=BUDGETS[budget].cases, unit="case", leave=False) as progress:
        benchmark = bench_op(budget, device, lambda case: _show(progress, case.name))
    print(op_report(benchmark))
    if output is not None:
        write_json(output, benchmark.to_json())


def _model(budget: str, device: str, output: Path | None) -> None:
    from tqdm import tqdm

    from benchmarks import MODEL_BUDGETS, bench_model
    from benchmarks.tables import model_report
    from inverseflow.utils.files import write_json

    if budget not in MODEL_BUDGETS:
        raise OptionError(f"bench model has no budget {budget!r}: choose one of {', '.join(MODEL_BUDGETS)}")
    with tqdm(total=len(MODEL_BUDGETS[budget][0]), leave=False) as progress:
        benchmark = bench_model(budget, device, lambda architecture: _show(progress, architecture.name))
    print(model_report(benchmark))
    if output is not None:
        write_json(output, benchmark.to_json())


def _show(progress: Any, name: str) -> None:
    progress.set_postfix_str(name)
    progress.update()


COMMAND = Command(bench, short={"output": "o"}, prog="python -m benchmarks")

if __name__ == "__main__":
    sys.exit(run_command(COMMAND))
