"""The training step: minimize an objective by Adam."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from inverseflow.data import Augmentation, Batch
from inverseflow.densities import Density
from inverseflow.errors import NonFiniteError
from inverseflow.training.loop.nonfinite import first_non_finite_layer, last_non_finite_gradient
from inverseflow.training.objective import Loss, MaximumLikelihood, Objective
from inverseflow.training.options import OptimizerOptions
from inverseflow.utils.seeding import derived_seed, seed_generators

Pair = tuple[Tensor, Tensor | None]
"""A batch as Lightning moves and converts it: x, and context or None."""


def learning_rate_factor(options: OptimizerOptions, max_steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate as a function of the steps made: a linear warm-up, then the schedule."""

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
    """Train a flow, or another density, by an objective.

    The noise of a training step is a function of the seed, the step and the rank, and every validation draws the same
    noise. So a resumed run follows the same trajectory as a run that was never stopped.
    """

    def __init__(
        self,
        flow: Density,
        options: OptimizerOptions,
        *,
        seed: int,
        objective: Objective | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.options = options
        self.seed = seed
        self.objective = MaximumLikelihood() if objective is None else objective
        self.augmentation = augmentation
        self.terms: dict[str, Tensor] = {}
        """Of the last step: the total first."""
        self.gradient_norm = torch.tensor(math.nan)
        self.step_began = 0.0
        self._batch: Batch | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning sets it twice in each hook: a third of the time of a small step
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return Adam, and a schedule that moves on after every step."""
        options = self.options
        optimizer = torch.optim.AdamW(self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        factor = learning_rate_factor(options, self.trainer.max_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_end(self, *_: Any) -> None:
        """Start the clock of the next step, now that all callbacks are done with this one."""
        self.step_began = time.perf_counter()

    on_train_start = on_validation_end = on_train_batch_end

    def on_train_batch_start(self, batch: Pair, batch_idx: int) -> None:
        """Seed the noise of the step."""
        seed_generators(self._step_seed("noise"), self.device)

    def training_step(self, batch: Pair) -> Tensor:
        """Return the objective of a batch."""
        self._batch = Batch(*batch)
        loss = self._objective(self._augmented(self._batch))
        if not loss.total.requires_grad:
            raise ValueError("the total of the objective has no gradient: compute it from the model, without detach()")
        self.terms = loss.named()
        return loss.total

    def on_validation_batch_start(self, batch: Pair, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Seed the noise of a validation batch, the same in every validation."""
        seed_generators(self._validation_seed(batch_idx), self.device)

    def validation_step(self, pair: Pair, batch_idx: int) -> None:
        """Add a batch to the means over the validation examples, which must be finite on every rank."""
        batch = Batch(*pair)
        loss = self._objective(batch)
        what = f"the validation after step {self.trainer.global_step} is not finite"
        self._require_finite(loss, what, batch, self._validation_seed(batch_idx))
        terms = {f"val_{name}": term for name, term in loss.named().items()}
        for name, value in {VALIDATED: loss.total, **terms}.items():
            self.log(name, value, batch_size=len(batch), on_epoch=True, logger=False, sync_dist=True)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Measure the gradient, clip it, and stop the run before a value that is not finite reaches the weights."""
        limit = math.inf if self.options.clip_norm is None else self.options.clip_norm
        if self._is_sharded:
            wrapped: Any = self.trainer.model  # only the wrapper knows the norm of all shards
            self.gradient_norm = wrapped.clip_grad_norm_(limit)
        else:
            gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
            self.gradient_norm = torch.nn.utils.get_total_norm(gradients)
        total = next(iter(self.terms.values()))
        norm, loss = torch.stack([self.gradient_norm, total.to(self.gradient_norm)]).tolist()
        if self._on_any_rank(not (math.isfinite(norm) and math.isfinite(loss))):
            raise NonFiniteError(self._explain_step())
        if norm + 1e-6 > limit and not self._is_sharded:  # torch adds as much
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), limit, self.gradient_norm)

    def check_finite(self) -> None:
        """Check the weights after a step, before they are saved: on the batch of that step in evaluation mode.

        Draws from the global generator, which the next step and every validation batch seed anew.
        """
        if self._batch is None or self._is_sharded:
            return
        training, seed = self.flow.training, self._step_seed("check")
        self.flow.eval()
        try:
            seed_generators(seed, self.device)
            with torch.no_grad():
                loss = self._objective(self._batch)
            what = f"the model is not finite after step {self.trainer.global_step}"
            self._require_finite(loss, what, self._batch, seed)
        finally:
            self.flow.train(training)

    def _require_finite(self, loss: Loss, what: str, batch: Batch, seed: int) -> None:
        if self._on_any_rank(not bool(torch.isfinite(loss.total))):
            raise NonFiniteError(_sentence(what, self._first_place(batch, seed)))

    @property
    def _is_sharded(self) -> bool:
        return isinstance(self.trainer.strategy, FSDPStrategy)

    def _objective(self, batch: Batch) -> Loss:
        with self.trainer.precision_plugin.train_step_context():
            loss = self.objective(self.flow, batch)
        if not isinstance(loss, Loss):
            raise TypeError(f"an objective must return a Loss, got {type(loss).__name__}: return Loss(total)")
        return loss

    def _augmented(self, batch: Batch) -> Batch:
        if self.augmentation is None:
            return batch
        generator = torch.Generator(batch.x.device).manual_seed(self._step_seed("augmentation"))
        return Batch(self.augmentation(batch.x, generator), batch.context)

    def _step_seed(self, purpose: str) -> int:
        return derived_seed(self.seed, purpose, self.trainer.global_step, self.global_rank)

    def _validation_seed(self, batch_idx: int) -> int:
        return derived_seed(self.seed, "validation", batch_idx, self.global_rank)

    def _on_any_rank(self, condition: bool) -> bool:
        if self.trainer.world_size == 1:
            return condition
        return bool(self.trainer.strategy.reduce_boolean_decision(condition, all=False))

    def _explain_step(self) -> str:
        assert self._batch is not None
        place = self._first_place(self._augmented(self._batch), self._step_seed("noise"), gradients=True)
        what = "gradient" if place is None or place.startswith(_GRADIENT) else "loss"
        return _sentence(f"the {what} is not finite in step {self.trainer.global_step + 1}", place)

    def _first_place(self, batch: Batch, seed: int, *, gradients: bool = False) -> str | None:
        """Return where the first value is that is not finite, on the first rank that has one."""

        def run() -> None:
            seed_generators(seed, self.device)
            self._objective(batch)

        place = None if self._is_sharded else first_non_finite_layer(self.flow, run)
        if place is None and gradients:
            name = last_non_finite_gradient(self.flow.named_parameters())
            place = None if name is None else f"{_GRADIENT}{name}"
        if self.trainer.world_size == 1:
            return place
        places: list[str | None] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(places, place)
        found = [f"{place} on rank {rank}" for rank, place in enumerate(places) if place is not None]
        found.sort(key=lambda place: place.startswith(_GRADIENT))  # a bad loss on one rank is in all gradients
        return found[0] if found else None


VALIDATED = "validated"
"""Name of the mean of the objective over the validation examples among the trainer's metrics."""
_GRADIENT = "the gradient of "


def _sentence(what: str, place: str | None) -> str:
    first = "" if place is None else f"; the first value that is not finite is {place}"
    return (
        f"{what}{first}; "
        "a smaller optimizer.learning_rate, a longer optimizer.warmup_steps or a model.max_row_sum may help"
    )
