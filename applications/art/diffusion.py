"""Denoising diffusion from a damaged picture to a restored one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from applications.art.unet import Denoiser
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.errors import OptionError
from inverseflow.training import Loss
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.packages import packages_for

TIMES = 200
_BETAS = torch.linspace(5e-4, 0.1, TIMES, dtype=torch.float64)
ALPHA_BAR = torch.cumprod(1 - _BETAS, 0)
"""The share ᾱ of the picture's variance at each time: 3e-5 at the last one."""
_SPREAD = 0.3
"""Assumed deviation of the true picture from the damaged one, for values from −1 to 1."""


def noised(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    r"""Return :math:`x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon` for times ``(B,)``."""
    share = _share(time, clean)
    return share.sqrt() * clean + (1 - share).sqrt() * noise


def guess(model: Density, noisy: Tensor, damaged: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the network's guess of :math:`x_0`, the best linear guess it starts from, and that one's deviation.

    Both guesses are the same if the network returns zero. With the damaged picture y and :math:`x_0 \sim N(y, s^2)`,
    the linear guess is the posterior mean given :math:`x_t`; the network sees y and how far :math:`x_t` is from what
    was expected, in deviations, and predicts what remains, in deviations too. So the
    guess of the noise stays finite at every time, which for a network that predicts ε itself is an error in
    :math:`x_0` of :math:`\sqrt{1/\bar\alpha_t - 1}` times its own, 180 at the first step.
    """
    share = _share(time, noisy)
    precision = 1 / _SPREAD**2 + share / (1 - share)
    linear = (damaged / _SPREAD**2 + share.sqrt() * noisy / (1 - share)) / precision
    deviation = precision**-0.5
    surprise = (noisy - share.sqrt() * damaged) / (share * _SPREAD**2 + 1 - share).sqrt()
    seen = torch.cat([surprise, damaged], 1)
    residual = model(seen, (time.to(noisy.dtype) / TIMES)[:, None])
    return linear + deviation * residual, linear, deviation


def noise_of(noisy: Tensor, clean: Tensor, time: Tensor) -> Tensor:
    """Return the noise of a noisy picture whose clean picture is known or guessed."""
    share = _share(time, noisy)
    return (noisy - share.sqrt() * clean) / (1 - share).sqrt()


@dataclass(frozen=True)
class DiffusionLoss:
    r"""Minimize the squared error of the guess, in deviations of the linear guess.

    It is :math:`\lVert \epsilon - \hat\epsilon \rVert^2`, weighted by :math:`(1-\bar\alpha_t)^2 / (\bar\alpha_t s^2) +
    1 - \bar\alpha_t`: a network that returns zero has a loss near 1 at every time (Karras et al., 2022). x of the batch
    holds the clean and the damaged picture, ``(B, 6, H, W)`` from −1 to 1.
    """

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        clean, damaged = batch.x.chunk(2, 1)
        time = torch.randint(TIMES, (len(clean),), device=clean.device)
        noisy = noised(clean, torch.randn_like(clean), time)
        found, _, deviation = guess(model, noisy, damaged, time)
        error = ((found - clean) / deviation).square().mean()
        return Loss(error, {"scaled_error": error})


@torch.no_grad()
def restore(model: Denoiser, damaged: Tensor, *, steps: int = 20, generator: Generator) -> Tensor:
    r"""Draw restored pictures by DDIM without noise: a deterministic function of the noise at the start.

    .. math:: x_{t'} = \sqrt{\bar\alpha_{t'}}\, \hat x_0 + \sqrt{1 - \bar\alpha_{t'}}\, \hat\epsilon

    Args:
        model: the trained network.
        damaged: ``(B, 3, H, W)``, values from 0 to 1.
        steps: number of steps; 1 returns the mean of what the network holds possible.
        generator: source of the noise.

    Returns:
        Pictures ``(B, 3, H, W)``, values from 0 to 1.
    """
    y = 2 * damaged - 1
    x = torch.randn(y.shape, generator=generator)
    for time, later in _pairs(steps):
        times = torch.full((len(x),), time)
        clean, _, _ = guess(model, x, y, times)
        clean = clean.clamp(-1, 1)
        x = clean if later is None else noised(clean, noise_of(x, clean, times), torch.full((len(x),), later))
    return (x + 1) / 2


@torch.no_grad()
def restore_by(scheduler: str, model: Denoiser, damaged: Tensor, *, steps: int = 20, generator: Generator) -> Tensor:
    """Draw restored pictures by a scheduler of diffusers, such as ``"DPMSolverMultistepScheduler"``.

    Arguments and result are those of `restore`.

    Raises:
        MissingPackageError: if diffusers is not installed.
        OptionError: if it has no such scheduler; the message lists what there is.
    """
    with packages_for("schedulers"):
        import diffusers
    names = sorted(name for name in dir(diffusers.schedulers) if name.endswith("Scheduler"))
    if scheduler not in names:
        raise OptionError(f"diffusers has no scheduler {scheduler!r}; there are {', '.join(names)}")
    settings = {"num_train_timesteps": TIMES, "trained_betas": _BETAS.tolist(), "prediction_type": "epsilon"}
    stepper = getattr(diffusers.schedulers, scheduler)(**settings)
    stepper.set_timesteps(steps)
    y = 2 * damaged - 1
    x = torch.randn(y.shape, generator=generator) * stepper.init_noise_sigma
    for time in stepper.timesteps:
        times = time.long().expand(len(x))
        scaled = stepper.scale_model_input(x, time)
        clean, _, _ = guess(model, scaled, y, times)
        x = stepper.step(noise_of(scaled, clean.clamp(-1, 1), times), time, x).prev_sample
    restored: Tensor = (x.clamp(-1, 1) + 1) / 2
    return restored


def _pairs(steps: int) -> list[tuple[int, int | None]]:
    steps = whole_number("steps", steps, at_least=1, at_most=TIMES)
    times = torch.linspace(TIMES - 1, 0, steps).round().long().tolist() if steps > 1 else [TIMES - 1]
    return list(zip(times, [*times[1:], None], strict=True))


def _share(time: Tensor, like: Tensor) -> Tensor:
    return ALPHA_BAR.to(like)[time].view(-1, 1, 1, 1)
