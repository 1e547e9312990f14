"""From a run to its flow: build it, or load the trained one."""

from __future__ import annotations

from typing import Any

from inverseflow import flows
from inverseflow.data import ImageSplits, load_images
from inverseflow.errors import OptionError, RunError
from inverseflow.flows import Flow
from inverseflow.training.loop.checkpoint import load_weights, read_checkpoint
from inverseflow.training.options import ModelOptions, TrainOptions
from inverseflow.training.run import Run
from inverseflow.utils.seeding import seeded


def build_flow(options: ModelOptions, event_shape: tuple[int, ...], levels: int, seed: int) -> Flow:
    """A new flow for images of `event_shape`.

    Args:
        options: Which flow, and what it is told.
        event_shape: (C, H, W).
        levels: Number of grey levels.
        seed: Decides the weights.

    Raises:
        OptionError: If the flow has no such option or cannot be built with its value.
    """
    try:
        with seeded(seed, "weights"):
            return flows.create(options.name, event_shape, levels=levels, **_flow_options(options))
    except (TypeError, ValueError) as error:
        raise OptionError(f"cannot build {options.name} for images {event_shape}: {error}") from error


def _flow_options(options: ModelOptions) -> dict[str, Any]:
    if not options.paper_options:
        return options.given()
    paper = getattr(flows.flow_class(options.name), "paper_options", None)
    if paper is None:
        raise ValueError("no publication describes it, so that paper_options=True can't be had; leave it out")
    return {**paper, **options.given()}


def load_data(options: TrainOptions) -> ImageSplits:
    """The images of a run."""
    return load_images(
        options.data,
        data_dir=options.data_dir,
        image_size=options.image_size,
        crop=options.crop,
        channels=options.channels,
    )


def load_flow(run: Run) -> Flow:
    """The trained flow of a run: the exported one, or that of its best checkpoint if the run has not come to its end.

    Raises:
        RunError: If the run has neither.
    """
    options = run.options()
    if run.model.is_dir():
        return Flow.from_pretrained(run.model)
    path = run.best if run.best.is_file() else run.last
    if not path.is_file():
        raise RunError(f"{run.path} has no trained model yet; continue it with --resume")
    data = load_data(options)
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    load_weights(flow, read_checkpoint(path), path)
    return flow
