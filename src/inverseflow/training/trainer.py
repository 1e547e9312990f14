"""A training run from its options to its report."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from inverseflow.data import Images, ImageSplits
from inverseflow.errors import OptionError, TrainingInterrupted
from inverseflow.flows import Flow
from inverseflow.training.loop.average import AveragedWeights
from inverseflow.training.loop.checkpoint import (
    AtomicCheckpointIO,
    Checkpoints,
    check_architecture,
    load_weights,
    read_checkpoint,
)
from inverseflow.training.loop.loader import ImageData, StepBatches
from inverseflow.training.loop.metrics import CsvLogger, Recorder
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.progress import StepProgress
from inverseflow.training.loop.ranks import is_first_process
from inverseflow.training.loop.signals import StopRequest
from inverseflow.training.loop.stale_results import StaleResults
from inverseflow.training.model import build_flow, load_data
from inverseflow.training.options import TrainOptions
from inverseflow.training.report import Report, TrainingSummary, finish
from inverseflow.training.run import Run
from inverseflow.utils.seeding import derived_seed, seeded


def train(options: TrainOptions, data: ImageSplits | None = None) -> Report | None:
    """Trains a flow, or continues to, and leaves everything in the run folder.

    Args:
        options: The settings. The run folder is `options.out`, or runs/DATA.
        data: The images, where they are loaded already, for several runs or with fewer test images.

    Returns:
        What report.json holds; None on all ranks but the first.

    Raises:
        RunError: If the run folder is in the way or cannot be written to.
        OptionError: If an option cannot work.
        DataError: If the data is missing or damaged.
        CheckpointError: If a checkpoint cannot be written, or the one to resume from cannot be read or does not fit.
        NonFiniteError: If the loss or the gradient is not finite.
        TrainingInterrupted: If somebody asked to stop; the message is how to go on.
    """
    run = Run(options.out or Path("runs") / options.data)
    first = is_first_process()
    if first:
        run.check_free(resume=options.resume, overwrite=options.overwrite)
    if options.resume and run.exists:
        options = run.options().resumed_with(options)
    try:
        with _quiet():
            return _train(options, run, first, load_data(options) if data is None else data)
    except KeyboardInterrupt:
        if not run.last.is_file():
            raise
        raise TrainingInterrupted(f"stopped at once; {_how_to_go_on(options, run)}") from None


def _train(options: TrainOptions, run: Run, first: bool, data: ImageSplits) -> Report | None:
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    resumed_step = None
    if options.resume and run.last.is_file():
        checkpoint = read_checkpoint(run.last)
        check_architecture(flow, checkpoint, run.last)
        resumed_step = int(checkpoint["global_step"])
        del checkpoint
        if options.max_steps < resumed_step:
            raise OptionError(f"max_steps is {options.max_steps}, but the run has made {resumed_step} steps already")
    else:
        _initialize(flow, options, data)
    validation = data.validation
    if options.validation_images is not None and options.validation_images < len(validation):
        validation = validation.select(range(options.validation_images))

    with StopRequest() as stop:
        checkpoints = Checkpoints(run.checkpoints, options.checkpoint_every, stop)
        recorder = Recorder(options.log_every)
        trainer = _trainer(options, run, resumed_step, checkpoints, recorder)
        _check_validation(len(validation), trainer.world_size)
        if first:  # not before: whatever refuses the settings has left the folder as it was
            run.prepare(options, overwrite=options.overwrite)
        _fit(trainer, flow, options, data, validation, None if resumed_step is None else run.last, run)
    if stop.requested:
        raise TrainingInterrupted(f"stopped after the last step; {_how_to_go_on(options, run)}")
    if not first:
        return None

    best = read_checkpoint(run.best)
    flow = build_flow(options.model, data.event_shape, data.levels, options.seed)
    load_weights(flow, best, run.best)
    assert checkpoints.best_value is not None and checkpoints.best_step is not None
    training = TrainingSummary(
        steps=trainer.global_step,
        best_step=checkpoints.best_step,
        val_bits_per_dim=checkpoints.best_value,
        seconds=recorder.seconds,
        ms_per_step=None if math.isnan(recorder.ms_per_step) else recorder.ms_per_step,
    )
    if not options.quiet:
        print(f"measuring on {len(data.test)} test images", file=sys.stderr, flush=True)
    return finish(run, options, data, flow, training, trainer.strategy.root_device)


def _initialize(flow: Flow, options: TrainOptions, data: ImageSplits) -> None:
    """Data-dependent initialisation, the same on every rank: the same images, the same noise."""
    count = min(options.initialization_images, len(data.train))
    indices = StepBatches(len(data.train), count, seed=derived_seed(options.seed, "initialization")).at(0)
    with seeded(options.seed, "initialization"):
        flow.initialize(data.train.__getitems__(indices))


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
    checkpoint: Path | None,
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
        trainer.fit(module, images, ckpt_path=checkpoint, weights_only=True)
    except TrainingInterrupted as interruption:
        raise TrainingInterrupted(f"{interruption}; {_how_to_go_on(options, run)}") from None
    except SystemExit:  # what Lightning makes of a second Ctrl-C
        raise KeyboardInterrupt from None


def _trainer(
    options: TrainOptions, run: Run, resumed_step: int | None, checkpoints: Checkpoints, recorder: Recorder
) -> Trainer:
    callbacks: list[Callback] = [recorder, checkpoints]
    if resumed_step is not None:
        callbacks.insert(0, StaleResults(run))
    if options.optimizer.ema is not None:
        callbacks.insert(0, AveragedWeights(options.optimizer.ema))
    if not options.quiet:
        callbacks.append(StepProgress(recorder))
    purge = None if resumed_step is None else resumed_step + 1
    loggers: list[Logger] = [
        CsvLogger(run.metrics, resumed_step),
        TensorBoardLogger(run.path, name="", version="tensorboard", default_hp_metric=False, purge_step=purge),
    ]
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
    except (MisconfigurationException, ValueError) as error:
        raise OptionError(f"Lightning refuses these settings: {error}") from error


def _how_to_go_on(options: TrainOptions, run: Run) -> str:
    return f"continue with: inverseflow train {options.data} --out {run.path} --resume"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what Lightning says about settings that are made here on purpose, not by the user."""
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
