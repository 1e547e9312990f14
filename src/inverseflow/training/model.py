"""Build the flow of a run, or load the trained one."""

from pathlib import Path

from inverseflow import flows
from inverseflow.data import ImageSplits, load_images
from inverseflow.errors import OptionError, RunError
from inverseflow.flows import Flow
from inverseflow.training.loop.process import is_first_process
from inverseflow.training.options import ModelOptions, TrainOptions
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import check_architecture, load_weights
from inverseflow.utils.seeding import seeded


def build_flow(options: ModelOptions, event_shape: tuple[int, ...], levels: int, seed: int) -> Flow:
    """Return a new flow for images of `event_shape`.

    Args:
        options: options of the flow.
        event_shape: ``(C, H, W)``.
        levels: number of gray levels.
        seed: seed of the weights.

    Raises:
        OptionError: if the flow has no such option or cannot be built with its value.
    """
    try:
        paper = getattr(flows.flow_class(options.name), "paper_options", None) if options.paper_options else {}
        if paper is None:
            raise ValueError("no publication describes it, so paper_options has no effect; leave it out")
        with seeded(seed, "weights"):
            return flows.create(options.name, event_shape, levels=levels, **{**paper, **options.given()})
    except (TypeError, ValueError) as error:
        raise OptionError(f"cannot build {options.name} for images {event_shape}: {error}") from error


def load_data(options: TrainOptions) -> ImageSplits:
    """Return the images of the run with these settings."""
    return load_images(
        options.data,
        data_dir=options.data_dir,
        image_size=options.image_size,
        crop=options.crop,
        channels=options.channels,
        progress=not options.quiet and is_first_process(),
    )


def load_flow(run: Run) -> Flow:
    """Return the trained flow of a run: the exported one, or the best checkpoint of an unfinished run.

    Args:
        run: the run folder.

    Raises:
        RunError: if the run has neither.
    """
    options = run.options()
    if run.model.is_dir():
        return Flow.from_pretrained(run.model)
    path = _best_checkpoint(run)
    data = load_data(options)
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    load_weights(flow, path)
    return flow


def load_initial_weights(flow: Flow, source: Path) -> None:
    """Load into a flow the weights of another run, or of the exported model in the folder `source`."""
    run = Run(source)
    folder = run.model if run.model.is_dir() else source
    if not (folder / "config.json").is_file():
        run.settings()  # says what is wrong with the folder, if anything is
        load_weights(flow, _best_checkpoint(run))
        return
    weights = Flow.from_pretrained(folder).state_dict()
    check_architecture(flow, weights, folder)
    flow.load_state_dict(weights)


def _best_checkpoint(run: Run) -> Path:
    path = run.best if run.best.is_file() else run.last
    if not path.is_file():
        raise RunError(f"{run.path} has no trained model yet; continue it with --resume")
    return path
