"""The training step: bits per dimension down, by Adam."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from inverseflow.data import Augmentation
from inverseflow.errors import NonFiniteError
from inverseflow.flows import Flow
from inverseflow.training.loop.nonfinite import first_non_finite_layer, last_non_finite_gradient
from inverseflow.training.options import OptimizerOptions
from inverseflow.utils.seeding import derived_seed


def learning_rate_factor(options: OptimizerOptions, max_steps: int) -> Callable[[int], float]:
    """What the learning rate is multiplied by, as a function of the steps done: a linear warm-up, then the schedule.

    >>> factor = learning_rate_factor(OptimizerOptions(schedule="cosine", warmup_steps=4), max_steps=104)
    >>> [round(factor(step), 4) for step in (0, 3, 4, 54, 104)]
    [0.25, 1.0, 1.0, 0.5, 0.0]
    """

    def factor(step: int) -> float:
        if step < options.warmup_steps:
            return (step + 1) / options.warmup_steps
        after = step - options.warmup_steps
        if options.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, after / max(1, max_steps - options.warmup_steps))))
        if options.schedule == "step":
            return float(options.step_factor ** (after // options.step_every))
        return 1.0

    return factor


class FlowModule(LightningModule):
    """Trains a flow by maximum likelihood.

    All noise of a training step is a function of the seed, the step and the rank, and that of a validation does not
    change from one validation to the next. So a resumed run follows the trajectory of one that was never stopped.

    Args:
        flow: The flow, already initialised.
        options: How the weights are changed.
        max_steps: Training steps, for the schedule.
        seed: Decides the noise.
        augmentation: Changes each training batch at random.
    """

    def __init__(
        self,
        flow: Flow,
        options: OptimizerOptions,
        *,
        max_steps: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.options = options
        self.max_steps = max_steps
        self.seed = seed
        self.augmentation = augmentation
        self.train_bits_per_dim = torch.tensor(math.nan)
        self.gradient_norm = torch.tensor(math.nan)
        self.step_began = 0.0
        self._images = torch.empty(0)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam, and the schedule moved on after every step."""
        options = self.options
        optimizer = torch.optim.AdamW(self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(options, self.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Starts the clock of the first step."""
        self.step_began = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Starts the clock of the next step, now that all callbacks are done with this one."""
        self.step_began = time.perf_counter()

    def on_validation_end(self) -> None:
        """Starts the clock of the next step anew."""
        self.step_began = time.perf_counter()

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        """Seeds the noise of the step."""
        torch.manual_seed(self._step_seed("noise"))

    def training_step(self, images: Tensor) -> Tensor:
        """Mean bits per dimension of a batch."""
        self._images = images
        loss = self._bits_per_dim(self._augmented(images)).mean()
        self.train_bits_per_dim = loss.detach()
        return loss

    def on_validation_batch_start(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Seeds the noise of a validation batch, the same in every validation."""
        torch.manual_seed(derived_seed(self.seed, "validation", batch_idx, self.global_rank))

    def validation_step(self, images: Tensor) -> None:
        """Adds a batch to the mean bits per dimension of the validation images."""
        bits = self._bits_per_dim(images).mean()
        self.log("val_bits_per_dim", bits, batch_size=len(images), on_epoch=True, logger=False, sync_dist=True)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Measures the gradient, clips it, and stops the run before a number that is not finite reaches the weights.

        Raises:
            NonFiniteError: If the loss or the norm of the gradient is not finite, on whichever rank.
        """
        self.gradient_norm = self._clip(self.options.clip_norm)
        bad = not bool(torch.isfinite(self.gradient_norm) & torch.isfinite(self.train_bits_per_dim))
        if self.trainer.world_size > 1:
            bad = self.trainer.strategy.reduce_boolean_decision(bad, all=False)
        if bad:
            raise NonFiniteError(self._explain())

    def _bits_per_dim(self, images: Tensor) -> Tensor:
        return self.flow.to_bits_per_dim(self.flow(images))

    def _augmented(self, images: Tensor) -> Tensor:
        if self.augmentation is None:
            return images
        return self.augmentation(images, torch.Generator(images.device).manual_seed(self._step_seed("augmentation")))

    def _step_seed(self, purpose: str) -> int:
        return derived_seed(self.seed, purpose, self.trainer.global_step, self.global_rank)

    def _clip(self, clip_norm: float | None) -> Tensor:
        if isinstance(self.trainer.strategy, FSDPStrategy):  # the norm of all shards, which only the wrapper knows
            wrapped: Any = self.trainer.model
            norm: Tensor = wrapped.clip_grad_norm_(math.inf if clip_norm is None else clip_norm)
            return norm
        if clip_norm is not None:
            return torch.nn.utils.clip_grad_norm_(self.parameters(), clip_norm)
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _explain(self) -> str:
        step = self.trainer.global_step + 1
        found = [] if isinstance(self.trainer.strategy, FSDPStrategy) else self._find()
        if self.trainer.world_size > 1:
            reports: list[list[str]] = [[] for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather_object(reports, found)
            found = [f"{place} on rank {rank}" for rank, places in enumerate(reports) for place in places]
        found.sort(key=lambda place: place.startswith("the gradient"))  # a bad loss on one rank is in all gradients
        what = "loss" if found and not found[0].startswith("the gradient") else "gradient"
        first = f"; the first value that is not finite is {found[0]}" if found else ""
        return (
            f"the {what} is not finite in step {step}{first}; "
            "a smaller optimizer.learning_rate, a longer warm-up or a model.max_row_sum may help"
        )

    def _find(self) -> list[str]:
        def run() -> None:
            with self.trainer.precision_plugin.train_step_context():
                torch.manual_seed(self._step_seed("noise"))
                self._bits_per_dim(self._augmented(self._images))

        layer = first_non_finite_layer(self.flow, run)
        if layer is not None:
            return [layer]
        name = last_non_finite_gradient(self.flow.named_parameters())
        return [] if name is None else [f"the gradient of {name}"]
