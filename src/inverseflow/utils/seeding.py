"""Random numbers as a function of what they are for, so that a run can be stopped and resumed anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2⁶³) for one purpose: equal for equal arguments, unrelated for different ones.

    >>> derived_seed(0, "training", 17, 0) == derived_seed(0, "training", 17, 0)
    True
    >>> derived_seed(0, "training", 17, 0) == derived_seed(0, "training", 17, 1)
    False
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seeds torch's global generators for a block and gives them back their state afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derived_seed(seed, *purpose))
        yield
