"""Train the networks that are shipped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from applications.steganography.distortions import jpeg_surrogate
from applications.steganography.network import COLORS, HidingFlow, HidingLoss, Options
from applications.steganography.pairs import training_crops
from inverseflow.training import FitResult, fit
from inverseflow.utils.seeding import seeded

LEVELS_OF_DISTORTION = (0.0, 0.05, 0.1, 0.2)
"""At which a robust network is trained: PNG, and JPEG of quality 95, 90 and 80."""

_START = 300


@dataclass(frozen=True)
class Amount:
    """How much is trained."""

    steps: int = 600
    """Training steps."""
    crops: int = 1500
    """Examples, of a cover and its secrets each."""
    batch_size: int = 8
    learning_rate: float = 1e-3
    secret_weight: float = 0.3
    """Weight of the secret's error beside that of the container."""


def train(
    data_dir: Path, options: Options, amount: Amount, seed: int = 0, *, progress: bool = True
) -> tuple[HidingFlow, FitResult]:
    """Return a network that was started at the linear exchange and trained on crops of the photographs.

    Args:
        data_dir: a folder with ``photos/`` and ``cifar10-jpeg/``.
        options: the architecture.
        amount: how much is trained.
        seed: of crops, weights and order.
        progress: whether to show a progress bar.
    """
    return train_on(training_crops(data_dir, amount.crops, seed, 1 + options.secrets), options, amount, seed, progress)


def train_on(
    crops: Tensor, options: Options, amount: Amount, seed: int = 0, progress: bool = True
) -> tuple[HidingFlow, FitResult]:
    """Train on given examples ``(N, 3 + 3 n, H, W)``; see `train`."""
    with seeded(seed, "weights"):
        flow = HidingFlow(tuple(crops.shape[1:]), options)
    levels = None
    if options.robust:
        with seeded(seed, "start"):
            flow.start(crops[:_START, :COLORS], gain=0.02, share=1 / 5, distort=partial(jpeg_surrogate, quality=90))
        levels = np.random.default_rng(seed).choice(LEVELS_OF_DISTORTION, (len(crops), 1))
    else:
        flow.start(crops[:, :COLORS])
    result = fit(
        flow,
        crops,
        levels,
        objective=HidingLoss(amount.secret_weight),
        max_steps=amount.steps,
        batch_size=min(amount.batch_size, len(crops) - 1),
        learning_rate=amount.learning_rate,
        warmup_steps=min(30, amount.steps - 1),
        clip_norm=1.0,
        validation=0.03,
        validate_every=max(1, amount.steps // 10),
        seed=seed,
        progress=progress,
    )
    return flow, result
