"""python -m benchmarks."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import Parser, execute
from inverseflow.errors import OptionError
from inverseflow.utils.device import find_device

_EXAMPLES = """examples:
  python -m benchmarks op
  python -m benchmarks op --budget sweeps -o op-sweeps.json
  python -m benchmarks axes -o axes.json
  python -m benchmarks model -o model.json
  python -m benchmarks densities -o densities.json
  python -m benchmarks page"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments; those of the process if None.
    """
    return execute(_parser(), argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m benchmarks",
        description="Time this library on this machine, side by side in one process, as ratios.",
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, summary, budgets in (
        ("op", _op, "time the inverse convolution by every method against conv2d", ("smoke", "default", "sweeps")),
        ("axes", _axes, "time layers of sequences and volumes against conv1d and conv3d", ("smoke", "default")),
        ("model", _model, "time whole flows of equal architecture", ("smoke", "default")),
        (
            "densities",
            _densities,
            "train and time flows of vectors, beside zuko, nflows and normflows",
            ("smoke", "default"),
        ),
    ):
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.add_argument(
            "--budget",
            choices=budgets,
            default="default",
            help="smoke takes seconds, default a few minutes"
            + (", sweeps varies one size at a time instead of a grid of shapes" if "sweeps" in budgets else ""),
        )
        command.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
        command.add_argument(
            "-o",
            "--output",
            type=Path,
            metavar="FILE",
            help="a JSON file for machine, versions, shapes, medians and quartiles",
        )
        command.set_defaults(run=run)
    page = commands.add_parser(
        "page",
        help="write docs/performance.md from committed measurements",
        description="Write docs/performance.md and its plots from committed measurements. Measures nothing.",
    )
    page.add_argument("--results", type=Path, default=Path("docs/results"), metavar="DIR", help="default %(default)s")
    page.add_argument(
        "-o", "--output", type=Path, default=Path("docs/performance.md"), metavar="FILE", help="default %(default)s"
    )
    page.set_defaults(run=_page)
    return parser


def _op(options: Namespace) -> None:
    from tqdm import tqdm

    from benchmarks import OP_BUDGETS, bench_op
    from benchmarks.tables import op_report
    from inverseflow.utils.files import write_json

    device = _checked(options)
    with tqdm(total=OP_BUDGETS[options.budget].cases, unit="case", leave=False, disable=None) as progress:

        def show(name: str) -> None:
            progress.set_postfix_str(name)
            progress.update()

        benchmark = bench_op(options.budget, device, lambda case: show(case.name))
    print(op_report(benchmark))
    if options.output is not None:
        write_json(options.output, benchmark.to_json())


def _axes(options: Namespace) -> None:
    from benchmarks import bench_axes
    from benchmarks.axes import axes_table
    from inverseflow.utils.files import write_json

    benchmark = bench_axes(options.budget, _checked(options))
    print(axes_table(benchmark))
    if options.output is not None:
        write_json(options.output, benchmark.to_json())


def _model(options: Namespace) -> None:
    from benchmarks import bench_model
    from benchmarks.tables import model_report
    from inverseflow.utils.files import write_json

    device = _checked(options)
    benchmark = bench_model(options.budget, device, lambda architecture: print(architecture.name, "..."))
    print(model_report(benchmark))
    if options.output is not None:
        write_json(options.output, benchmark.to_json())


def _densities(options: Namespace) -> None:
    from benchmarks import bench_densities
    from benchmarks.density_tables import density_report
    from inverseflow.utils.files import write_json

    device = _checked(options)
    benchmark = bench_densities(options.budget, device, lambda part: print(part, "..."))
    print(density_report(benchmark))
    if options.output is not None:
        write_json(options.output, benchmark.to_json())


def _page(options: Namespace) -> None:
    from benchmarks.page import write_page

    write_page(options.results, options.output)


def _checked(options: Namespace) -> str:
    """Check device and output before measuring, and return the device."""
    output = options.output
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise OptionError(f"--output {output} is not a file in an existing folder")
    return str(find_device(options.device))


if __name__ == "__main__":
    sys.exit(main())
