"""inverseflow train."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, field, fields, is_dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import yaml
from cyclopts import App, Group, Parameter

from inverseflow.cli.arguments import STRICT, File
from inverseflow.errors import OptionError, UsageError
from inverseflow.training.options import DataName, ModelOptions, ToyName, TrainOptions
from inverseflow.training.presets import load_preset, preset_names
from inverseflow.training.run import Run

_PRESET_NAMES = preset_names()
_PANELS = (
    "Table options",
    "Folder options",
    "Audio options",
    "Model options",
    "Model options: flows of images",
    "Model options: flows of vectors",
    "Model options: densities without an inverse",
    "Optimizer options",
)


def train_command(argv: Sequence[str]) -> Callable[..., None]:
    """Return the command whose defaults are those of the preset, run and files that `argv` names.

    Args:
        argv: the words after `inverseflow train`. The first one names the data.

    Raises:
        OptionError: if a file holds no settings.
        RunError: if the run to be resumed has no settings.
    """
    data_is_named = bool(argv) and not argv[0].startswith("-")
    if argv and not data_is_named and argv[0] not in ("--help", "-h"):
        raise UsageError("name the data first: inverseflow train DATA [OPTIONS]")
    options = with_defaults(TrainOptions, _default_settings(argv) if data_is_named else {})

    def train(
        data: DataName,
        /,
        *,
        settings: Annotated[options, Parameter(name="*")] = options(),  # type: ignore[valid-type] # noqa: B008
        preset: Annotated[Literal[_PRESET_NAMES] | None, Parameter(show_default=False)] = None,  # type: ignore[valid-type]
        config: Annotated[tuple[File, ...], Parameter(consume_multiple=False, negative=(), show_default=False)] = (),
        print_config: Annotated[bool, Parameter(negative=())] = False,
    ) -> None:
        """Train a density on images, points, a table or audio, and write all about the run into a folder.

        The settings start from --preset NAME, or else from the preset of the data and the model (mnist-pixelcnn) or of
        the data alone. A model takes those of the preset's model options that it has. Each --config FILE changes the
        settings, and the other options change them last. The value null turns an optional setting off.

        The run folder receives config.yaml, data.json, metrics.csv, TensorBoard events, checkpoints, the trained model,
        samples.png, curves.png, report.json, and report.html, a page about the run; of a flow of images also
        reconstructions.png, of a flow of vectors pit.png: histograms of its latents, flat if the model is right. Ctrl-C
        saves the run, prints the command that continues it, and ends with exit code 130.

        Try:

            inverseflow train digits
            inverseflow train mnist --help       (shows the defaults for mnist)
            inverseflow train mnist --data-dir DIR --out runs/mnist --max-steps 3000 --batch-size 100
            inverseflow train mnist --model finc --out runs/finc
            inverseflow train mnist --model pixelcnn --out runs/pixelcnn
            inverseflow train mnist --model.steps 8 --optimizer.learning-rate 5e-4 --optimizer.ema 0.999
            inverseflow train mnist --out runs/mnist --resume
            inverseflow train mnist --condition label --out runs/labeled
            inverseflow train table --data points.csv --columns a,b --context-columns t --out runs/points
            inverseflow train two-moons
            inverseflow train audio --data recordings/ --out runs/audio
            inverseflow train cifar10 --accelerator gpu --devices 4 --strategy ddp --precision bf16-mixed

        Args:
            data: digits (8×8, comes with scikit-learn), mnist, fashion-mnist, cifar10, folder (any images), table (the
                rows of a file), audio (a folder of WAV files), or points in the plane: two-moons, pinwheel,
                eight-gaussians, swiss-roll, checkerboard, two-spirals, rings.
            settings: the settings.
            preset: named settings to start from, by default those of the data.
            config: a YAML file of settings; may be given several times.
            print_config: print the settings as YAML and do nothing else.
        """
        values = asdict(settings)
        out = values["out"] or Path("runs") / (preset or data)
        chosen = TrainOptions.from_mapping({"data": data, **values, "out": out})
        of_preset = _preset(preset, data, chosen.model.name).get("model", {})
        if chosen.model.name != of_preset.get("name", ModelOptions().name):
            from inverseflow.training.model import without_preset

            chosen = replace(chosen, model=without_preset(chosen.model, of_preset))
        if print_config:
            print(yaml.safe_dump(chosen.to_mapping(), sort_keys=False, allow_unicode=True), end="")
            return
        from inverseflow.training.report import closing_lines
        from inverseflow.training.trainer import train

        report = train(chosen)
        if report is not None:
            print(closing_lines(report, Run(chosen.out or "")))

    return train


def _default_settings(argv: Sequence[str]) -> dict[str, Any]:
    """Return the settings that the options on the command line change."""
    found: dict[str, Any] = {}

    def sources(
        data: str = "",
        /,
        *,
        preset: str | None = None,
        model: Annotated[str | None, Parameter(name=["--model", "--model.name"])] = None,
        config: Annotated[tuple[File, ...], Parameter(consume_multiple=False)] = (),
        out: File | None = None,
        resume: bool = False,
        init_from: Path | None = None,
    ) -> None:
        run = Run(out or Path("runs") / (preset or data))
        settings = _preset(preset, data, model)
        found.update(settings=settings, run=run, config=config, resume=resume, init_from=init_from)

    app = App(help_flags=(), version_flags=(), result_action="return_value", default_command=sources)
    command, bound, *_ = app.parse_known_args(argv)
    command(*bound.args, **bound.kwargs)
    run: Run = found["run"]
    settings: dict[str, Any] = found["settings"]
    if found["resume"] and run.exists:
        run.options()  # raises if config.yaml is damaged
        settings = run.settings()
    else:
        source = None if found["init_from"] is None else Run(found["init_from"])
        if source is not None and source.exists:
            settings = {**settings, "model": source.settings()["model"]}
    for file in found["config"]:
        settings = _merged(settings, _read(file))
    return settings


def _preset(preset: str | None, data: str, model: str | None) -> dict[str, Any]:
    """Return the settings of the preset, else of the one for the data and the model, else of the one for the data."""
    data = "two-moons" if data in get_args(ToyName) else data
    names = (preset,) if preset else (f"{data}-{model}", data)
    return next((load_preset(name) for name in names if name in _PRESET_NAMES), {})


def _read(path: Path) -> dict[str, Any]:
    """Read the settings in a YAML file. The command line names the data, so `data` in the file is ignored."""
    try:
        settings = yaml.load(path.read_text("utf-8"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise OptionError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise OptionError(f"{path} holds no settings; write one NAME: VALUE on each line")
    try:
        TrainOptions.from_mapping({"data": "digits", **settings})
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    return settings


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3 for a string; here it is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for name, value in changes.items():
        merged[name] = _merged(merged.get(name, {}), value) if isinstance(value, Mapping) else value
    return merged


def with_defaults(
    cls: type[Any], defaults: Mapping[str, Any], prefix: str = "", panel: str = "Parameters"
) -> type[Any]:
    """Return a keyword-only dataclass with the fields and the docstring of `cls`, all with defaults, and without data.

    Args:
        cls: a dataclass, which may hold others.
        defaults: defaults that replace those of `cls`, nested as `cls` is.
        prefix: put before the names of the options.
        panel: where the help shows the options that name no panel.
    """
    kinds = get_type_hints(cls)
    specifications: list[tuple[str, Any, Any]] = []
    for item in fields(cls):
        if item.default is MISSING and item.default_factory is MISSING:
            continue
        kind = kinds[item.name]
        if is_dataclass(kind):
            inner = f"{item.name.capitalize()} options"
            group = with_defaults(kind, defaults.get(item.name, {}), f"{item.name}.", inner)  # type: ignore[arg-type]
            specifications.append((item.name, Annotated[group, Parameter(name="*")], field(default_factory=group)))
            continue
        names = [f"--{prefix}{item.name}".replace("_", "-")]
        names += {"name": [f"--{prefix[:-1]}"], "data_dir": ["--data"]}.get(item.name, [])  # --model NAME
        negative = names[0].replace("--", "--no-") if kind is bool else ()
        own = Parameter(name=names, negative=negative, group=_panel(item.metadata.get("panel", panel)))
        option = Annotated[STRICT.get(kind, kind), own]  # type: ignore[valid-type]
        default = defaults.get(item.name, item.default)
        if kind == tuple[str, ...]:
            default = ",".join(f'"{name}"' if "," in name else name for name in default) or None
        specifications.append((item.name, option, field(default=default)))
    namespace = {"__doc__": cls.__doc__, "__module__": __name__}
    return make_dataclass(cls.__name__, specifications, namespace=namespace, frozen=True, kw_only=True)


def _panel(name: str) -> Group:
    """Return a panel of the help; those that are not listed come last."""
    if name == "Parameters":
        first: Group = Group.create_default_parameters()
        return first
    return Group(name, sort_key=_PANELS.index(name) if name in _PANELS else len(_PANELS))
