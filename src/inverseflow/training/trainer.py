"""A training run from its options to its report."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from inverseflow.data import Images, ImageSplits
from inverseflow.errors import (
    CheckpointError,
    InverseFlowError,
    NonFiniteError,
    OptionError,
    RunError,
    TrainingInterrupted,
)
from inverseflow.flows import Flow
from inverseflow.training.loop.average import AveragedWeights
from inverseflow.training.loop.checkpoints import AtomicCheckpointIO, Checkpoints
from inverseflow.training.loop.loader import ImageData, StepBatches
from inverseflow.training.loop.loggers import CsvLogger, EventLogger, quiet_event_writer
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.progress import StepProgress
from inverseflow.training.loop.ranks import is_first_process
from inverseflow.training.loop.recorder import Recorder
from inverseflow.training.loop.signals import StopRequest
from inverseflow.training.loop.stale_results import StaleResults
from inverseflow.training.model import build_flow, load_data, load_initial_weights
from inverseflow.training.options import TrainOptions
from inverseflow.training.report import Report, TrainingSummary, finish
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import load_weights, read_checkpoint
from inverseflow.training.run.lock import RunLock
from inverseflow.training.run.start import Start, find_start
from inverseflow.utils.seeding import derived_seed, seeded

_DAMAGE = (KeyError, TypeError, AttributeError, IndexError, ValueError)  # what restoring a damaged checkpoint raises


def train(options: TrainOptions, data: ImageSplits | None = None) -> Report | None:
    """Train a flow, or continue to, and write everything about the run into its folder.

    Args:
        options: the settings. The run folder is `options.out`, or runs/DATA.
        data: the images, if they are loaded already.

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
    first = is_first_process()
    with RunLock(run.path) as lock:
        if first:
            if run.exists:
                lock.acquire()
            run.check_free(resume=options.resume, overwrite=options.overwrite)
        if options.resume and run.exists:
            options = run.options().resumed_with(options)
        try:
            with _quiet(), quiet_event_writer():
                if data is None:
                    data = load_data(options)
                    for note in data.notes if first else ():
                        print(note, file=sys.stderr, flush=True)
                return _train(options, run, lock if first else None, data)
        except KeyboardInterrupt:
            if not run.last.is_file():
                raise
            raise TrainingInterrupted(f"stopped at once; {_how_to_continue(options, run)}") from None


def _train(options: TrainOptions, run: Run, lock: RunLock | None, data: ImageSplits) -> Report | None:
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    start = find_start(run, flow, options) if options.resume and run.exists else None
    if start is None:
        _initialize(flow, options, data)
    validation = data.validation
    if options.validation_images is not None and options.validation_images < len(validation):
        validation = validation.select(range(options.validation_images))

    with StopRequest() as stop:
        checkpoints = Checkpoints(run, options.checkpoint_every, stop, lock, start)
        recorder = Recorder(options.log_every)
        trainer = _trainer(options, run, start, checkpoints, recorder)
        _check_validation(len(validation), trainer.world_size)
        if lock is not None:  # not before: settings that are refused leave the folder as it was
            lock.acquire()
            run.check_free(resume=options.resume, overwrite=options.overwrite)
            run.prepare(options, overwrite=options.overwrite)
            for note in [] if start is None else start.notes:
                print(f"inverseflow: {note}", file=sys.stderr, flush=True)
        _fit(trainer, flow, options, data, validation, start, checkpoints, run)
    if stop.requested:
        raise TrainingInterrupted(f"stopped after the last step; {_how_to_continue(options, run)}")
    if lock is None:
        return None

    path, best_step, value = checkpoints.exported()
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    load_weights(flow, read_checkpoint(path), path)
    training = TrainingSummary(
        steps=trainer.global_step,
        best_step=best_step,
        val_bits_per_dim=value,
        seconds=recorder.seconds,
        ms_per_step=recorder.ms_per_step,
    )
    if not options.quiet:
        noun = "image" if len(data.test) == 1 else "images"
        print(f"measuring on {len(data.test)} test {noun}", file=sys.stderr, flush=True)
    lock.check()
    return finish(run, options, data, flow, training, trainer.strategy.root_device)


def _initialize(flow: Flow, options: TrainOptions, data: ImageSplits) -> None:
    """Load the weights of another run, or initialize from data, on every rank with the same images and noise."""
    if options.init_from is not None:
        load_initial_weights(flow, options.init_from)
        return
    count = min(options.initialization_images, len(data.train))
    indices = StepBatches(len(data.train), count, seed=derived_seed(options.seed, "initialization")).at(0)
    try:
        with seeded(options.seed, "initialization"):
            flow.initialize(data.train.__getitems__(indices))
    except InverseFlowError:
        raise
    except (ValueError, ArithmeticError) as error:
        raise OptionError(f"cannot initialize the flow on {count} training images: {error}") from error


def _check_validation(images: int, processes: int) -> None:
    if images < processes:
        raise OptionError(
            f"there are {images} validation images for {processes} processes, and each needs one; "
            "train on fewer devices, or with more validation images"
        )


def _fit(
    trainer: Trainer,
    flow: Flow,
    options: TrainOptions,
    data: ImageSplits,
    validation: Images,
    start: Start | None,
    checkpoints: Checkpoints,
    run: Run,
) -> None:
    flow.gradient_checkpointing = options.gradient_checkpointing
    module = FlowModule(
        flow,
        options.optimizer,
        max_steps=options.max_steps,
        seed=options.seed,
        augmentation=data.augmentation("horizontal_flip") if options.horizontal_flip else None,
    )
    images = ImageData(data.train, validation, options.batch_size, options.seed)
    try:
        trainer.fit(module, images, ckpt_path=None if start is None else start.path, weights_only=True)
    except TrainingInterrupted as interruption:
        raise TrainingInterrupted(f"{interruption}; {_how_to_continue(options, run)}") from None
    except NonFiniteError as error:
        if not run.last.is_file():
            raise
        raise NonFiniteError(
            f"{error}; the last good checkpoint is {run.last}, and --init-from starts another run from it"
        ) from error
    except SystemExit:  # what Lightning makes of a second Ctrl-C
        raise KeyboardInterrupt from None
    except OSError as error:
        if error.filename is not None:
            raise
        raise RunError(f"cannot write to {run.path}: {(error.strerror or str(error)).lower()}") from error
    except _DAMAGE as error:
        if start is None or checkpoints.started:
            raise
        what = " ".join(str(error).split())
        raise CheckpointError(
            f"{start.path} is damaged: it cannot be restored ({type(error).__name__}: {what})"
        ) from error


def _trainer(
    options: TrainOptions, run: Run, start: Start | None, checkpoints: Checkpoints, recorder: Recorder
) -> Trainer:
    callbacks: list[Callback] = [recorder, checkpoints]
    if start is not None:
        callbacks.insert(0, StaleResults(run))
    if options.optimizer.ema is not None:
        callbacks.insert(0, AveragedWeights(options.optimizer.ema))
    if not options.quiet:
        callbacks.append(StepProgress(recorder))
    step = None if start is None else start.step
    loggers: list[Logger] = [CsvLogger(run.metrics, step), EventLogger(run.tensorboard, step)]
    try:
        return Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=options.strategy,
            precision=options.precision,
            max_steps=options.max_steps,
            val_check_interval=options.validate_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=loggers,
            enable_progress_bar=not options.quiet,
            enable_model_summary=False,
            default_root_dir=run.path,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        raise OptionError(f"Lightning refuses these settings: {error}") from error


def _how_to_continue(options: TrainOptions, run: Run) -> str:
    return f"continue with: {run.resume_command(options.data)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what Lightning says about settings that are made here on purpose, not by the user."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # from DDP
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
