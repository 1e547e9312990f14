"""Optimize a density by Lightning's trainer: the one loop behind `train` and `fit`."""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.loggers import TensorBoardLogger

from inverseflow.data import Examples
from inverseflow.errors import OptionError
from inverseflow.training.loop.callbacks import AveragedWeights, Recorder, StepProgress
from inverseflow.training.loop.checkpoints import AtomicCheckpointIO, BestModel
from inverseflow.training.loop.loader import ExampleData
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.process import is_first_process
from inverseflow.training.options import TrainOptions
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import Start


class Loop:
    """A trainer with its callbacks. It is made before anything is written, and refuses settings that can't work.

    Args:
        options: the settings.
        best: keeps the best model, and ends the training.
        run: the run folder, None to write nothing.
        start: the checkpoint to continue from.
        board: whether TensorBoard gets the rows, too.

    Raises:
        OptionError: if Lightning refuses the settings.
    """

    def __init__(
        self,
        options: TrainOptions,
        best: BestModel,
        run: Run | None = None,
        start: Start | None = None,
        *,
        board: bool = True,
    ) -> None:
        self._options = options
        self._start = start
        self._timer = Timer()
        self._recorder = Recorder(None if run is None else run.metrics, options.log_every)
        callbacks: list[Callback] = [self._timer, self._recorder, best]
        if options.optimizer.ema is not None:
            callbacks.insert(0, AveragedWeights(options.optimizer.ema))
        if not options.quiet and is_first_process():
            callbacks.append(StepProgress(self._recorder))
        purged = None if start is None else start.step + 1  # TensorBoard hides the events of steps that are made again
        try:
            self.trainer = Trainer(
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
                logger=board
                and run is not None
                and TensorBoardLogger(
                    run.path, name="", version=run.tensorboard.name, default_hp_metric=False, purge_step=purged
                ),
                enable_checkpointing=True,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
        except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
            raise OptionError(f"Lightning refuses these settings: {error}") from error

    @property
    def steps(self) -> int:
        """Training steps made, those before a resumed run included."""
        return self.trainer.global_step

    @property
    def seconds(self) -> float:
        """Time in training, validation included."""
        return self._timer.time_elapsed()

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows of metrics of this process."""
        return self._recorder.rows

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.trainer.strategy.root_device

    def check_validation(self, count: int) -> None:
        """Check that each process has a validation example.

        Raises:
            OptionError: if there are too few.
        """
        if count < self.trainer.world_size:
            raise OptionError(
                f"there are {count} validation examples for {self.trainer.world_size} processes, and each needs one; "
                "train on fewer devices, or with more validation examples"
            )

    def run(self, module: FlowModule, train: Examples, validation: Examples) -> None:
        """Train from the first step, or from the checkpoint to continue from, to the end."""
        data = ExampleData(train, validation, self._options.batch_size, self._options.seed)
        path = None if self._start is None else self._start.path
        self.trainer.fit(module, data, ckpt_path=path, weights_only=True)


def tell(*lines: str) -> None:
    """Print lines on standard error, in the first process only."""
    if is_first_process():
        for line in lines:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def quiet() -> Iterator[None]:
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
