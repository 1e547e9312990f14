"""What is left of a training run: measurements, pictures and the exported model."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverseflow.data import ImageSplits
from inverseflow.flows import Flow
from inverseflow.training.evaluation import Evaluation, baseline_bits, evaluate
from inverseflow.training.loop.metrics import read_metrics
from inverseflow.training.options import TrainOptions
from inverseflow.training.report.pictures import save_curves, save_grid, save_reconstructions
from inverseflow.training.run import Run
from inverseflow.utils.files import atomic_folder, write_json
from inverseflow.utils.seeding import seeded

_PICTURED = 100
_RECONSTRUCTED = 64
_BASELINE_IMAGES = 50_000


@dataclass(frozen=True)
class TrainingSummary:
    """What the training itself has to say."""

    steps: int
    """Steps made."""
    best_step: int
    """Step of the best validation, whose weights are exported."""
    val_bits_per_dim: float
    """The best validation."""
    seconds: float
    """Time in training, validation included, over all processes of a resumed run."""
    ms_per_step: float | None
    """Mean time of a step, validation and checkpoints left out; None if too few steps were made to tell."""


@dataclass(frozen=True)
class Report:
    """The content of report.json."""

    title: str
    """The data, as one would name it in a table."""
    test_bits_per_dim: float
    """Upper bound on the bits per dimension of the discrete test images."""
    test_bits_per_dim_stderr: float
    """Its standard error over the images."""
    baselines: dict[str, float]
    """Bits per dimension of the baselines on the same images, by name."""
    val_bits_per_dim: float
    """The best validation during training."""
    max_reconstruction_error: int
    """In grey levels, after rounding."""
    parameters: int
    """Trained numbers in the flow."""
    train_seconds: float
    """Time in training, validation included."""
    ms_per_step: float | None
    """Mean time of a training step."""
    sample_ms_per_100: float
    """Time to draw 100 images."""
    steps: int
    """Training steps."""
    best_step: int
    """The step that the exported weights are from."""
    seed: int
    """The seed of the run."""
    model: dict[str, Any]
    """The options of the flow."""
    evaluation: Evaluation
    """All that was measured on the test images."""
    device: str
    """Where it was measured."""
    versions: dict[str, str]
    """Of Python and the packages that matter."""


def finish(
    run: Run, options: TrainOptions, data: ImageSplits, flow: Flow, training: TrainingSummary, device: torch.device
) -> Report:
    """Exports the flow, draws the pictures, measures on the test images, and writes report.json.

    Args:
        run: Where to.
        options: The settings of the run.
        data: The images.
        flow: The trained flow.
        training: What the training itself has to say.
        device: Where to measure.
    """
    with atomic_folder(run.model) as temporary:
        flow.save_pretrained(temporary)
    flow = flow.to(device).eval()
    draw_samples(run, flow, data.levels, seed=options.seed)
    measured = evaluate(flow, data.test, draws=options.evaluation_draws, seed=options.seed)
    with seeded(0, "reconstruction"):
        reconstruct(run.reconstructions, flow, data.test.__getitems__(range(min(_RECONSTRUCTED, len(data.test)))), data)

    compared = dict(_baselines(data))
    save_curves(run.curves, read_metrics(run.metrics), compared, f"{data.title}, {options.model.name}")

    report = Report(
        title=data.title,
        test_bits_per_dim=measured.bits_per_dim,
        test_bits_per_dim_stderr=measured.bits_per_dim_stderr,
        baselines=compared,
        val_bits_per_dim=training.val_bits_per_dim,
        max_reconstruction_error=measured.max_reconstruction_error,
        parameters=sum(parameter.numel() for parameter in flow.parameters()),
        train_seconds=training.seconds,
        ms_per_step=training.ms_per_step,
        sample_ms_per_100=measured.sample_ms_per_100,
        steps=training.steps,
        best_step=training.best_step,
        seed=options.seed,
        model=asdict(options.model),
        evaluation=measured,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        versions=versions(),
    )
    write_json(run.report, asdict(report))
    return report


@lru_cache(maxsize=1)  # several runs on the same images have the same baselines
def _baselines(data: ImageSplits) -> dict[str, float]:
    train = data.train if len(data.train) <= _BASELINE_IMAGES else data.train.select(range(_BASELINE_IMAGES))
    return baseline_bits(train.tensor(), data.test.tensor(), data.levels)


def draw_samples(run: Run, flow: Flow, levels: int, seed: int) -> None:
    """Writes samples.png."""
    with torch.inference_mode(), seeded(seed, "samples"):
        images = flow.sample(_PICTURED)
    save_grid(run.samples, images, levels)


def reconstruct(path: Path, flow: Flow, originals: Tensor, data: ImageSplits) -> int:
    """Draws images beside what comes back through the latent, and returns the largest difference in grey levels.

    Args:
        path: Where to.
        flow: The trained flow.
        originals: Grey levels, (N, C, H, W).
        data: What the images are from.
    """
    with torch.inference_mode():
        back = flow.decode(flow.encode(originals.to(next(flow.parameters()).device))).cpu()
    save_reconstructions(path, originals, back, data.levels, f"{data.title}: through the latent and back")
    return int((originals.int() - back.int()).abs().max())


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a measurement may depend on."""
    found = {"python": platform.python_version()}
    for name in ("inverseflow", "torch", "lightning", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def closing_lines(report: Report, run: Run) -> str:
    """What is printed at the end: a few lines."""
    bits, error = report.test_bits_per_dim, report.test_bits_per_dim_stderr
    deviation = report.evaluation.bits_per_dim_draw_std
    between = "" if deviation is None else f", {deviation:.4f} between draws"
    lines = [f"{report.title}: {bits:.3f} ± {error:.3f} bits/dim on {report.evaluation.images} test images{between}"]
    for name, value in report.baselines.items():
        verdict = "below" if bits < value else "NOT below"
        lines.append(f"  {verdict} the baseline {name.replace('_', ' ')}, {value:.3f}")
    step = "" if report.ms_per_step is None else f", {report.ms_per_step:.0f} ms/step"
    lines += [
        f"  {report.steps} steps in {report.train_seconds:.0f} s{step}, {report.parameters:,} parameters",
        f"  reconstruction error {report.max_reconstruction_error} grey levels, "
        f"100 samples in {report.sample_ms_per_100:.0f} ms",
        f"  pictures, report.json and the model are in {run.path}",
    ]
    return "\n".join(lines)
