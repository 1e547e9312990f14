"""Non-blind deconvolution by inverse convolutions, against Wiener and Richardson–Lucy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from experiments.deblurring.baselines import (
    PADDING,
    Method,
    WienerFilters,
    psnr,
    restored,
    richardson_lucy,
    ssim,
    unsupervised,
    wiener,
)
from experiments.deblurring.blended import Blended
from experiments.deblurring.blurred import (
    NOISE,
    RADIUS,
    TEST,
    TRAINING,
    Observation,
    blurs,
    observation,
    patches,
    picture,
)
from experiments.deblurring.four_corners import FourCorners, learn, power_spectrum
from experiments.deblurring.report import METHODS, SHOWN, parts
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values
from inverseflow.utils.seeding import derived_seed, seeded
from inverseflow.utils.timing import time_in_turn

_BALANCES = tuple(10 ** (exponent / 4) for exponent in range(-16, 9))
_ITERATIONS = (2, 5, 10, 15, 20, 30, 50, 80, 120)
_SCALES = (0.05, 0.5, 5.0, 50.0)
_MULTIPLES = (100.0, 10.0, 1.0, 0.1)  # of four spreads, the one with the least mean error on the training images
_LEARNING_RATE = 0.005
_MARGIN = 12
_CROP = 88
_CROP_OFF = (-76, -16)  # from the center of the image camera to the head
_ROUNDS_TIMED = 5
_AT_MOST_MS = 4_000


@dataclass(frozen=True)
class Size:
    """Amount of data and training."""

    test: tuple[str, ...]
    """Test images."""
    side: int
    """Their largest side."""
    training: tuple[str, ...]
    """Training images."""
    training_side: int
    """Their largest side."""
    blurs: int
    """Number of blurs, starting with the first."""
    kernel_size: int
    """Kernel size of every inverse convolution."""
    rounds: int
    """Number of passes through the four corners."""
    batch: int
    """Patches in a training step."""
    patch: int
    """Side of a patch."""
    steps: tuple[int, int]
    """Training steps of the linear filter, and of each blended bank."""


SIZES: dict[Budget, Size] = {
    "smoke": Size(("astronaut", "camera"), 128, ("cat", "coffee"), 192, 1, 5, 2, 4, 48, (10, 20)),
    "quick": Size(TEST, 256, TRAINING, 512, 3, 7, 2, 8, 88, (400, 600)),
    "full": Size(TEST, 512, TRAINING, 1024, 3, 9, 2, 16, 128, (4_000, 10_000)),
}


@dataclass(frozen=True)
class Learned:
    """Models trained for one blur."""

    linear: FourCorners
    """A single four-corner filter."""
    blended: Blended
    """A blended bank of four-corner filters."""
    blended_wiener: Blended
    """The control: a blended bank of fixed Wiener filters."""


def measure(blur: str, size: Size, device: str = "cpu") -> dict[str, Values]:
    """Train, tune and compare all methods on one blur.

    Args:
        blur: name of the point spread function.
        size: amount of data and training.
        device: device for our filters.

    Returns:
        For each test image ``psnr`` and ``ssim`` of all methods by name, and for one of them a ``crop`` of the images;
        under ``"all pictures"`` tuned values, numbers of parameters and times.
    """
    psf = blurs()[blur]
    balance, iterations = tuned(blur, size)
    began = time.perf_counter()
    models = learned(psf, balance, size, device)
    seconds = time.perf_counter() - began
    methods: dict[str, Method] = {
        "blurred": lambda blurred: blurred,
        "wiener": partial(wiener, psf, balance),
        "unsupervised": partial(unsupervised, psf),
        "richardson_lucy": partial(richardson_lucy, psf, iterations),
        "linear": partial(_estimated, models.linear, device),
        "blended": partial(_estimated, models.blended, device),
        "blended_wiener": partial(_estimated, models.blended_wiener, device),
    }
    observed = {name: observation(name, size.side, blur) for name in size.test}
    measured: dict[str, Values] = {}
    for name, observation_ in observed.items():
        estimates = {key: restored(method, observation_.blurred) for key, method in methods.items()}
        by_balance = [restored(partial(wiener, psf, each), observation_.blurred) for each in _BALANCES]
        estimates["wiener_best"] = max(by_balance, key=lambda estimate: psnr(estimate, observation_.truth))
        measured[name] = {
            "psnr": {key: psnr(estimates[key], observation_.truth) for key in METHODS},
            "ssim": {key: ssim(estimates[key], observation_.truth) for key in METHODS},
        }
        if name == "camera":
            measured[name]["crop"] = embedded(_strip([observation_.truth, *(estimates[key] for key in SHOWN)]))
    first = observed[size.test[0]].blurred
    timings = time_in_turn(
        {key: partial(restored, method, first) for key, method in methods.items() if key != "blurred"},
        rounds=_ROUNDS_TIMED,
        at_least_ms=5,
        at_most_ms=_AT_MOST_MS,
        device=torch.device(device),
    )
    measured["all pictures"] = {
        "timed": list(first.shape),
        "times": {key: asdict(timing) for key, timing in timings.items()},
        "parameters": {
            "linear": _parameters(models.linear),
            "blended": _parameters(models.blended),
            "blended_wiener": _parameters(models.blended_wiener),
        },
        "balance": balance,
        "iterations": iterations,
        "learning_seconds": seconds,
    }
    return measured


def tuned(blur: str, size: Size) -> tuple[float, int]:
    """Tune Wiener's balance and the iterations of Richardson–Lucy on the training images.

    Args:
        blur: name of the point spread function.
        size: sizes of the images. Richardson–Lucy is slow, so its training images are as small as the test images.
    """
    psf = blurs()[blur]

    def error(method: Method, observed: Sequence[Observation]) -> float:
        return sum(float((restored(method, each.blurred) - each.truth).square().mean()) for each in observed)

    whole, middles = (
        [observation(name, side, blur) for name in size.training] for side in (size.training_side, size.side)
    )
    balance = min(_BALANCES, key=lambda balance: error(partial(wiener, psf, balance), whole))
    iterations = min(_ITERATIONS, key=lambda count: error(partial(richardson_lucy, psf, count), middles))
    return balance, iterations


def learned(psf: Tensor, balance: float, size: Size, device: str = "cpu") -> Learned:
    """Train a four-corner filter, a blended bank of such filters, and a blended bank of fixed Wiener filters.

    Both blending networks start from the same weights, and all models see the same patches of the training images.

    Args:
        psf: point spread function.
        balance: tuned balance of Wiener; the fixed filters use multiples of it.
        size: sizes of filters and training.
        device: device to train on.
    """
    pictures = [picture(name, size.training_side) for name in size.training]
    spectrum = power_spectrum(pictures)
    common = {"kernel_size": size.kernel_size, "rounds": size.rounds}
    with seeded(0, "deblurring", "weights"):
        linear = FourCorners(psf, spectrum, (1.0,), **common)
        blended = Blended(FourCorners(psf, spectrum, _SCALES, **common), len(_SCALES))
        fixed = WienerFilters(psf, [multiple * balance for multiple in _MULTIPLES])
        blended_wiener = Blended(fixed, len(_MULTIPLES))
    blended_wiener.weights.load_state_dict(blended.weights.state_dict())

    def learn_on_patches(model: nn.Module, steps: int) -> None:
        generator = torch.Generator().manual_seed(derived_seed(0, "deblurring", "patches"))

        def draw() -> tuple[Tensor, Tensor]:
            blurred, truth = patches(pictures, psf, size.batch, size.patch, generator)
            return blurred.to(device), truth.to(device)

        learn(model.to(device), draw, steps=steps, learning_rate=_LEARNING_RATE, margin=_MARGIN)

    steps_linear, steps_blended = size.steps
    learn_on_patches(linear, steps_linear)
    learn_on_patches(blended, steps_blended)
    learn_on_patches(blended_wiener, steps_blended)
    return Learned(linear.eval(), blended.eval(), blended_wiener.eval())


@torch.no_grad()
def _estimated(model: nn.Module, device: str, blurred: Tensor) -> Tensor:
    estimate: Tensor = model(blurred[None, None].to(device))
    return estimate[0, 0].cpu()


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _strip(pictures: Sequence[Tensor]) -> Tensor:
    """Return the same part of several images side by side, in gray levels."""
    cut = []
    for each in pictures:
        top, left = (max(0, (size - _CROP) // 2 + off) for size, off in zip(each.shape, _CROP_OFF, strict=True))
        cut.append(each[top : top + _CROP, left : left + _CROP])
    return (255 * torch.cat(cut, 1)).round().to(torch.uint8)


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    measured = {
        **asdict(size),
        "noise": NOISE,
        "scales": _SCALES,
        "multiples": _MULTIPLES,
        "wiener_edges": "mirrored without end",
        "padding": PADDING,
        "device": settings.device,
    }
    return [
        Task(blur, dict.fromkeys((*size.test, "all pictures"), measured), partial(measure, blur, size, settings.device))
        for blur in list(blurs())[: size.blurs]
    ]


def _draw(result: Result) -> Figure:
    rows = [row for row in result.rows if "crop" in row.values]
    figure = Figure(figsize=(2.1 * (1 + len(SHOWN)), 2.3 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 1 + len(SHOWN), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        crops = np.split(pixels_of(row.values["crop"]), 1 + len(SHOWN), axis=1)
        titles = ["original", *(f"{METHODS[key]}\n{row.values['psnr'][key]:.2f} dB" for key in SHOWN)]
        for axes, crop, title in zip(line, crops, titles, strict=True):
            axes.imshow(crop, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(title, fontsize="small")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(row.part, fontsize="small")
    return figure


EXPERIMENTS = (
    Experiment(
        name="deblurring",
        title="Deblurring by inverse convolutions",
        about=f"""
Images that come with scikit-image, converted to gray, are blurred by a known point spread function. Normal noise of
known standard deviation {NOISE} is added. The blurred image is {RADIUS} pixels smaller on each side, so no method knows
the pixels that were blurred into its edge. For all methods it is extended by reflection, {PADDING} pixels on each side.
Every estimate is clipped to [0, 1] and compared with the truth on the whole area of the blurred image.

Our methods correlate with the blur, as Wiener does, and then apply inverse convolutions from all four corners. *Four
corners* is one such linear filter. *Blended* is a bank of {len(_SCALES)} of them, weighted pixel by pixel by a small
network. Their taps start at the truncated factors of the regularized blur's spectrum and are trained for the least mean
squared error on patches of other images (eight of scikit-image, two of scikit-learn). The same error on the same images
determines the `balance` of scikit-image's `wiener` and, on their centers, the number of iterations of its
`richardson_lucy`. `unsupervised_wiener` estimates both of its weights from each image. *Wiener, best* uses the truth:
for each test image it takes the balance with the highest PSNR. Cells are PSNR in dB and SSIM.

*Blended Wiener* is a control for the contribution of inverse convolutions to *blended*. The same network, with the same
initial weights, patches, number of steps and learning rates, blends as many filters. These are fixed filters of
`wiener` at {", ".join(f"{multiple:g}" for multiple in _MULTIPLES)} times the chosen balance. This spread, too, was
chosen by the error on the training images. All Wiener filters act on an image that is extended by reflection without
end, so they do not ring at its edges.""",
        tasks=_tasks,
        parts=parts,
        draw=_draw,
    ),
)
