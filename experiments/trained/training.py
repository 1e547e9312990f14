"""Train one flow of a table and measure it on test images."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from experiments.result import Values
from experiments.units import nats_per_image
from inverseflow.data import ImageSplits, load_images
from inverseflow.errors import RunError
from inverseflow.flows import Flow
from inverseflow.training.options import TrainOptions
from inverseflow.training.run import Run
from inverseflow.training.trainer import train


def train_line(options: TrainOptions, test_images: int | None) -> Values:
    """Train one line as `inverseflow train` does, and measure it on test images.

    Args:
        options: training options with the run folder.
        test_images: number of test images, None for all.

    Raises:
        RunError: if the flow costs more bits than uniform noise.
        NonFiniteError: if the loss or the gradient is not finite.
    """
    data = images(options.data, options.data_dir, test_images)
    report = train(options, data)
    assert report is not None
    bits = report.value
    learned = options.max_steps > options.optimizer.warmup_steps + 2
    if not math.isfinite(bits) or (learned and bits > math.log2(data.levels)):
        raise RunError(
            f"diverged: {bits:.2f} bits/dim after {report.steps} steps, where uniform noise costs "
            f"{math.log2(data.levels):.2f}"
        )
    return {
        "title": report.title,
        "bits_per_dim": bits,
        "bits_per_dim_stderr": report.stderr,
        "nats_per_image": nats_per_image(bits, data.event_shape),
        "test_images": report.evaluation.examples,
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
    """Return the trained flow of a line, and train it again if its run folder is missing.

    Args:
        options: training options with the run folder.
        test_images: as for `train_line`.
    """
    assert options.out is not None
    run = Run(options.out)
    if not run.model.exists():
        train_line(options, test_images)
    return Flow.from_pretrained(run.model)


def fixed(options: TrainOptions) -> Values:
    """Return the settings that determine the result of a training."""
    mapping = options.to_mapping()
    return {name: value for name, value in mapping.items() if name not in ("data_dir", "quiet")}


@lru_cache(maxsize=1)
def images(name: str, data_dir: Path | None, test_images: int | None) -> ImageSplits:
    """Return a data set with its first test images. The last requested one is cached.

    Args:
        name: as for `load_images`.
        data_dir: as for `load_images`.
        test_images: number of test images, None for all.
    """
    data = load_images(name, data_dir=data_dir)
    if test_images is None or test_images >= len(data.test):
        return data
    return replace(data, test=data.test.select(range(test_images)))
