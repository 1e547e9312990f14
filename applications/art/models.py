"""The trained networks, and how they restore a picture of any size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from applications.art.data import BUNDLED, PHOTOS, crops, pairs, picture
from applications.art.diffusion import DiffusionLoss, restore, restore_by
from applications.art.unet import Denoiser, Kind
from applications.models import load, save
from inverseflow import fit
from inverseflow.bijections import ReversibleCompose
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import seeded

FOLDER = Path(__file__).parent
WIDTH, DEPTH = 24, 2
TILE, _OVERLAP = 64, 16
_BATCH = 8


def weights_of(kind: Kind) -> Path:
    """Return the file of weights that lies beside the code."""
    return FOLDER / f"{kind}.safetensors"


def train(
    kind: Kind,
    path: Path,
    data_dir: Path | None,
    *,
    steps: int = 1400,
    pictures: int = 2200,
    reversible: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> float:
    """Train a network for all kinds of damage and write its weights in half precision.

    Args:
        kind: of the network.
        path: the file to write.
        data_dir: folder with photos/ in it; None for ``$INVERSEFLOW_DATA``.
        steps: training steps of 8 squares of 32×32 pixels.
        pictures: squares of 64×64 pixels that are damaged; each is cut four times.
        reversible: whether the couplings recompute activations, which saves memory and takes time.
        seed: of weights, damage and training.
        progress: whether to show a progress bar.

    Returns:
        The scaled error in validation.

    Raises:
        DataError: if pictures are missing.
    """
    generator = torch.Generator().manual_seed(seed)
    clean = crops([picture(name, data_dir) for name in BUNDLED + PHOTOS], pictures, TILE, generator)
    with seeded(seed, "weights"):
        model = Denoiser(kind, width=WIDTH, depth=DEPTH)
    for module in model.modules():
        if isinstance(module, ReversibleCompose):
            module.reversible = reversible
    result = fit(
        model,
        pairs(clean, 4, generator),
        objective=DiffusionLoss(),
        validation=0.03,
        max_steps=steps,
        batch_size=_BATCH,
        learning_rate=2e-3,
        warmup_steps=min(50, steps // 4),
        clip_norm=1.0,
        validate_every=max(1, steps // 4),
        seed=seed,
        progress=progress,
    )
    save(model, path, torch.float16)
    return result.best_value


def load_denoiser(kind: Kind = "coupling", path: Path | None = None) -> Denoiser:
    """Return a trained network.

    Raises:
        DataError: if the file is missing, or holds another network.
    """
    model = Denoiser(kind, width=WIDTH, depth=DEPTH)
    load(model, weights_of(kind) if path is None else path, f"python -m applications.art train {kind}")
    return model.eval()


def restore_picture(
    model: Denoiser, damaged: Tensor, *, steps: int = 3, seed: int = 0, scheduler: str | None = None, batch: int = 16
) -> Tensor:
    """Restore a picture of any size in tiles that overlap and are blended.

    Args:
        model: the trained network.
        damaged: ``(3, H, W)``, values from 0 to 1.
        steps: of the sampler.
        seed: of the noise at the start, of which each place gets the same whatever the tiles.
        scheduler: one of diffusers; None for ours.
        batch: tiles at once.

    Returns:
        The restored picture, of the same shape.
    """
    batch = whole_number("batch", batch, at_least=1)
    draw: Callable[..., Tensor] = restore if scheduler is None else partial(restore_by, scheduler)
    generator = Generator().manual_seed(seed)
    height, width = damaged.shape[1:]
    stride = TILE - _OVERLAP
    rows, columns = (max(0, -(-(size - TILE) // stride)) * stride + TILE for size in (height, width))
    mode = "reflect" if rows - height < height and columns - width < width else "replicate"
    padded = F.pad(damaged[None], (0, columns - width, 0, rows - height), mode=mode)[0]
    places = [(top, left) for top in range(0, rows - TILE + 1, stride) for left in range(0, columns - TILE + 1, stride)]
    ramp = (torch.arange(TILE) + 0.5).clamp(max=_OVERLAP) / _OVERLAP
    weight = torch.minimum(ramp, ramp.flip(0))
    weight = weight[:, None] * weight
    total, weights = torch.zeros_like(padded), torch.zeros_like(padded[:1])
    for start in range(0, len(places), batch):
        chosen = places[start : start + batch]
        tiles = torch.stack([padded[:, top : top + TILE, left : left + TILE] for top, left in chosen])
        for (top, left), tile in zip(chosen, draw(model, tiles, steps=steps, generator=generator), strict=True):
            total[:, top : top + TILE, left : left + TILE] += weight * tile
            weights[:, top : top + TILE, left : left + TILE] += weight
    return (total / weights)[:, :height, :width]
