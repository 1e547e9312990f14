"""Train a density from Python: `fit`."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from inverseflow.data import LabelCondition, Splits, TensorExamples, as_splits
from inverseflow.data.looks import find_lattice, lattices_in_words, listed_columns
from inverseflow.densities import Density
from inverseflow.densities.density import context_sizes
from inverseflow.errors import InverseFlowError, NonFiniteError, OptionError, TrainingInterrupted
from inverseflow.flows import Flow
from inverseflow.training.loop.checkpoints import BestModel
from inverseflow.training.loop.loop import Loop, quiet, tell
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.process import StopRequest
from inverseflow.training.objective import MaximumLikelihood, Objective
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import load_weights, read_checkpoint
from inverseflow.training.run.folder import read_metrics, validated
from inverseflow.training.trainer import check_batch, initialize, train_in_folder
from inverseflow.utils.arguments import whole_number

_ARGUMENTS = {
    "; to train its weights further with other settings, start another run with --init-from": "; fit the density with "
    "other settings into another folder",
    ", and --init-from starts another run from it": "",
    "`train --resume`": "fit(..., resume=True)",
    "--resume": "resume=True",
    "--overwrite": "overwrite=True",
    "--out": "out",
    "--max-steps": "max_steps",
}
_BATCH = 256
_VALIDATIONS = 20
_ROWS = 200
_INITIALIZATION = 10_000
_LOOKED_AT = 10_000


@dataclass(frozen=True)
class FitResult:
    """What `fit` came to. The density itself holds the best weights."""

    best_step: int
    """Training step of the best validation."""
    best_value: float
    """Objective in the best validation: nats of continuous data, bits per dimension of gray levels; less is better."""
    steps: int
    """Training steps that were made."""
    stopped_early: bool
    """Whether the patience ended the training."""
    interrupted: bool
    """Whether Ctrl-C ended the training."""
    history: list[dict[str, float]] = field(repr=False)
    """Rows as in metrics.csv: the step, and ``train_nats``, ``val_nats`` (or ``_bits_per_dim``), ``learning_rate``,
    ``gradient_norm`` and ``ms_per_step`` where they were measured."""

    def column(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and the values of a column of the history, to plot them."""
        rows = [row for row in self.history if name in row]
        return [int(row["step"]) for row in rows], [row[name] for row in rows]


def fit(
    density: Density,
    x: Any,
    context: Any = None,
    *,
    validation: float = 0.1,
    objective: Objective | None = None,
    max_steps: int = 2000,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    schedule: Literal["constant", "cosine"] = "cosine",
    warmup_steps: int = 0,
    weight_decay: float = 0.0,
    clip_norm: float | None = 50.0,
    ema: float | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a density in place, on its device and in its dtype, and leave the best weights in it, in evaluation mode.

    Parameters that depend on data (ActNorm, standardization) are initialized first, if they are not yet. The first
    Ctrl-C ends the training after the step, and the result is returned as if it had come to its end; the second one
    raises KeyboardInterrupt at once. The same seed, data and weights give the same result; torch's global generators
    are left as they were.

    Args:
        density: the density.
        x: examples ``(N, *event_shape)``: a tensor, an array, a data frame, a map-style data set of x or of pairs
            (x, context), or `inverseflow.data.Splits`. Whole numbers and other equal steps in a density of real numbers
            are warned of: they have no such density.
        context: one context for each example: numbers ``(N, K)``, a data frame, or N labels, which are whole numbers
            from 0 to K - 1 or text.
        validation: share of the examples that is held out to find the best weights.
        objective: what is minimized; None for `MaximumLikelihood`.
        max_steps: training steps.
        batch_size: examples in a training step; None for 256, or all if there are fewer.
        learning_rate: learning rate of Adam.
        schedule: ``"cosine"`` lets the learning rate fall to zero, ``"constant"`` does not.
        warmup_steps: training steps over which the learning rate rises to its value.
        weight_decay: decoupled weight decay.
        clip_norm: largest norm of the gradient, None for any.
        ema: decay of the average of the weights, which is then validated and kept; None for no average.
        validate_every: training steps between two validations; None for 20 validations in all.
        patience: stop early after that many validations in a row without a new best one; None never does.
        seed: seed of the held-out examples, the order of the others and all noise.
        out: a folder for the run, as `inverseflow train` writes it: metrics, checkpoints, the model, pictures and
            report.json. None writes nothing.
        checkpoints: a folder for settings, metrics and checkpoints only, in place of `out`. Nothing is measured at the
            end, nor said after Ctrl-C.
        resume: continue the run in the folder from its last checkpoint, with the same data and settings.
        overwrite: delete the run in the folder.
        progress: whether to show a progress bar.

    Raises:
        DataError: if examples and contexts do not fit, are missing or not finite, or the share leaves nothing.
        TypeError: if `density` is no density, or `objective` is no function, or returns no `Loss`.
        OptionError: if an option can't work, or the density does not take this data.
        RunError: if `out` holds a run already, is in use, or cannot be written to.
        NonFiniteError: if the loss or the gradient is not finite. The density has the best weights so far.

    Example:
        >>> import inverseflow
        >>> from inverseflow.bijections import ActNorm
        >>> from inverseflow.flows import Flow
        >>> flow = Flow(ActNorm(2), (2,))
        >>> result = inverseflow.fit(flow, 5 + torch.randn(4000, 2), max_steps=20, progress=False)
        >>> result.best_value  # the entropy of two standard normals is log 2πe = 2.84 nats
        2.8...
        >>> steps, nats = result.column("val_nats")
    """
    device, dtype = _check_density(density)
    if objective is not None and not callable(objective):
        raise TypeError(
            f"objective must be a function of a density and a batch, got {objective!r}; None is the likelihood"
        )
    if out is not None and checkpoints is not None:
        raise OptionError("a run has one folder: give out, or checkpoints for those only")
    folder = checkpoints if out is None else out
    if folder is None and (resume or overwrite):
        raise OptionError(f"{'resume' if resume else 'overwrite'} is about the run in a folder: name the folder by out")
    splits = as_splits(
        x,
        context,
        validation=validation,
        seed=seed,
        levels=density.levels,
        classes=_context_length(density),
        dtype=dtype,
    )
    _check_data(density, splits)
    max_steps = whole_number("max_steps", max_steps, at_least=1)
    options = TrainOptions(
        data="memory",
        out=None if folder is None else Path(folder),
        resume=resume,
        overwrite=overwrite,
        max_steps=max_steps,
        patience=patience,
        batch_size=min(_BATCH, len(splits.train)) if batch_size is None else batch_size,
        seed=seed,
        validate_every=max(1, max_steps // _VALIDATIONS) if validate_every is None else validate_every,
        checkpoint_every=max_steps if validate_every is None else validate_every,
        log_every=max(1, max_steps // _ROWS),
        initialization_images=_INITIALIZATION,
        model=ModelOptions(name=type(density).__name__ if density.config is None else density.config["density"]),
        optimizer=OptimizerOptions(
            learning_rate=learning_rate,
            schedule=schedule,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            ema=ema,
        ),
        accelerator={"cpu": "cpu", "cuda": "gpu"}.get(device.type, device.type),
        devices="1" if device.index is None else f"{device.index},",
        quiet=not progress,
    )
    objective = objective or MaximumLikelihood()
    if isinstance(objective, MaximumLikelihood) and splits is not x:  # splits have been looked at
        _warn_of_lattices(density, splits)
    density.train()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # training seeds the generators
            if options.out is None:
                result = _fit_in_memory(density, splits, options, objective)
            else:
                result = _fit_in_folder(density, splits, options, objective, Run(options.out), out is not None)
    finally:
        density.to(device).eval()
    if result.interrupted and checkpoints is None:
        tell(
            f"inverseflow: interrupted after step {result.steps}; the density has the weights of step "
            f"{result.best_step}, the best so far" + ("" if out is None else "; resume=True continues the run")
        )
    return result


def _fit_in_memory(density: Density, data: Splits[Any], options: TrainOptions, objective: Objective) -> FitResult:
    check_batch(options, data)
    with quiet(), StopRequest() as stop:
        initialize(density, options, data)
        best = BestModel(stop, options.patience)
        loop = Loop(options, best)
        try:
            module = FlowModule(density, options.optimizer, seed=options.seed, objective=objective)
            loop.run(module, data.train, data.validation)
        finally:
            if best.weights is not None:
                density.load_state_dict(best.weights)
    if best.best_step is None or best.best_value is None:
        raise KeyboardInterrupt
    return FitResult(best.best_step, best.best_value, loop.steps, best.stopped_early, stop.requested, loop.rows)


def _fit_in_folder(
    density: Density, data: Splits[Any], options: TrainOptions, objective: Objective, run: Run, measured: bool
) -> FitResult:
    try:
        with _python_words():
            report = train_in_folder(options, run, data, density, objective, measured=measured)
    except (TrainingInterrupted, NonFiniteError) as error:
        path = run.best if run.best.is_file() else run.last
        if path.is_file():
            load_weights(density, path)
        if isinstance(error, NonFiniteError):
            raise
        rows = read_metrics(run.metrics)
        values, step = validated(rows), read_checkpoint(path)["global_step"]
        steps = read_checkpoint(run.last)["global_step"]
        return FitResult(step, min(values, default=torch.nan), steps, False, True, rows)
    assert report is not None
    rows = read_metrics(run.metrics)
    return FitResult(report.best_step, report.best_value, report.steps, report.stopped_early, False, rows)


@contextmanager
def _python_words() -> Iterator[None]:
    """Let messages that name options of the command line name the arguments of `fit`."""
    try:
        yield
    except InverseFlowError as error:
        text = str(error)
        for option, argument in _ARGUMENTS.items():
            text = text.replace(option, argument)
        error.args = (text, *error.args[1:])
        raise


def _check_density(density: Density) -> tuple[torch.device, torch.dtype]:
    """Return the device and the dtype of what is trained, or refuse what cannot be."""
    if not isinstance(density, Density):
        raise TypeError(f"density must be a Density such as a Flow, got {density!r}")
    if torch.is_inference_mode_enabled():
        raise OptionError("torch.inference_mode() records no gradients: call fit outside of it")
    parameters = [parameter for parameter in density.parameters() if parameter.requires_grad]
    if not parameters:
        raise OptionError(f"{type(density).__name__} has no parameters to train: set requires_grad of some")
    device, dtype = parameters[0].device, parameters[0].dtype
    if dtype not in (torch.float32, torch.float64):
        raise OptionError(f"the density has parameters of {dtype}: convert it to float32 or float64 with .to()")
    return device, dtype


def _context_length(density: Density) -> int | None:
    """Return the length of the contexts that a density takes, None if it takes none or does not tell."""
    if density.context_shape is not None:
        return density.context_shape[0]
    if not isinstance(density, Flow):
        return density._context_channels
    return next(context_sizes(density), None)


def _could_take_contexts(density: Density) -> bool:
    """Return whether a density that was built without contexts would have ignored them silently."""
    options = {} if density.config is None else density.config["options"]
    return isinstance(density, Flow) or "context_channels" in options


def _warn_of_lattices(density: Density, data: Splits[Any]) -> None:
    """Warn of numbers in equal steps that a density takes for real numbers."""
    if not density.continuous or not isinstance(data.train, TensorExamples):
        return
    values = data.train.tensor().flatten(1)
    precision = torch.finfo(values.dtype).eps
    columns = values[:: -(-len(values) // _LOOKED_AT)].double().numpy()
    if len(density.event_shape) > 1:
        elements = columns.reshape(-1)
        lattice = find_lattice(elements[:: -(-len(elements) // _LOOKED_AT)], precision)
        found, remedy = f"holds {lattice} only", "give whole numbers from 0 on and build the density with levels"
        found = "" if lattice is None else found
    else:
        names = data.columns or range(density.dims)
        numbers = [place for place in range(density.dims) if place not in density.integer_columns]
        lattices = {place: find_lattice(columns[:, place], precision) for place in numbers}
        places = [place for place, lattice in lattices.items() if lattice is not None]
        listed = lattices_in_words({names[place]: lattice for place in places if (lattice := lattices[place])})
        found = f"lies on lattices in the columns {listed}" if places else ""
        remedy = f"number the steps and build a flow such as nsf with integer_columns={places}, which dequantizes them"
    if found:
        warnings.warn(
            f"x {found}, where a density of real numbers has no bound and training narrows its spikes; {remedy}, or "
            "add noise as wide as the steps",
            stacklevel=3,
        )


def _check_data(density: Density, data: Splits[Any]) -> None:
    """Refuse data that the density does not take."""
    if data.event_shape != density.event_shape:
        raise OptionError(
            f"the density is built for examples of shape {density.event_shape}, and x has {data.event_shape}; "
            "build it for this shape, or reshape x"
        )
    words = [place for place, name in enumerate(data.columns) if name in data.categories]
    if unknown := [data.columns[place] for place in words if place not in density.integer_columns]:
        raise OptionError(
            f"the density takes {listed_columns(unknown)} for real numbers, and the data frame has categories there: "
            f"build a flow such as nsf with integer_columns={words}, pass these columns as context, or leave them out"
        )
    wanted, found = _context_length(density), None if data.condition is None else data.condition.size
    if wanted is not None and found is None:
        raise OptionError(f"the density takes contexts of length {wanted}: give one context for each example")
    if wanted is None and found is not None and _could_take_contexts(density):
        raise OptionError(
            f"the density takes no context: build it with context_channels={found}, or leave the context out"
        )
    if wanted != found and wanted is not None:
        labels = isinstance(data.condition, LabelCondition)
        remedy = "give numbers as float (N, K), or labels of as many classes" if labels else "give as many numbers each"
        raise OptionError(
            f"the density takes contexts of length {wanted}, and "
            + (f"the labels have {found} classes: " if labels else f"the contexts have {found}: ")
            + remedy
        )
    batch = data.train.batch([0]).to(next(density.parameters()).device)
    training = density.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            density.eval()(batch.x, batch.context)
    except (ValueError, TypeError) as error:
        raise OptionError(f"the density does not take this data: {error}") from error
    finally:
        density.train(training)
