"""The trained network of the commands: made by ``train``, read by the others."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from applications.models import Network, load, save
from applications.pictures import LEVELS
from applications.restoration.data import LUMA_CHROMA, patches, training_pictures
from applications.restoration.invdn import InvDN, InvDNLoss
from applications.restoration.lifting import DecibelLoss, LiftingDenoiser
from applications.restoration.noise import estimate_sigma
from inverseflow import fit
from inverseflow.data import load_images
from inverseflow.flows import Glow
from inverseflow.utils.arguments import finite_number
from inverseflow.utils.seeding import seeded

DENOISER = Path(__file__).parent / "denoiser.safetensors"
FLOW = Path(__file__).parent / "digits.safetensors"
INVDN = Path(__file__).parent / "invdn.safetensors"
NOISE_OF_PRIOR = 0.05
"""Deviation of the noise on the digits that the flow learns, for values from 0 to 1."""
_COMMAND = "python -m applications.restoration train"
_SIDE = 40
_PATCHES = 6_000


def train_denoiser(
    path: Path,
    data_dir: Path | None,
    *,
    network: type[LiftingDenoiser | InvDN] = LiftingDenoiser,
    steps: int,
    batch_size: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> float:
    """Train a denoiser on patches of the training pictures and write its weights.

    Args:
        path: of the file.
        data_dir: folder of the data sets, None for the pictures that come with packages alone.
        network: its class, with its own objective.
        steps: training steps.
        batch_size: patches in a step.
        seed: of weights, patches and noise.
        progress: whether to show a progress bar.

    Returns:
        The objective in validation, of `LiftingDenoiser` the error in dB.
    """
    generator = torch.Generator().manual_seed(seed)
    cut = patches(training_pictures(data_dir), _PATCHES, _SIDE, generator)
    with seeded(seed, "weights"):
        model = network(_SIDE)
    result = fit(
        model,
        cut,
        objective=InvDNLoss() if network is InvDN else DecibelLoss(),
        validation=0.04,
        max_steps=steps,
        batch_size=batch_size,
        learning_rate=2e-3,
        clip_norm=50.0,
        validate_every=max(1, steps // 4),
        seed=seed,
        progress=progress,
    )
    save(model, path)
    return result.best_value


def new_flow() -> Glow:
    """Return the flow of digits that `reconstruct` takes as a prior, untrained."""
    return Glow((1, 28, 28), levels=None, spline="none", scales=2, steps=4, width=32)


def train_flow(path: Path, data_dir: Path, *, steps: int, seed: int = 0, progress: bool = False) -> float:
    """Train a flow of MNIST, blurred by noise of deviation `NOISE_OF_PRIOR`, and write its weights.

    Args:
        path: of the file.
        data_dir: folder of the data sets.
        steps: training steps.
        seed: of weights, order and noise.
        progress: whether to show a progress bar.

    Returns:
        The nats of an image in validation.
    """
    digits = load_images("mnist", data_dir=data_dir).train.tensor() / LEVELS
    generator = torch.Generator().manual_seed(seed)
    digits = digits + NOISE_OF_PRIOR * torch.randn(digits.shape, generator=generator)
    with seeded(seed, "flow"):
        flow = new_flow()
    result = fit(
        flow,
        digits,
        validation=0.005,
        max_steps=steps,
        batch_size=16,
        learning_rate=2e-3,
        warmup_steps=min(100, steps // 10),
        validate_every=max(1, steps // 4),
        seed=seed,
        progress=progress,
    )
    save(flow, path)
    return result.best_value


def load_flow(path: Path = FLOW) -> Glow:
    """Return the trained flow of a file.

    Raises:
        DataError: if the file is missing, or holds another network.
    """
    flow = new_flow()
    load(flow, path, _COMMAND)
    return flow.eval()


def load_denoiser(path: Path = DENOISER) -> LiftingDenoiser:
    """Return the trained network of a file.

    Raises:
        DataError: if the file is missing, or holds another network.
    """
    model = LiftingDenoiser(_SIDE)
    load(model, path, _COMMAND)
    return model.eval()


def load_invdn(path: Path = INVDN) -> InvDN:
    """Return the trained network of a file.

    Raises:
        DataError: if the file is missing, or holds another network.
    """
    model = InvDN(_SIDE)
    load(model, path, f"{_COMMAND} invdn")
    return model.eval()


@torch.no_grad()
def denoise(model: Network, picture: Tensor, sigma: float | None = None) -> Tensor:
    """Denoise a gray or color picture of any size, each channel of luma and chroma by itself.

    Args:
        model: the trained network.
        picture: ``(1, H, W)`` or ``(3, H, W)``, values from 0 to 1; values beyond them are noise too.
        sigma: deviation of the noise in the same unit; None to estimate it.

    Returns:
        The picture, of the same shape. Without noise it is the given one.
    """
    sigma = estimate_sigma(picture) if sigma is None else finite_number("sigma", sigma, at_least=0)
    if sigma * LEVELS < 0.25:
        return picture
    if len(picture) == 1:
        return _denoised(model, picture, sigma)
    channels = torch.einsum("ij,jhw->ihw", LUMA_CHROMA, picture)
    return torch.einsum("ij,ihw->jhw", LUMA_CHROMA, _denoised(model, channels, sigma))


def _denoised(model: Network, channels: Tensor, sigma: float) -> Tensor:
    given = channels.new_full((1, 1), sigma)
    return torch.cat([model(channel[None, None], given)[0] for channel in channels])
