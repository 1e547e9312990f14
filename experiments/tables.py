"""The paper's tables of trained flows: all rows with one coupling, one budget, one order of the images."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.figure import Figure

from benchmarks.axes import one_two_five
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.published import NOTES, Published
from experiments.result import Result, Values
from experiments.speed import EFFORTS, measure_speed, reconstruction_errors
from experiments.units import bits_per_dim, nats_per_image
from inverseflow.data import ImageSplits, load_images
from inverseflow.errors import RunError
from inverseflow.flows import Flow
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
from inverseflow.training.run import Run
from inverseflow.training.trainer import train
from inverseflow.utils.markdown import table
from inverseflow.utils.seeding import seeded

SPEED = "speed"
SAMPLES = "samples"
_SEED = "seed "
_SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@dataclass(frozen=True)
class Line:
    """One flow of a table."""

    name: str
    """As it is printed."""
    model: Mapping[str, Any]
    """What sets it apart from the others: fields of `ModelOptions`."""
    published: Published | None = None
    """What the paper prints for it, None for a line of ours."""


@dataclass(frozen=True)
class TrainedTable:
    """A table of flows that are trained and measured alike."""

    name: str
    title: str
    about: str
    data: Literal["mnist", "cifar10"]
    model: Mapping[str, Any]
    """What all lines share: fields of `ModelOptions`."""
    lines: tuple[Line, ...]
    quick_steps: int
    """Training steps of the quick budget."""
    quick_batch: int = 100
    """Images in a step of the quick budget."""
    quick_learning_rate: float = 2e-3
    """Learning rate of the quick budget after its warm-up."""
    quick_test_images: int = 2000
    """Test images of the quick budget."""
    quick_validation_images: int = 500
    """Validation images of the quick budget, which validates once."""
    quick_seeds: int = 1
    full_seeds: int = 1

    @property
    def experiment(self) -> Experiment:
        """The table as an experiment."""
        return Experiment(
            name=self.name,
            title=self.title,
            about=self.about,
            tasks=partial(_tasks, self),
            parts=partial(_parts, self),
            draw=partial(_draw, self),
            seeds={"smoke": 1, "quick": self.quick_seeds, "full": self.full_seeds},
        )

    def options(self, line: Line, seed: int, settings: Settings) -> TrainOptions:
        """Return how one line is trained: equal for all lines but for what `line.model` says.

        Args:
            line: which.
            seed: decides weights, images and noise.
            settings: of the experiment.
        """
        options = {"smoke": self._smoke, "quick": self._quick, "full": self._full}[settings.budget]()
        model = asdict(options.model) | dict(line.model)
        planar = model["name"] == "planar"
        model = {key: value for key, value in model.items() if not (planar and key in ("width", "conv1x1"))}
        options = replace(
            options,
            data_dir=None if options.data == "digits" else settings.data_dir,
            seed=seed,
            model=ModelOptions(**model),
            accelerator="gpu" if settings.device.startswith("cuda") else "cpu",
            devices="1",
            quiet=True,
        )
        out = settings.out / "runs" / f"{self.name}-{_slug(line.name)}-{seed}-{_digest(fixed(options))}"
        return replace(options, out=out, resume=not settings.overwrite, overwrite=settings.overwrite)

    def test_images(self, budget: Budget) -> int | None:
        """Return how many of the test images are measured, None for all."""
        return {"smoke": 32, "quick": self.quick_test_images, "full": None}[budget]

    def _smoke(self) -> TrainOptions:
        small = {"scales": min(2, int(self.model["scales"])), "steps": 1, "width": 8, "spline_bins": 4}
        return TrainOptions(
            data="digits",
            max_steps=2,
            batch_size=16,
            validation_images=32,
            initialization_images=64,
            evaluation_draws=1,
            model=ModelOptions(**{**self.model, **small}),
            optimizer=OptimizerOptions(learning_rate=1e-3, warmup_steps=1),
        )

    def _quick(self) -> TrainOptions:
        return TrainOptions(
            data=self.data,
            max_steps=self.quick_steps,
            batch_size=self.quick_batch,
            validate_every=self.quick_steps,
            validation_images=self.quick_validation_images,
            checkpoint_every=100,
            evaluation_draws=1,
            model=ModelOptions(**self.model),
            optimizer=OptimizerOptions(
                learning_rate=self.quick_learning_rate,
                schedule="cosine",
                warmup_steps=min(20, self.quick_steps // 3),
            ),
        )

    def _full(self) -> TrainOptions:
        per_epoch, fall = {"mnist": (500, 50), "cifar10": (400, 25)}[self.data]
        return TrainOptions(
            data=self.data,
            max_steps=100 * per_epoch,
            batch_size=100,
            validate_every=5 * per_epoch,
            checkpoint_every=per_epoch,
            evaluation_draws=3,
            horizontal_flip=self.data == "cifar10",
            model=ModelOptions(**{**self.model, "width": 512}),
            optimizer=OptimizerOptions(
                learning_rate=1e-3, schedule="step", step_every=fall * per_epoch, step_factor=0.1, warmup_steps=500
            ),
        )


def train_line(options: TrainOptions, test_images: int | None) -> Values:
    """Train one line as `inverseflow train` does, and return what it is worth on test images.

    Args:
        options: the settings, with the run folder.
        test_images: how many of the test images, None for all.

    Raises:
        RunError: the flow is worse than no flow at all: it costs more bits than uniform noise.
        NonFiniteError: the loss or the gradient is not finite.
    """
    data = images(options.data, options.data_dir, test_images)
    report = train(options, data)
    assert report is not None
    bits = report.test_bits_per_dim
    learned = options.max_steps > options.optimizer.warmup_steps + 2
    if not math.isfinite(bits) or (learned and bits > math.log2(data.levels)):
        raise RunError(
            f"diverged: {bits:.2f} bits/dim after {report.steps} steps, where uniform noise costs "
            f"{math.log2(data.levels):.2f}"
        )
    return {
        "title": report.title,
        "bits_per_dim": bits,
        "bits_per_dim_stderr": report.test_bits_per_dim_stderr,
        "nats_per_image": nats_per_image(bits, data.event_shape),
        "test_images": report.evaluation.images,
        "steps": report.steps,
        "batch_size": options.batch_size,
        "parameters": report.parameters,
        "ms_per_step": report.ms_per_step,
        "train_seconds": report.train_seconds,
        "max_reconstruction_error": report.max_reconstruction_error,
        "log_det_round_trip_error": report.evaluation.log_det_round_trip_error,
        "baselines": report.baselines,
    }


def trained_flow(options: TrainOptions, test_images: int | None) -> Flow:
    """Return the flow that a training left, trained again if its run folder is gone.

    Args:
        options: the settings, with the run folder.
        test_images: as for `train_line`.
    """
    run = Run(_out(options))
    if not run.model.exists():
        train_line(options, test_images)
    return Flow.from_pretrained(run.model)


def fixed(options: TrainOptions) -> Values:
    """Return the settings that decide what a training leaves, and not where it lies."""
    mapping = options.to_mapping()
    return {name: value for name, value in mapping.items() if name not in ("data_dir", "quiet")}


@lru_cache(maxsize=1)
def images(name: str, data_dir: Path | None, test_images: int | None) -> ImageSplits:
    """Return a data set with its first test images; the last one asked for is kept.

    Args:
        name: as for `load_images`.
        data_dir: as for `load_images`.
        test_images: how many test images are kept, None for all.
    """
    data = load_images(name, data_dir=data_dir)
    if test_images is None or test_images >= len(data.test):
        return data
    return replace(data, test=data.test.select(range(test_images)))


def _tasks(definition: TrainedTable, settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    test_images = definition.test_images(settings.budget)
    tasks = []
    for seed in range(settings.seeds):
        for line in definition.lines:
            options = definition.options(line, seed, settings)
            measure = partial(train_one, line.name, options, test_images)
            tasks.append(Task(f"{_SEED}{seed}", {line.name: {**fixed(options), "test_images": test_images}}, measure))
    first = {line.name: definition.options(line, 0, settings) for line in definition.lines}
    shared = {
        "effort": asdict(EFFORTS[settings.budget]),
        "beside": list(first),
        "round_trip_in": ["float32", "float64"],
    }
    tasks.append(
        Task(
            SPEED,
            {name: {**fixed(options), **shared} for name, options in first.items()},
            partial(_measure_speed, first, test_images, settings),
        )
    )
    count = EFFORTS[settings.budget].batch
    tasks.append(
        Task(
            SAMPLES,
            {name: {**fixed(options), "count": count} for name, options in first.items()},
            partial(_count_finite, first, test_images, count, settings),
        )
    )
    return tasks


def train_one(name: str, options: TrainOptions, test_images: int | None) -> dict[str, Values]:
    """Measure one line as a task does: what `train_line` returns, by the line's name."""
    return {name: train_line(options, test_images)}


def _measure_speed(
    options: Mapping[str, TrainOptions], test_images: int | None, settings: Settings
) -> dict[str, Values]:
    some = next(iter(options.values()))
    data = images(some.data, some.data_dir, test_images)
    flows = {name: trained_flow(each, test_images) for name, each in options.items()}
    effort = EFFORTS[settings.budget]
    some_images = data.test.__getitems__(range(effort.batch))
    values = measure_speed(flows, some_images, effort, settings.device)
    for name, flow in flows.items():
        errors = reconstruction_errors(flow.double().to(settings.device), some_images.to(settings.device))
        values[name]["round_trip_error_float64"] = float(errors.max())
    return values


def _count_finite(
    options: Mapping[str, TrainOptions], test_images: int | None, count: int, settings: Settings
) -> dict[str, Values]:
    flows = {name: trained_flow(each, test_images).to(settings.device) for name, each in options.items()}
    return {name: {"count": count, "finite": finite_samples(flow, count)} for name, flow in flows.items()}


@torch.no_grad()
def finite_samples(flow: Flow, count: int) -> int:
    """Draw samples, before they are rounded to grey levels, and return how many are finite.

    Args:
        flow: the flow.
        count: how many to draw.

    Example:
        >>> from inverseflow.flows import Glow
        >>> finite_samples(Glow((1, 4, 4), levels=17, scales=1, steps=1, width=4), 3)
        3
    """
    continuous = copy.deepcopy(flow).eval()
    continuous.dequantize = None
    with seeded(0, "samples"):
        return int(continuous.sample(count).isfinite().flatten(1).all(1).sum())


def _parts(definition: TrainedTable, result: Result) -> list[str]:
    printed = {line.name: line.published for line in definition.lines if line.published is not None}
    some = result.parts(result.names[0], _SEED)[0].values
    comparable = some["title"] == "MNIST"
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds, mean ± standard deviation"
    baselines = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in some["baselines"].items())
    batch = result.parts(result.names[0], SPEED)[0].settings["effort"]["batch"]
    head = ["flow", "bits/dim", *(["published"] if comparable else []), "nats/image", "ST, ms", "FT, ms", "step, ms"]
    head += ["peak, MiB", "parameters", "error", "in float64"]
    lines = [
        [
            name,
            mean_and_deviation([row.values["bits_per_dim"] for row in result.parts(name, _SEED)], 3),
            *([_published_bits(printed.get(name), definition)] if comparable else []),
            mean_and_deviation([row.values["nats_per_image"] for row in result.parts(name, _SEED)], 1),
            *_speed_cells(result.parts(name, SPEED)[0].values),
        ]
        for name in result.names
    ]
    parts = [
        f"{some['title']}: {some['steps']} steps of {some['batch_size']} images, {some['test_images']} test images, "
        f"{seeds}. In bits per dimension on the same images: {baselines}.",
        table(head, lines),
        f"ST is the time to draw {batch} samples, FT that of the log-likelihood of as many images, a step is "
        "log-likelihood, backward and Adam on as many, and peak its memory in tensors; all in turn in one process. "
        "Error is the largest of a pixel after encoding and decoding, in grey levels before rounding; "
        + _wrong(result)
        + _overflowing(result)
        + (" The marked figures (*) are unreliable: see the notes." if comparable and printed else ""),
    ]
    return parts + (_published_parts(definition, printed) if printed else [])


def _speed_cells(values: Values) -> list[str]:
    times = [milliseconds(values[what]["median"]) for what in ("sample", "forward", "training")]
    peak = f"{values['memory']['tensors'] / 2**20:.1f}"
    errors = (f"{values[what]:.0e}" for what in ("round_trip_error", "round_trip_error_float64"))
    return [*times, peak, f"{values['parameters']:,}", *errors]


def _wrong(result: Result) -> str:
    """What is left of the error after rounding, in words."""
    speed = {name: result.parts(name, SPEED)[0].values for name in result.names}
    wrong = {name: values["wrong_pixels"] for name, values in speed.items() if values["wrong_pixels"]}
    if not wrong:
        return "after rounding every pixel comes back, in every row."
    lost = ", ".join(f"{name} loses {count}" for name, count in wrong.items())
    in_float64 = max(speed[name]["round_trip_error_float64"] for name in wrong)
    told = f"after rounding NOT every pixel comes back: {lost} in all images together."
    if in_float64 < 0.5:
        told += (
            " With the same weights in float64 all do: the learned layers stretch so much that float32 is too short."
        )
    return told


def _overflowing(result: Result) -> str:
    """Which flows draw samples that are not finite, in words."""
    drawn = [row for row in result.rows if row.part == SAMPLES]
    missing = {row.name: (row.values["count"] - row.values["finite"], row.values["count"]) for row in drawn}
    lost = ", ".join(f"{name} {number} of {count}" for name, (number, count) in missing.items() if number)
    return f" NOT all samples are finite: the inverse overflows for {lost}." if lost else " All samples are finite."


def _published_bits(published: Published | None, definition: TrainedTable) -> str:
    if published is None:
        return "–"
    shape = _SHAPES[definition.data]
    mark = "*" if published.doubtful(shape) else ""
    if published.bits is None and published.nats is not None:
        return f"{bits_per_dim(published.nats, shape):.3f}{mark}"
    return f"{_or_dash(published.bits)}{mark}"


def _published_parts(definition: TrainedTable, printed: Mapping[str, Published]) -> list[str]:
    shape = _SHAPES[definition.data]
    texts: list[str] = []
    lines = []
    for name, row in printed.items():
        found = [NOTES[key] for key in row.notes]
        disagreement = row.disagreement(shape)
        found += [] if disagreement is None else [disagreement]
        texts += [text for text in found if text not in texts]
        nats = "–" if row.nats is None else f"{row.nats:g}" + ("" if row.nats_std is None else f" ± {row.nats_std:g}")
        cells = [_or_dash(row.bits), nats, *map(_or_dash, (row.sample_ms, row.forward_ms, row.parameters_m))]
        lines.append([name, *cells, ", ".join(str(texts.index(text) + 1) for text in found)])
    where = {
        "mnist": "on other hardware",
        "cifar10": "on other hardware and on the original CIFAR-10, whose bits can't stand beside those of JPEG images",
    }
    return [
        f"What the paper prints, {where[definition.data]}:",
        table(["flow", "bits/dim", "nats/image", "ST, ms", "FT, ms", "parameters, M", "notes"], lines),
        "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1)),
    ]


def _draw(definition: TrainedTable, path: Path, result: Result) -> None:
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(result.names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = result.names[::-1]
    for index, name in enumerate(names):
        bits = [row.values["bits_per_dim"] for row in result.parts(name, _SEED)]
        left.plot(bits, [index] * len(bits), "o", color="tab:blue", markersize=5)
        for what, colour in (("sample", "tab:orange"), ("forward", "tab:green"), ("training", "tab:red")):
            timing = result.value(name, SPEED, what)
            if timing is not None:
                right.plot([timing["low"], timing["high"]], [index, index], color=colour, linewidth=1)
                label = {"sample": "ST", "forward": "FT", "training": "step"}[what]
                right.plot(timing["median"], index, "o", color=colour, markersize=4, label=None if index else label)
    left.set_yticks(range(len(names)), names)
    left.set(xlabel="test bits/dim, each seed", title=result.parts(names[0], _SEED)[0].values["title"])
    right.set(xscale="log", xlabel="ms, median and quartiles")
    one_two_five(right.xaxis)
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def milliseconds(value: float) -> str:
    """Return a time with three digits, and at most three decimals.

    Example:
        >>> milliseconds(0.1234), milliseconds(12.34), milliseconds(1234.5)
        ('0.123', '12.3', '1234')
    """
    return f"{value:.{max(0, 2 - max(-1, math.floor(math.log10(max(value, 1e-6)))))}f}"


def mean_and_deviation(values: list[float], digits: int) -> str:
    """Return the mean of some seeds, with their standard deviation where there are several.

    Example:
        >>> mean_and_deviation([1.0, 3.0], 2), mean_and_deviation([1.0], 2)
        ('2.00 ± 1.41', '1.00')
    """
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _digest(settings: Values) -> str:
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=4).hexdigest()


def _out(options: TrainOptions) -> Path:
    assert options.out is not None
    return options.out
