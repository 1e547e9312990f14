"""Build the density of a run, or load the trained one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import inverseflow.flows  # noqa: F401  # enters them into the registry
from inverseflow import densities
from inverseflow.data import Examples, Splits
from inverseflow.data import load_data as load_named
from inverseflow.data.looks import listed_columns
from inverseflow.densities import Density
from inverseflow.errors import OptionError, RunError
from inverseflow.training.loop.process import is_first_process
from inverseflow.training.options import ModelOptions, TrainOptions
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import check_architecture, load_weights
from inverseflow.training.run.description import Description
from inverseflow.utils.seeding import seeded


def build_density(options: ModelOptions, data: Splits[Any] | Description, seed: int) -> Density:
    """Return a new density of the examples of a data set, given their contexts if they have any.

    Args:
        options: options of the density.
        data: the data set, or its description.
        seed: seed of the weights.

    Raises:
        OptionError: if the density has no such option or cannot be built with its value.
    """
    event_shape, given = data.event_shape, options.given()
    if data.levels is not None:
        given["levels"] = data.levels
    whole = [place for place, name in enumerate(data.columns) if name in data.categories or name in data.lattices]
    if whole:
        given["integer_columns"] = whole
    if data.condition is not None:
        given["context_channels"] = data.condition.size
    try:
        _check_event(options.name, data)
        _check_whole_numbers(options.name, data, whole)
        paper = getattr(densities.density_class(options.name), "paper_options", None) if options.paper_options else {}
        if paper is None:
            raise ValueError("it has no steps of a publication, so paper_options has no effect; leave it out")
        with seeded(seed, "weights"):
            return densities.create(options.name, event_shape, **{**paper, **given})
    except (TypeError, ValueError) as error:
        kind = ("rows", "sequences", "images", "volumes")[min(len(event_shape), 4) - 1]
        raise OptionError(f"cannot build {options.name} for {kind} {event_shape}: {error}") from error


def without_preset(options: ModelOptions, preset: Mapping[str, Any]) -> ModelOptions:
    """Return the options of a model without those that a preset for another model has and this model lacks."""
    if options.name not in densities.names():
        return options
    known = densities.option_names(options.name)
    lacking = [] if known is None else [name for name in preset if name in options.given() and name not in known]
    dropped: dict[str, Any] = {name: None for name in lacking if getattr(options, name) == preset[name]}
    return replace(options, **dropped)


def _check_event(name: str, data: Splits[Any] | Description) -> None:
    """Refuse events with axes, or with gray levels, if a density models vectors of real numbers."""
    options, of_images = densities.option_names(name), f"{name}-image"
    if of_images in densities.names() and len(data.event_shape) > 1:
        raise ValueError(f"it models vectors; take {of_images}")
    if data.levels is not None and options is not None and "levels" not in options:
        exact = "pixelcnn" if len(data.event_shape) == 3 else "wavenet"
        raise ValueError(
            f"it models real numbers, not {data.levels} levels; take {exact}, or a flow such as inverse-flow"
        )


def _check_whole_numbers(name: str, data: Splits[Any] | Description, columns: list[int]) -> None:
    """Refuse a table with columns of whole numbers or categories if a density can't dequantize them."""
    options = densities.option_names(name)
    if columns and options is not None and "integer_columns" not in options:
        found = [data.columns[place] for place in columns]
        numbers = [column for column in found if column not in data.categories]
        remedy = "take a flow such as nsf, or make these columns context (--context-columns)"
        if numbers:
            remedy += f", or model {listed_columns(numbers)} as continuous nevertheless (--lattice ignore)"
        raise ValueError(f"it can't dequantize whole numbers or categories ({listed_columns(found)}); {remedy}")


def load_data(options: TrainOptions) -> Splits[Examples]:
    """Return the data set of the run with these settings.

    Raises:
        RunError: if the run was trained on data in memory.
        DataError: if the data is missing or damaged.
    """
    if options.data == "memory":
        raise RunError("this run was trained by fit() on data in memory, which no command can read; use it from Python")
    return load_named(
        options.data,
        data_dir=options.data_dir,
        condition=options.condition,
        binarized=options.binarized,
        image_size=options.image_size,
        crop=options.crop,
        channels=options.channels,
        columns=options.columns,
        context_columns=options.context_columns,
        categorical_columns=options.categorical_columns,
        segment_length=options.segment_length,
        encoding=options.encoding,
        lattice=options.lattice,
        progress=not options.quiet and is_first_process(),
    )


def load_density(run: Run) -> Density:
    """Return the trained density of a run: the exported one, or the best checkpoint of an unfinished run.

    Args:
        run: the run folder.

    Raises:
        RunError: if the run has neither.
    """
    options = run.options()
    if run.model.is_dir():
        return _load(run.model)
    path = _best_checkpoint(run)
    density = build_density(options.model, describe(run), options.seed)
    load_weights(density, path)
    return density


def describe(run: Run) -> Description:
    """Return what the run folder says about the data, and read the data of an older run, which says nothing."""
    return run.description() or Description.of(load_data(run.options()))


def load_initial_weights(density: Density, source: Path) -> None:
    """Load into a density the weights of another run, or of the exported model in the folder `source`."""
    run = Run(source)
    folder = run.model if run.model.is_dir() else source
    if not (folder / "config.json").is_file():
        run.settings()  # says what is wrong with the folder, if anything is
        load_weights(density, _best_checkpoint(run))
        return
    weights = _load(folder).state_dict()
    check_architecture(density, weights, folder)
    density.load_state_dict(weights)


def _load(folder: Path) -> Density:
    return densities.load(folder, Density)  # type: ignore[type-abstract]  # of any concrete class


def _best_checkpoint(run: Run) -> Path:
    path = run.best if run.best.is_file() else run.last
    if not path.is_file():
        raise RunError(f"{run.path} has no trained model yet; continue it with --resume")
    return path
