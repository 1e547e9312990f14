"""Seeds derived from a purpose, so that a run can be stopped and resumed anywhere with the same random numbers."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in [0, 2⁶³): equal for equal arguments, unrelated for different ones.

    Example:
        >>> derived_seed(0, "training", 17, 0) == derived_seed(0, "training", 17, 1)
        False
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global generators for a block, and restore their state afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derived_seed(seed, *purpose))
        yield
