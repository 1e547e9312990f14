"""python -m experiments."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import Parser, execute
from experiments.experiment import BUDGETS, Settings, Task, markdown, run
from experiments.registry import REGISTRY, experiment_named
from inverseflow.utils.arguments import listed
from inverseflow.utils.device import find_device

_DESCRIPTION = """Measure one of the paper's tables or figures, or one of our own studies.

Writes NAME.json, NAME.md and NAME.png, one measurement after the other. After an
interruption the same command continues where it was stopped.

names:
"""
_PAGE = "write docs/experiments.md from committed results"
_EXAMPLES = """examples:
  python -m experiments bijectivity
  python -m experiments table4 --budget quick --data-dir DIR
  python -m experiments page

python -m experiments NAME --help lists the options."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments; those of the process if None.
    """
    return execute(_parser(), argv)


def _parser() -> Parser:
    summaries = {name: entry.summary for name, entry in REGISTRY.items()} | {"page": _PAGE}
    listed = "\n".join(f"  {name:<18}{summary}" for name, summary in summaries.items())
    parser = Parser(prog="python -m experiments", description=_DESCRIPTION + listed, epilog=_EXAMPLES)
    names = parser.add_subparsers(metavar="NAME", required=True, help="one of the names above")
    for name, entry in REGISTRY.items():
        command = names.add_parser(name, description=entry.summary)
        command.add_argument(
            "--budget",
            choices=BUDGETS,
            default="quick",
            help="smoke takes seconds, quick (the default) at most about 15 minutes on two cores, full trains for the "
            "paper's 100 epochs",
        )
        command.add_argument(
            "-o",
            "--out",
            type=Path,
            metavar="DIR",
            help="folder for results and training runs, default runs/experiments/BUDGET",
        )
        command.add_argument("--seeds", type=int, metavar="N", help="number of seeds to train with, default by budget")
        command.add_argument(
            "--data-dir", type=Path, metavar="DIR", help="folder of the data sets, default $INVERSEFLOW_DATA"
        )
        for choice in entry.choices:
            command.add_argument(f"--{choice}", metavar="A,B", help=f"{choice} to measure, default by budget")
        command.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
        command.add_argument("--overwrite", action="store_true", help="measure again what has been measured")
        command.set_defaults(run=_run, name=name)
    page = names.add_parser(
        "page",
        description="Write docs/experiments.md and its plots from committed results. Measures nothing.",
    )
    page.add_argument(
        "--results",
        type=Path,
        default=Path("docs/results/experiments"),
        metavar="DIR",
        help="folder of quick/NAME.json and full/NAME.json, default %(default)s",
    )
    page.add_argument(
        "-o", "--output", type=Path, default=Path("docs/experiments.md"), metavar="FILE", help="default %(default)s"
    )
    page.set_defaults(run=_page)
    return parser


def _run(options: Namespace) -> None:
    from tqdm import tqdm

    device = str(find_device(options.device))
    experiment = experiment_named(options.name)
    out = Path("runs/experiments") / options.budget if options.out is None else options.out
    chosen = {name: getattr(options, name) for name in REGISTRY[options.name].choices}
    only = {name: tuple(listed(text)) for name, text in chosen.items() if text is not None}
    settings = Settings(options.budget, out, options.seeds, options.data_dir, device, options.overwrite, only)
    with tqdm(unit="measurement", leave=False, disable=None) as progress:

        def show(task: Task, number: int, count: int) -> None:
            progress.total, progress.n = count, number
            progress.set_postfix_str(task.name)

        result = run(experiment, settings, show)
    print(markdown(experiment, result))


def _page(options: Namespace) -> None:
    from experiments.page import write_page

    write_page(options.results, options.output)


if __name__ == "__main__":
    sys.exit(main())
