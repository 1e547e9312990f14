"""The examples of a training step, as a function of the seed, the step and the rank."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from inverseflow.data import Examples
from inverseflow.training.loop.module import Pair
from inverseflow.utils.seeding import derived_seed


@dataclass(eq=False)
class StepBatches:
    """The indices of the examples of each training step, without end.

    The passes over the data, each in a random order of its own, are concatenated; step t takes the t-th piece of this
    sequence, and each rank its share of the piece. So a batch can span two passes, all batches have the same size, and
    a resumed run continues where it stopped. Lightning's own resume starts the pass again, in another order.
    """

    num_examples: int
    batch_size: int
    seed: int
    start: int = 0
    rank: int = 0
    world_size: int = 1
    _order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __iter__(self) -> Iterator[Tensor]:
        return map(self.at, count(self.start))

    def at(self, step: int) -> Tensor:
        """Return the indices of step `step`."""
        begin = (step * self.world_size + self.rank) * self.batch_size
        parts: list[Tensor] = []
        while (missing := self.batch_size - sum(len(part) for part in parts)) > 0:
            number, place = divmod(begin + self.batch_size - missing, self.num_examples)
            parts.append(self._pass(number)[place : place + missing])
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _pass(self, number: int) -> Tensor:
        if self._order[0] != number:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", number))
            self._order = number, torch.randperm(self.num_examples, generator=generator)
        return self._order[1]


@dataclass(frozen=True)
class _Batches:
    """The batches at a sequence of indices; an iterable without the overhead of a `DataLoader` with one process."""

    examples: Examples
    indices: Iterable[Tensor]

    def __iter__(self) -> Iterator[Pair]:
        for indices in self.indices:
            batch = self.examples.batch(indices)
            yield batch.x, batch.context


class ExampleData(LightningDataModule):
    """Training and validation examples for the Lightning trainer.

    Each rank validates an equal share; up to `world_size − 1` examples are left out so that the shares are equal.
    """

    def __init__(self, train: Examples, validation: Examples, batch_size: int, seed: int) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> Iterable[Pair]:
        """Return the batches of the training steps from the trainer's current step on."""
        assert self.trainer is not None
        steps = StepBatches(
            len(self.train),
            self.batch_size,
            seed=self.seed,
            start=self.trainer.global_step,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return _Batches(self.train, steps)

    def val_dataloader(self) -> Iterable[Pair]:
        """Return this rank's share of the validation examples."""
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        share = torch.arange(rank, len(self.validation) // world_size * world_size, world_size)
        return _Batches(self.validation, share.split(self.batch_size))
