"""Results of a training run: measurements, pictures and the exported model."""

import platform
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverseflow import densities
from inverseflow.data import Batch, Examples, LabelCondition, Splits
from inverseflow.data.audio import to_pcm
from inverseflow.data.looks import in_table_units
from inverseflow.densities import BITS_PER_DIM, BITS_PER_SAMPLE, Density
from inverseflow.distributions import StandardNormal
from inverseflow.errors import LayerError
from inverseflow.flows import Flow
from inverseflow.training.audio_baselines import audio_baseline_bits
from inverseflow.training.baselines import baseline_bits, baseline_nats
from inverseflow.training.evaluation import evaluate
from inverseflow.training.options import TrainOptions
from inverseflow.training.report.card import model_card
from inverseflow.training.report.measured import Report
from inverseflow.training.report.pages import write_run_page
from inverseflow.training.report.pictures import (
    save_curves,
    save_grid,
    save_pit,
    save_points,
    save_reconstructions,
    save_spectrograms,
)
from inverseflow.training.run import Run
from inverseflow.training.run.folder import read_metrics
from inverseflow.training.words import IN_WORDS, counted
from inverseflow.utils.files import atomic_folder, write_json, write_text
from inverseflow.utils.seeding import seeded

_PICTURED = 100
_ROW = 10  # samples of a class
_MOST_ROWS = 50
_POINTS, _PIT = 2000, 10_000
_SPECTROGRAMS = 4
_RECONSTRUCTED = 64
_BASELINE_EXAMPLES = 50_000
_NOUNS = {BITS_PER_DIM.unit: "image", BITS_PER_SAMPLE.unit: "segment"}
_PACKAGES = ("inverseflow", "torch", "lightning", "numpy")


@dataclass(frozen=True)
class Training:
    """What a training came to."""

    steps: int
    """Training steps."""
    best_step: int
    """Training step of the exported weights."""
    best_value: float
    """Objective in the best validation."""
    stopped_early: bool
    """Whether the patience ended the training."""
    seconds: float
    """Time in training, validation included."""


def finish(
    run: Run, options: TrainOptions, data: Splits[Any], density: Density, training: Training, device: torch.device
) -> Report:
    """Measure the density, draw the pictures, export the density, and write report.json and report.html."""
    density = density.to(device).eval()
    split, examples = ("test", data.test) if len(data.test) else ("validation", data.validation)
    measured = evaluate(density, examples, draws=options.evaluation_draws, seed=options.seed)
    problems = [f"the inverse is not exact: {measured.round_trip}"] if measured.changed_examples else []
    problems += _draw(run, density, data, options.seed)
    baselines, missing = _baselines(data.train, examples, data.levels, data.sampling_rate, density.integer_columns)
    problems += missing
    rows = read_metrics(run.metrics)
    times = [row["ms_per_step"] for row in rows if "ms_per_step" in row]
    save_curves(run.curves, rows, baselines, density.metric, f"{data.title}, {_name(density)}")
    if density.config is None:
        problems.append(f"{type(density).__name__} is not registered, so the model is only in the checkpoints")
    report = Report(
        title=data.title,
        split=split,
        baselines=dict(baselines),
        best_value=training.best_value,
        max_reconstruction_error=measured.max_reconstruction_error,
        parameters=sum(parameter.numel() for parameter in density.parameters()),
        train_seconds=training.seconds,
        ms_per_step=statistics.fmean(times) if times else None,
        sample_ms_per_100=measured.sample_ms_per_100,
        steps=training.steps,
        best_step=training.best_step,
        stopped_early=training.stopped_early,
        seed=options.seed,
        model=asdict(options.model),
        evaluation=measured,
        problems=problems,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    )
    if density.config is not None:
        with atomic_folder(run.model) as temporary:
            densities.save(density, temporary)
            write_text(temporary / "README.md", model_card(report, is_flow=isinstance(density, Flow)))
    write_json(run.report, report.to_mapping())
    write_run_page(run, report)
    return report


def _name(density: Density) -> str:
    return type(density).__name__ if density.config is None else str(density.config["density"])


def _draw(run: Run, density: Density, data: Splits[Any], seed: int) -> list[str]:
    """Write samples.png, of images reconstructions.png, of vectors pit.png; return a sentence if the density fails."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pixels are not a number")  # the report says so
        try:
            if data.levels is not None and len(data.event_shape) == 3 and isinstance(density, Flow) and len(data.test):
                batch = data.test.batch(range(min(_RECONSTRUCTED, len(data.test))))
                with seeded(0, "reconstruction"):
                    reconstruct(run.reconstructions, density, batch, data)
            with torch.inference_mode(), seeded(seed, "samples"):
                draw_samples(run.samples, density, data)
            if isinstance(density, Flow) and isinstance(density.base, StandardNormal) and len(data.event_shape) == 1:
                with torch.inference_mode(), seeded(seed, "pit"):
                    _draw_pit(run.pit, density, data)
        except LayerError as error:
            return [f"no pictures can be drawn: {error}"]
    return []


def draw_samples(path: Path, density: Density, data: Splits[Any]) -> None:
    """Draw images in a grid, one class in each row if they are conditioned on labels, or what else next to the data."""
    device = next(density.parameters()).device
    if data.levels is not None and len(data.event_shape) == 3:
        context, columns = None, None
        if isinstance(data.condition, LabelCondition):
            columns, rows = _ROW, min(data.condition.size, _MOST_ROWS)
            context = data.condition.one_hot(torch.arange(rows)).repeat_interleave(columns, 0).to(device)
        number = _PICTURED if context is None else len(context)
        save_grid(path, density.sample(number, context), data.levels, columns=columns)
        return
    examples = data.test if len(data.test) else data.validation
    if data.sampling_rate is not None and data.levels is not None:
        batch = examples.batch(range(min(_SPECTROGRAMS, len(examples)))).to(device)
        shown = {"data": batch.x, "samples": density.sample(len(batch), batch.context)}
        save_spectrograms(
            path, {name: to_pcm(x[:, 0], data.levels) for name, x in shown.items()}, data.sampling_rate, data.title
        )
    elif len(data.event_shape) == 1:
        batch = examples.batch(range(min(_POINTS, len(examples)))).to(device)
        samples = density.sample(len(batch), batch.context)
        contoured = None if density.integer_columns or batch.context is not None else density
        points, drawn = (in_table_units(rows.cpu(), data.columns, data.lattices) for rows in (batch.x, samples))
        save_points(path, points, drawn, data.columns, f"{data.title}: data and samples", contoured)


def _draw_pit(path: Path, flow: Flow, data: Splits[Any]) -> None:
    """Draw the probability integral transform Φ(z) of each element of the latents of examples."""
    examples = data.test if len(data.test) else data.validation
    batch = examples.batch(range(min(_PIT, len(examples)))).to(next(flow.parameters()).device)
    x = batch.x if flow.dequantize is None else flow.dequantize(batch.x)[0]
    z, _ = flow._to_latent(x, batch.context)
    save_pit(path, torch.special.ndtr(z), f"{data.title}: probability integral transform, flat if the model is right")


@lru_cache(maxsize=1)  # several runs on the same data have the same baselines
def _baselines(
    train: Examples, test: Examples, levels: int | None, sampling_rate: int | None, whole: tuple[int, ...]
) -> tuple[Mapping[str, float], Sequence[str]]:
    """Return the baselines by name, and why one is missing."""
    if len(train) > _BASELINE_EXAMPLES:
        train = train.select(range(_BASELINE_EXAMPLES))
    if levels is None:
        return baseline_nats(train.tensor(), test.tensor(), whole), ()
    if sampling_rate is not None:
        return audio_baseline_bits(train.tensor(), test.tensor(), levels, sampling_rate)
    return baseline_bits(train.tensor(), test.tensor(), levels), ()


def reconstruct(path: Path, flow: Flow, originals: Batch, data: Splits[Any]) -> int:
    """Draw images next to their reconstructions through the latent, and return the largest difference in levels."""
    assert data.levels is not None
    batch = originals.to(next(flow.parameters()).device)
    with torch.inference_mode():
        back: Tensor = flow.decode(flow.encode(batch.x, batch.context), batch.context).cpu()
    save_reconstructions(path, originals.x, back, data.levels, f"{data.title}: through the latent and back")
    return int((originals.x.int() - back.int()).abs().max())


def closing_lines(report: Report, run: Run) -> str:
    """Return the lines that are printed at the end of a run."""
    value, error, measured = report.value, report.stderr, report.evaluation
    images = _NOUNS.get(measured.unit, "example")
    title = f"{report.title}: {value:.3f} {f'(one {images})' if error is None else f'± {error:.3f}'}"
    between = "" if measured.draw_std is None else f", {measured.draw_std:.4f} between draws"
    unit = f"{measured.unit} ({IN_WORDS[measured.likelihood]})"
    lines = [f"{title} {unit} on {counted(measured.examples, f'{report.split} {images}')}{between}"]
    if measured.nats_per_image is not None:
        lines.append(f"  {measured.nats_per_image:.2f} nats an image")
    if measured.bits_per_cell is not None:
        lines.append(f"  {measured.bits_per_cell:.3f} bits per cell of the table")
    for name, baseline in report.baselines.items():
        verdict = "below" if value < baseline else "NOT below"
        lines.append(f"  {verdict} the baseline {name.replace('_', ' ')}, {baseline:.3f}")
    step = "" if report.ms_per_step is None else f", {report.ms_per_step:.0f} ms/step"
    exact = "the inverse is NOT exact" if measured.changed_examples else measured.round_trip
    early = f" (stopped early, best step {report.best_step})" if report.stopped_early else ""
    lines += [
        f"  {report.steps} steps{early} in {report.train_seconds:.0f} s{step}, {report.parameters:,} parameters",
        f"  {exact}; sampling: {measured.sampling}",
        *(f"  WARNING: {problem}" for problem in report.problems),
        f"  report.html, report.json, pictures and the model are in {run.path}",
    ]
    return "\n".join(lines)
