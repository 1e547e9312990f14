"""Train the networks that are shipped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from applications.pictures import to_bytes
from applications.steganography.color_flow import BitLoss, ColorFlow, to_lightness
from applications.steganography.distortions import jpeg_surrogate
from applications.steganography.network import COLORS, HidingFlow, HidingLoss, Options, with_room
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


@dataclass(frozen=True)
class ColorAmount:
    """How much is trained of a `ColorFlow`."""

    steps: int = 800
    """Training steps: half of them for the density alone, half with the bits."""
    crops: int = 600
    """Crops of the pictures, each of which is cut in four."""
    batch_size: int = 16
    learning_rate: float = 3e-3
    bit_weight: float = 12.0
    """Weight of the loss of the bits beside nats per element."""


def train_colors(
    data_dir: Path, amount: ColorAmount, seed: int = 0, *, progress: bool = True
) -> tuple[ColorFlow, FitResult]:
    """Return a flow of colors that was trained on crops of the photographs: first its density, then its bits.

    Args:
        data_dir: a folder with ``photos/`` and ``cifar10-jpeg/``.
        amount: how much is trained.
        seed: of crops, weights and order.
        progress: whether to show a progress bar.
    """
    rows = torch.cat(training_crops(data_dir, amount.crops, seed, together=1).chunk(2, 2))
    return train_colors_on(torch.cat(rows.chunk(2, 3)), amount, seed, progress)


def train_colors_on(
    crops: Tensor, amount: ColorAmount, seed: int = 0, progress: bool = True
) -> tuple[ColorFlow, FitResult]:
    """Train on given crops ``(N, 3, H, W)`` with values from 0 to 1; see `train_colors`."""
    lightness, colors = to_lightness(to_bytes(with_room(crops)))
    with seeded(seed, "weights"):
        flow = ColorFlow(tuple(colors.shape[1:]))
        dithered = colors + torch.rand(colors.shape) - 0.5
    steps = amount.steps // 2
    for weight in (0.0, amount.bit_weight):
        result = fit(
            flow,
            dithered,
            lightness.float(),
            objective=BitLoss(weight),
            max_steps=steps,
            batch_size=min(amount.batch_size, len(crops) - 1),
            learning_rate=amount.learning_rate,
            warmup_steps=min(30, steps - 1),
            clip_norm=1.0,
            validation=0.03,
            validate_every=max(1, steps // 5),
            seed=seed,
            progress=progress,
        )
    return flow, result
