"""inverseflow train."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverseflow.cli.command import Command, UsageError
from inverseflow.training.options import TrainOptions
from inverseflow.training.presets import load_preset, preset_names
from inverseflow.training.run import Run

if TYPE_CHECKING:
    import jsonargparse

    from inverseflow.cli.parser import Parser


def train(options: TrainOptions) -> None:
    """Train a flow on images, and leave everything in a run folder.

    The settings come from the preset of the data, or from --preset NAME; --config FILE changes them, and the other
    options change them once more. The run folder gets config.yaml, metrics.csv, TensorBoard events, checkpoints, the
    trained model, samples.png, reconstructions.png, curves.png and report.json. Ctrl-C saves, says how to go on, and
    ends with the exit code 130.

    Examples:
      inverseflow train digits
      inverseflow train mnist --data-dir DIR --out runs/mnist --max-steps 3000 --batch-size 100
      inverseflow train mnist --model finc --out runs/finc
      inverseflow train mnist --model.steps 8 --optimizer.learning-rate 5e-4 --optimizer.ema 0.999
      inverseflow train mnist --out runs/mnist --resume
      inverseflow train cifar10 --accelerator gpu --devices 4 --strategy ddp --precision bf16-mixed

    Args:
        options: The settings.
    """
    from inverseflow.training.report import closing_lines
    from inverseflow.training.trainer import train

    report = train(options)
    if report is not None:
        print(closing_lines(report, Run(_out(options))))


def _parse(parser: Parser, argv: list[str]) -> dict[str, Any]:
    parser.add_class_arguments(TrainOptions, as_positional=True)
    parser.add_argument(
        "--preset",
        type=str | None,
        default=None,
        help=f"Named settings: {', '.join(preset_names())}. By default those of DATA.",
    )
    parser.add_argument("--config", action="config", help="A YAML file of settings.")
    parser.finish({})
    argv = [re.sub(r"^--model(?==|$)", "--model.name", word) for word in argv]

    without_questions = [word for word in argv if not word.startswith(("-h", "--help", "--print"))]
    if len(without_questions) == len(argv) or argv[0] in preset_names():
        _lay_ground(parser, parser.parse(without_questions))
    parsed = parser.parse(argv)
    for group in ("model", "optimizer"):
        if not hasattr(parsed[group], "__dict__"):
            raise UsageError(f"{group} is a group of settings, not {parsed[group]!r} (see {parser.prog} --help)")
    options = parser.instantiate(parsed)
    values = {item.name: options[item.name] for item in fields(TrainOptions)}
    given = TrainOptions(**values)
    return {"options": replace(given, out=given.out or Path("runs") / (parsed.preset or given.data))}


def _lay_ground(parser: Parser, first: jsonargparse.Namespace) -> None:
    """Makes the preset, or the settings of the run that is resumed, the defaults of all options."""
    preset = first.preset or first.data
    run = Run(first.out or Path("runs") / preset)
    if first.resume and run.exists:
        run.options()  # says what is wrong with them, if anything is
        settings = run.settings()
    else:
        settings = load_preset(preset)
    parser.set_defaults(_flat({name: value for name, value in settings.items() if name != "data"}))


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _out(options: TrainOptions) -> Path:
    assert options.out is not None
    return options.out


COMMAND = Command(train, parse=_parse)
