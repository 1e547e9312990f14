"""A training run from its options to its report."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

from inverseflow.data import Splits
from inverseflow.densities import Density
from inverseflow.errors import InverseFlowError, NonFiniteError, OptionError, RunError, TrainingInterrupted
from inverseflow.flows import Flow
from inverseflow.training.loop.checkpoints import Checkpoints
from inverseflow.training.loop.loader import StepBatches
from inverseflow.training.loop.loop import Loop, quiet, tell
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.process import StopRequest, is_first_process
from inverseflow.training.model import build_density, load_data, load_initial_weights
from inverseflow.training.objective import MaximumLikelihood, Objective
from inverseflow.training.options import TrainOptions
from inverseflow.training.report import Report, finish
from inverseflow.training.report.results import Training
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import find_start, load_weights, naming_damage
from inverseflow.training.run.description import Description
from inverseflow.training.run.lock import RunLock
from inverseflow.training.words import counted, noun
from inverseflow.utils.seeding import derived_seed, seeded


def train(options: TrainOptions, data: Splits[Any] | None = None) -> Report | None:
    """Train a density, or continue to, and write everything about the run into its folder.

    Args:
        options: the settings. The run folder is `options.out`, or runs/DATA.
        data: the examples, if they are loaded already.

    Returns:
        The content of report.json; None on all ranks but the first.

    Raises:
        RunError: if the run folder is in use, in the way, or cannot be written to.
        OptionError: if an option cannot work.
        DataError: if the data is missing or damaged.
        CheckpointError: if a checkpoint cannot be written, or the one to resume from is lost, damaged or does not fit.
        NonFiniteError: if the loss, the gradient, a validation or the measurements at the end are not finite.
        TrainingInterrupted: if a stop was requested. The message says how to continue.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "run"
        >>> options = TrainOptions("digits", out=out, max_steps=2, accelerator="cpu", quiet=True)
        >>> report = train(options)
        >>> report.steps, (out / "model").is_dir()
        (2, True)
    """
    run = Run(options.out or Path("runs") / options.data)
    command = f"continue with: {run.resume_command(options.data)}"
    with _naming_continuation(run, command):
        return cast("Report | None", train_in_folder(options, run, data))


def train_in_folder(
    options: TrainOptions,
    run: Run,
    data: Splits[Any] | None,
    density: Density | None = None,
    objective: Objective | None = None,
    *,
    measured: bool = True,
) -> Report | Training | None:
    """Train, or continue to, with a run folder; `train` without a word about how an interrupted run continues.

    Args:
        options: the settings.
        run: the run folder.
        data: the examples, None to load those of the settings.
        density: trained in place, with the best weights at the end; None for a new one of the settings.
        objective: what is minimized, None for maximum likelihood.
        measured: whether to measure, draw and export the density at the end, and to write for TensorBoard. Otherwise
            the folder holds what a resumed run needs.
    """
    with RunLock(run.path) as lock, quiet():
        if is_first_process():
            if run.exists:
                lock.acquire()
            run.check_free(resume=options.resume, overwrite=options.overwrite)
        if options.resume and run.exists:
            options = run.options().resumed_with(options)
        if data is None:
            data = load_data(options)
            tell(*data.notes)
        if options.resume and run.exists:
            run.check_data(Description.of(data))
        try:
            return _train(options, run, lock, data, density, objective or MaximumLikelihood(), measured)
        except OSError as error:
            lock.check()
            what = (error.strerror or str(error)).lower()
            raise RunError(f"cannot write {error.filename or run.path}: {what}") from error


def _train(
    options: TrainOptions,
    run: Run,
    lock: RunLock,
    data: Splits[Any],
    density: Density | None,
    objective: Objective,
    measured: bool,
) -> Report | Training | None:
    trained = density if density is not None else build_density(options.model, data, options.seed)
    check_batch(options, data)
    if options.gradient_checkpointing and not isinstance(trained, Flow):
        raise OptionError(f"{options.model.name} recomputes no activations; leave gradient_checkpointing out")
    augmentation = data.augmentation("horizontal_flip") if options.horizontal_flip else None
    start = find_start(run, trained, options) if options.resume and run.exists else None
    if start is None:
        initialize(trained, options, data)
    validation = data.validation
    if options.validation_images is not None and options.validation_images < len(validation):
        validation = validation.select(range(options.validation_images))

    with StopRequest() as stop:
        checkpoints = Checkpoints(run, options.checkpoint_every, stop, lock, start, options.patience)
        loop = Loop(options, checkpoints, run, start, board=measured)
        loop.check_validation(len(validation))
        if is_first_process():  # not before: settings that are refused leave the folder as it was
            lock.acquire()
            run.check_free(resume=options.resume, overwrite=options.overwrite)
            run.prepare(
                options, Description.of(data), overwrite=options.overwrite, step=0 if start is None else start.step
            )
        if start is not None:
            tell(*(f"inverseflow: {note}" for note in start.notes))
        if isinstance(trained, Flow):
            trained.gradient_checkpointing = options.gradient_checkpointing
        module = FlowModule(
            trained,
            options.optimizer,
            seed=options.seed,
            objective=objective,
            augmentation=augmentation,
        )
        try:
            with nullcontext() if start is None else naming_damage(start.path, lambda: not checkpoints.started):
                loop.run(module, data.train, validation)
        except NonFiniteError as error:
            if not run.last.is_file():
                raise
            raise NonFiniteError(
                f"{error}; the last good checkpoint is {run.last}, and --init-from starts another run from it"
            ) from error
    if stop.requested:
        raise TrainingInterrupted("stopped after the last step")
    if not is_first_process():
        return None

    path, best_step, value = checkpoints.exported(loop.steps)
    if density is None:
        trained = build_density(options.model, data, options.seed)
    load_weights(trained, path)
    training = Training(loop.steps, best_step, value, checkpoints.stopped_early, loop.seconds)
    if not measured:
        return training
    if len(data.test) and not options.quiet:
        tell(f"measuring on {counted(len(data.test), f'test {noun(data.test)}')}")
    lock.check()
    return finish(run, options, data, trained, training, loop.device)


def check_batch(options: TrainOptions, data: Splits[Any]) -> None:
    """Check that there are enough training examples for a batch.

    Raises:
        OptionError: if there are not.
    """
    if options.batch_size > len(data.train):
        there = counted(len(data.train), f"training {noun(data.train)}")
        raise OptionError(
            f"batch_size is {options.batch_size}, more than the {there}; choose at most {len(data.train)}"
        )


def initialize(density: Density, options: TrainOptions, data: Splits[Any]) -> None:
    """Load the weights of another run, or initialize from data, on every rank with the same examples and noise.

    Raises:
        OptionError: if the examples cannot initialize the density.
    """
    if options.init_from is not None:
        load_initial_weights(density, options.init_from)
        return
    count = min(options.initialization_images, len(data.train))
    batch = data.train.batch(
        StepBatches(len(data.train), count, seed=derived_seed(options.seed, "initialization")).at(0)
    )
    try:
        with seeded(options.seed, "initialization"):
            density.initialize(batch.x, batch.context)
    except InverseFlowError:
        raise
    except (ValueError, ArithmeticError) as error:
        raise OptionError(
            f"cannot initialize the model on {counted(count, f'training {noun(data.train)}')}: {error}"
        ) from error


@contextmanager
def _naming_continuation(run: Run, command: str) -> Iterator[None]:
    """Make the end of an interrupted run say how to go on."""
    try:
        yield
    except TrainingInterrupted as interruption:
        raise TrainingInterrupted(f"{interruption}; {command}") from None
    except (KeyboardInterrupt, SystemExit):  # Lightning makes a SystemExit of a second Ctrl-C
        if not run.last.is_file():
            raise KeyboardInterrupt from None
        raise TrainingInterrupted(f"stopped at once; {command}") from None
