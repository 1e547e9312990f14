"""Results of a training run: measurements, pictures and the exported model."""

import platform
import statistics
import warnings
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverseflow.data import ImageSplits
from inverseflow.errors import LayerError
from inverseflow.flows import Flow
from inverseflow.training.baselines import baseline_bits
from inverseflow.training.evaluation import Evaluation, evaluate
from inverseflow.training.options import TrainOptions
from inverseflow.training.report.pictures import save_curves, save_grid, save_reconstructions
from inverseflow.training.run import Run
from inverseflow.training.run.folder import read_metrics
from inverseflow.utils.files import atomic_folder, write_json
from inverseflow.utils.seeding import seeded

_PICTURED = 100
_RECONSTRUCTED = 64
_BASELINE_IMAGES = 50_000
_PACKAGES = ("inverseflow", "torch", "lightning", "numpy")


@dataclass(frozen=True)
class Report:
    """Content of report.json."""

    title: str
    """Name of the data for tables."""
    test_bits_per_dim: float
    """Upper bound on the bits per dimension of the discrete test images."""
    test_bits_per_dim_stderr: float | None
    """Its standard error over the images; None for one image."""
    baselines: dict[str, float]
    """Bits per dimension of the baselines on the same images, by name."""
    val_bits_per_dim: float
    """Bits per dimension of the best validation during training."""
    max_reconstruction_error: int | None
    """In gray levels, after rounding; None if a reconstruction is not finite."""
    parameters: int
    """Number of trained parameters of the flow."""
    train_seconds: float
    """Time in training, validation included."""
    ms_per_step: float | None
    """Mean time of a training step; None if too few steps were made."""
    sample_ms_per_100: float | None
    """Time to draw 100 images; None if sampling fails."""
    steps: int
    """Training steps."""
    best_step: int
    """Training step of the exported weights."""
    seed: int
    """Seed of the run."""
    model: dict[str, Any]
    """Options of the flow."""
    evaluation: Evaluation
    """All measurements on the test images."""
    problems: list[str]
    """Sentences about what does not work, for instance an inverse that loses the images."""
    device: str
    """Device of the measurements."""
    versions: dict[str, str]
    """Versions of Python and of the packages that matter."""


def finish(
    run: Run, options: TrainOptions, data: ImageSplits, flow: Flow, training: dict[str, Any], device: torch.device
) -> Report:
    """Measure the flow, draw the pictures, export the flow, and write report.json with `training`'s fields in it."""
    flow = flow.to(device).eval()
    measured = evaluate(flow, data.test, draws=options.evaluation_draws, seed=options.seed)
    problems = [f"the inverse is not exact: {measured.round_trip}"] if measured.changed_images else []
    problems += _draw(run, flow, data, options.seed)
    baselines = dict(_baselines(data))
    metrics = read_metrics(run.metrics)
    times = [row["ms_per_step"] for row in metrics if "ms_per_step" in row]
    save_curves(run.curves, metrics, baselines, f"{data.title}, {options.model.name}")
    with atomic_folder(run.model) as temporary:
        flow.save_pretrained(temporary)
    report = Report(
        title=data.title,
        test_bits_per_dim=measured.bits_per_dim,
        test_bits_per_dim_stderr=measured.bits_per_dim_stderr,
        baselines=baselines,
        max_reconstruction_error=measured.max_reconstruction_error,
        parameters=sum(parameter.numel() for parameter in flow.parameters()),
        sample_ms_per_100=measured.sample_ms_per_100,
        seed=options.seed,
        model=asdict(options.model),
        evaluation=measured,
        problems=problems,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        ms_per_step=statistics.fmean(times) if times else None,
        **training,
    )
    write_json(run.report, asdict(report))
    return report


def _draw(run: Run, flow: Flow, data: ImageSplits, seed: int) -> list[str]:
    """Write samples.png and reconstructions.png, and return a sentence if the flow fails."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pixels are not a number")  # the report says so
        try:
            images = data.test.__getitems__(range(min(_RECONSTRUCTED, len(data.test))))
            with seeded(0, "reconstruction"):
                reconstruct(run.reconstructions, flow, images, data)
            with torch.inference_mode(), seeded(seed, "samples"):
                save_grid(run.samples, flow.sample(_PICTURED), data.levels)
        except LayerError as error:
            return [f"no pictures can be drawn: {error}"]
    return []


@lru_cache(maxsize=1)  # several runs on the same images have the same baselines
def _baselines(data: ImageSplits) -> dict[str, float]:
    train = data.train if len(data.train) <= _BASELINE_IMAGES else data.train.select(range(_BASELINE_IMAGES))
    return baseline_bits(train.tensor(), data.test.tensor(), data.levels)


def reconstruct(path: Path, flow: Flow, originals: Tensor, data: ImageSplits) -> int:
    """Draw images next to their reconstructions through the latent, and return the largest difference in levels."""
    with torch.inference_mode():
        back = flow.decode(flow.encode(originals.to(next(flow.parameters()).device))).cpu()
    save_reconstructions(path, originals, back, data.levels, f"{data.title}: through the latent and back")
    return int((originals.int() - back.int()).abs().max())


def closing_lines(report: Report, run: Run) -> str:
    """Return the lines that are printed at the end of a run."""
    bits, measured = report.test_bits_per_dim, report.evaluation
    error = report.test_bits_per_dim_stderr
    title = f"{report.title}: {bits:.3f} {'(one image)' if error is None else f'± {error:.3f}'} bits/dim"
    images = "1 test image" if measured.images == 1 else f"{measured.images} test images"
    deviation = measured.bits_per_dim_draw_std
    between = "" if deviation is None else f", {deviation:.4f} between draws"
    lines = [f"{title} on {images}{between}"]
    for name, value in report.baselines.items():
        verdict = "below" if bits < value else "NOT below"
        lines.append(f"  {verdict} the baseline {name.replace('_', ' ')}, {value:.3f}")
    step = "" if report.ms_per_step is None else f", {report.ms_per_step:.0f} ms/step"
    sampling = "" if report.sample_ms_per_100 is None else f", 100 samples in {report.sample_ms_per_100:.0f} ms"
    exact = "the inverse is NOT exact" if measured.changed_images else measured.round_trip
    lines += [
        f"  {report.steps} steps in {report.train_seconds:.0f} s{step}, {report.parameters:,} parameters",
        f"  {exact}{sampling}",
        *(f"  WARNING: {problem}" for problem in report.problems),
        f"  pictures, report.json and the model are in {run.path}",
    ]
    return "\n".join(lines)
