"""Which images a training step sees, as a function of the seed, the step and the rank."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from inverseflow.data import Images
from inverseflow.utils.seeding import derived_seed


class StepBatches(Sampler[list[int]]):
    """The indices of each training step, without end.

    All passes over the data, each in its own order, stand one after another; step t takes the t-th piece of that row,
    and each rank its share of the piece. So a batch may reach from one pass into the next, none is smaller than the
    others, and a resumed run goes on where the first one stopped.

    Args:
        num_images: Images in the data set.
        batch_size: Images in a step on one rank.
        seed: Decides the order.
        start: The first step that iteration yields.
        rank: The rank whose share it is.
        world_size: How many ranks share a step.

    Example:
        >>> batches = StepBatches(5, 2, seed=0)
        >>> sorted(batches.at(0) + batches.at(1) + batches.at(2)[:1])
        [0, 1, 2, 3, 4]
        >>> next(iter(StepBatches(5, 2, seed=0, start=7))) == batches.at(7)
        True
    """

    def __init__(
        self, num_images: int, batch_size: int, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size
        self._order: tuple[int, list[int]] = (-1, [])

    def __iter__(self) -> Iterator[list[int]]:
        return map(self.at, count(self.start))

    def at(self, step: int) -> list[int]:
        """The indices of step `step`."""
        begin = (step * self.world_size + self.rank) * self.batch_size
        places = (divmod(place, self.num_images) for place in range(begin, begin + self.batch_size))
        return [self._pass(number)[place] for number, place in places]

    def _pass(self, number: int) -> list[int]:
        if self._order[0] != number:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", number))
            self._order = number, torch.randperm(self.num_images, generator=generator).tolist()
        return self._order[1]


class ImageData(LightningDataModule):
    """Training and validation images for the Lightning trainer.

    Each rank validates an equal share; up to `world_size − 1` images are left out so that the shares are equal.

    Args:
        train: Training images.
        validation: Validation images.
        batch_size: Images in a step on one rank.
        seed: Decides the order of the training images.
    """

    def __init__(self, train: Images, validation: Images, batch_size: int, seed: int) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Tensor]:
        """The batches of the training steps from the trainer's current step on."""
        assert self.trainer is not None
        steps = StepBatches(
            len(self.train),
            self.batch_size,
            seed=self.seed,
            start=self.trainer.global_step,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return _loader(self.train, steps)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """This rank's share of the validation images."""
        assert self.trainer is not None
        size, world_size = self.batch_size, self.trainer.world_size
        share = list(range(self.trainer.global_rank, len(self.validation) // world_size * world_size, world_size))
        return _loader(self.validation, [share[begin : begin + size] for begin in range(0, len(share), size)])


def _loader(images: Images, batches: Sampler[list[int]] | list[list[int]]) -> DataLoader[Tensor]:
    return DataLoader(images, batch_sampler=batches, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:  # the data set has made a batch already
    return batch
