"""Exponential moving average of the weights."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """Average the weights exponentially, with buffers copied: they hold indices and flags.

    Unlike in Lightning's EMAWeightAveraging the decay grows as (1 + n) / (10 + n) up to `decay`, so that a short run
    forgets its first weights, too.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            n = int(updates)
            return averaged.lerp(current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(use_buffers=False, avg_fn=average)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average in the dtype that the weights are about to get."""
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            trainer.precision_plugin.convert_module(self._average_model)
