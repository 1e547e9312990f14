"""A training run from its options to its report."""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.loggers import TensorBoardLogger

from inverseflow.data import ImageSplits
from inverseflow.errors import InverseFlowError, NonFiniteError, OptionError, RunError, TrainingInterrupted
from inverseflow.flows import Flow
from inverseflow.training.loop.callbacks import AveragedWeights, Recorder, StepProgress
from inverseflow.training.loop.checkpoints import AtomicCheckpointIO, Checkpoints
from inverseflow.training.loop.loader import ImageData, StepBatches
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.process import StopRequest, is_first_process
from inverseflow.training.model import build_flow, load_data, load_initial_weights
from inverseflow.training.options import TrainOptions
from inverseflow.training.report import Report, finish
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import Start, find_start, load_weights, naming_damage
from inverseflow.training.run.lock import RunLock
from inverseflow.utils.seeding import derived_seed, seeded


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
    with RunLock(run.path) as lock, _quiet(), _naming_continuation(options, run):
        if is_first_process():
            if run.exists:
                lock.acquire()
            run.check_free(resume=options.resume, overwrite=options.overwrite)
        if options.resume and run.exists:
            options = run.options().resumed_with(options)
        if data is None:
            data = load_data(options)
            _tell(*data.notes)
        try:
            return _train(options, run, lock, data)
        except OSError as error:
            lock.check()
            what = (error.strerror or str(error)).lower()
            raise RunError(f"cannot write {error.filename or run.path}: {what}") from error


def _train(options: TrainOptions, run: Run, lock: RunLock, data: ImageSplits) -> Report | None:
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    start = find_start(run, flow, options) if options.resume and run.exists else None
    if start is None:
        _initialize(flow, options, data)
    validation = data.validation
    if options.validation_images is not None and options.validation_images < len(validation):
        validation = validation.select(range(options.validation_images))

    with StopRequest() as stop:
        checkpoints = Checkpoints(run, options.checkpoint_every, stop, lock, start)
        timer = Timer()
        trainer = _trainer(options, run, start, [timer, Recorder(run.metrics, options.log_every), checkpoints])
        if len(validation) < trainer.world_size:
            raise OptionError(
                f"there are {len(validation)} validation images for {trainer.world_size} processes, and each needs "
                "one; train on fewer devices, or with more validation images"
            )
        if is_first_process():  # not before: settings that are refused leave the folder as it was
            lock.acquire()
            run.check_free(resume=options.resume, overwrite=options.overwrite)
            run.prepare(options, overwrite=options.overwrite, step=0 if start is None else start.step)
        if start is not None:
            _tell(*(f"inverseflow: {note}" for note in start.notes))
        flow.gradient_checkpointing = options.gradient_checkpointing
        module = FlowModule(
            flow,
            options.optimizer,
            seed=options.seed,
            augmentation=data.augmentation("horizontal_flip") if options.horizontal_flip else None,
        )
        images = ImageData(data.train, validation, options.batch_size, options.seed)
        path = None if start is None else start.path
        try:
            with nullcontext() if path is None else naming_damage(path, lambda: not checkpoints.started):
                trainer.fit(module, images, ckpt_path=path, weights_only=True)
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

    path, best_step, bits = checkpoints.exported(trainer.global_step)
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    load_weights(flow, path)
    if not options.quiet:
        _tell(f"measuring on {len(data.test)} test image{'s' * (len(data.test) != 1)}")
    lock.check()
    training = {
        "steps": trainer.global_step,
        "best_step": best_step,
        "val_bits_per_dim": bits,
        "train_seconds": timer.time_elapsed(),
    }
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


def _trainer(options: TrainOptions, run: Run, start: Start | None, callbacks: list[Callback]) -> Trainer:
    if options.optimizer.ema is not None:
        callbacks.insert(0, AveragedWeights(options.optimizer.ema))
    if not options.quiet and is_first_process():
        callbacks.append(StepProgress(next(each for each in callbacks if isinstance(each, Recorder))))
    purged = None if start is None else start.step + 1  # TensorBoard hides the events of steps that are made again
    logger = TensorBoardLogger(
        run.path, name="", version=run.tensorboard.name, default_hp_metric=False, purge_step=purged
    )
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
            logger=logger,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        raise OptionError(f"Lightning refuses these settings: {error}") from error


@contextmanager
def _naming_continuation(options: TrainOptions, run: Run) -> Iterator[None]:
    """Make the end of an interrupted run say how to go on."""
    command = f"continue with: {run.resume_command(options.data)}"
    try:
        yield
    except TrainingInterrupted as interruption:
        raise TrainingInterrupted(f"{interruption}; {command}") from None
    except (KeyboardInterrupt, SystemExit):  # Lightning makes a SystemExit of a second Ctrl-C
        if not run.last.is_file():
            raise KeyboardInterrupt from None
        raise TrainingInterrupted(f"stopped at once; {command}") from None


def _tell(*lines: str) -> None:
    if is_first_process():
        for line in lines:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what Lightning says about settings that are made here on purpose, and what TensorBoard's thread does.

    The main thread gets the thread's error with the next event.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels, hook = [logger.level for logger in loggers], threading.excepthook
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    threading.excepthook = lambda failed: (
        None if type(failed.thread).__module__.startswith("tensorboard.") else hook(failed)
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # from DDP
            yield
    finally:
        threading.excepthook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
