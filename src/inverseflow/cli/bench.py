"""inverseflow bench."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from inverseflow.cli.parser import Command
from inverseflow.errors import OptionError


def bench(
    what: Literal["op"],
    budget: Literal["smoke", "default"] = "default",
    device: str = "cpu",
    output: Path | None = None,
) -> None:
    """Time this library on this machine, side by side in one process, as ratios.

    "op" times the inverse convolution by every method beside the ordinary convolution of the same shape.

    Examples:
      inverseflow bench op
      inverseflow bench op --budget smoke -o op.json

    Args:
        what: What to time: op.
        budget: smoke takes seconds, default a few minutes.
        device: Where: cpu or cuda.
        output: A JSON file for machine, versions, shapes, medians and quartiles; none by default.
    """
    import json

    import torch
    from tqdm import tqdm

    from inverseflow.benchmarks import BUDGETS, bench_op
    from inverseflow.training.files import written_aside

    if device != "cpu" and not torch.cuda.is_available():
        raise OptionError(f"device {device!r} is not here; inverseflow doctor lists what is")
    with tqdm(total=len(BUDGETS[budget][0]), unit="case", leave=False) as progress:

        def show(case: object) -> None:
            progress.set_postfix_str(str(getattr(case, "name", "")))
            progress.update()

        benchmark = bench_op(budget, device, show)
    print(benchmark.to_markdown())
    if output is not None:
        with written_aside(output) as aside:
            aside.write_text(json.dumps(benchmark.to_json(), indent=1) + "\n")


COMMAND = Command(bench, short={"output": "o"})
