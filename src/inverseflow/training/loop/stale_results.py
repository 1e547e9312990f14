"""Delete stale results when a finished run is extended."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from inverseflow.training.run import Run


class StaleResults(Callback):
    """Delete the exported model, the report and the pictures of a resumed run once a new step is made.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._removed = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Delete them, once."""
        if trainer.is_global_zero and not self._removed:
            self._run.remove_results()
        self._removed = True
