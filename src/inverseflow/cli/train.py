"""inverseflow train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from inverseflow.cli.command import Command
from inverseflow.cli.parser import Parser, Value, option_words
from inverseflow.errors import OptionError, UsageError
from inverseflow.training.options import TrainOptions
from inverseflow.training.presets import load_preset, preset_names
from inverseflow.training.run import Run


def train(options: TrainOptions) -> None:
    """Train a flow on images and write everything about the run into a folder.

    The settings start from the preset of the data, or from --preset NAME. Each --config FILE changes them, and the
    other options change them last. The value null turns an option off that may be left out.

    The run folder receives config.yaml, metrics.csv, TensorBoard events, checkpoints, the trained model, samples.png,
    reconstructions.png, curves.png and report.json. Ctrl-C saves the run, prints the command that continues it, and
    ends with exit code 130.

    Examples:
      inverseflow train digits
      inverseflow train mnist --data-dir DIR --out runs/mnist --max-steps 3000 --batch-size 100
      inverseflow train mnist --model finc --out runs/finc
      inverseflow train mnist --model.steps 8 --optimizer.learning-rate 5e-4 --optimizer.ema 0.999
      inverseflow train mnist --out runs/mnist --resume
      inverseflow train cifar10 --accelerator gpu --devices 4 --strategy ddp --precision bf16-mixed
      inverseflow train mnist --help       (shows the defaults for mnist)

    Args:
        options: the settings.
    """
    from inverseflow.training.report import closing_lines
    from inverseflow.training.trainer import train

    report = train(options)
    if report is not None:
        print(closing_lines(report, Run(options.out or "")))


def _parse(prog: str, description: str, argv: list[str]) -> dict[str, Any]:
    parser = Parser(prog, description, preset=lambda given: _flat(load_preset(_preset_name(given))) if given else {})
    parser.add_signature(TrainOptions)
    names = ", ".join(preset_names())
    parser.add_argument("--preset", metavar="NAME", help=f"Named settings: {names}. By default the preset of DATA.")
    about_config = "A YAML file of settings. May be given several times."
    parser.add_argument("--config", metavar="FILE", type=Value(Path), action="append", help=about_config)
    parser.add_argument("--print-config", action="store_true", help="Print the settings as YAML and do nothing else.")
    parser.add_help_and_debug()

    given = parser.parse(argv)
    preset = _preset_name(given)
    own = {name: value for name, value in given.items() if name not in ("preset", "config", "print_config", "debug")}
    out = own.setdefault("out", Path("runs") / preset)
    settings = _run_settings(Run(out)) if own.get("resume") and Run(out).exists else load_preset(preset)
    for file in given.get("config", []):
        settings = _merged(settings, _file_settings(prog, file))
    options = TrainOptions.from_mapping(_merged(settings, own))
    if given.get("print_config"):
        print(yaml.safe_dump(options.to_mapping(), sort_keys=False, allow_unicode=True), end="")
        raise SystemExit(0)
    return {"options": options}


def _preset_name(given: Mapping[str, Any]) -> str:
    name: str = given.get("preset") or given["data"]
    return name


def _run_settings(run: Run) -> dict[str, Any]:
    run.options()  # raises if config.yaml holds no settings of a run
    return run.settings()


def _file_settings(prog: str, path: Path) -> dict[str, Any]:
    """Read the settings in a YAML file. The command line names the data, so `data` in the file is ignored."""
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise OptionError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise OptionError(f"{path} holds no settings; write one NAME: VALUE on each line")
    parser = Parser(prog)
    parser.add_signature(TrainOptions)
    data = str(content.pop("data", "digits"))
    try:
        settings = parser.parse([data, *option_words(content)])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    del settings["data"]
    return settings


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for name, value in changes.items():
        merged[name] = _merged(merged.get(name, {}), value) if isinstance(value, Mapping) else value
    return merged


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


COMMAND = Command(train, parse=_parse)
