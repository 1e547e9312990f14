"""The images of a training step, as a function of the seed, the step and the rank."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from inverseflow.data import Images
from inverseflow.utils.seeding import derived_seed


@dataclass(eq=False)
class StepBatches(Sampler[list[int]]):
    """Sampler of the image indices of each training step, without end.

    The passes over the data, each in a random order of its own, are concatenated; step t takes the t-th piece of this
    sequence, and each rank its share of the piece. So a batch can span two passes, all batches have the same size, and
    a resumed run continues where it stopped. Lightning's own resume starts the pass again, in another order.
    """

    num_images: int
    batch_size: int
    seed: int
    start: int = 0
    rank: int = 0
    world_size: int = 1
    _order: tuple[int, list[int]] = (-1, [])

    def __iter__(self) -> Iterator[list[int]]:
        return map(self.at, count(self.start))

    def at(self, step: int) -> list[int]:
        """Return the indices of step `step`."""
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
    """

    def __init__(self, train: Images, validation: Images, batch_size: int, seed: int) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Tensor]:
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
        return DataLoader(self.train, batch_sampler=steps, collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Return this rank's share of the validation images."""
        assert self.trainer is not None
        size, world_size = self.batch_size, self.trainer.world_size
        share = list(range(self.trainer.global_rank, len(self.validation) // world_size * world_size, world_size))
        batches = [share[begin : begin + size] for begin in range(0, len(share), size)]
        return DataLoader(self.validation, batch_sampler=batches, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:  # the data set returns batches
    return batch
