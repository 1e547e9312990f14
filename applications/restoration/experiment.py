"""Noise removed beside classical methods, and digits from a quarter of their measurements beside total variation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS, to_bytes
from applications.restoration.data import TEST, bundled, centre, gray
from applications.restoration.models import denoise, load_denoiser, load_flow
from applications.restoration.noise import estimate_sigma
from benchmarks.markdown import table
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values
from experiments.trained.training import images
from inverseflow.inference import invert, reconstruct

_SIGMAS = (15, 25, 50)
_OURS, _BLIND, _MEANS, _VARIATION = "network", "network, noise estimated", "non-local means", "total variation"
_PRIOR = "flow prior"
_WEIGHTS = (3.0, 10.0, 30.0)
_NOISE = 0.05
_DIGIT = 28
_SHOWN = "camera"
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """Amount of pictures."""

    pictures: tuple[str, ...]
    side: int
    digits: int
    evaluations: int


SIZES: dict[Budget, Size] = {
    "smoke": Size(TEST[:1], 48, 1, 5),
    "quick": Size(TEST, 192, 2, 120),
    "full": Size(TEST, 512, 20, 500),
}


def measure_denoising(size: Size, sigma: int) -> dict[str, Values]:
    """Denoise every picture by every method, which is told the deviation unless it estimates it."""
    model = load_denoiser()

    def network(noisy: Tensor, known: float) -> Tensor:
        return denoise(model, noisy, known)

    def blind(noisy: Tensor, known: float) -> Tensor:
        return denoise(model, noisy, estimate_sigma(noisy))

    methods = {
        _OURS: network,
        _BLIND: blind,
        _MEANS: _on_arrays(lambda y, known: denoise_nl_means(y, 5, 6, h=0.8 * known, sigma=known)),
        _VARIATION: _on_arrays(lambda y, known: denoise_tv_chambolle(y, weight=0.8 * known)),
    }
    values: dict[str, Values] = {name: {"psnr": [], "ssim": [], "seconds": 0.0} for name in methods}
    for number, name in enumerate(size.pictures):
        clean = centre(gray(bundled(name)), size.side)
        noisy = clean + sigma / LEVELS * torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))
        for method, function in methods.items():
            began = time.perf_counter()
            result = function(noisy, sigma / LEVELS).clamp(0, 1)
            values[method]["seconds"] += (time.perf_counter() - began) / len(size.pictures)
            pair = clean[0].numpy(), result[0].numpy()
            values[method]["psnr"].append(float(peak_signal_noise_ratio(*pair, data_range=1)))
            values[method]["ssim"].append(float(structural_similarity(*pair, data_range=1)))
            if name == _SHOWN and sigma == _SIGMAS[-1]:
                values[method]["picture"] = embedded(to_bytes(result)[0])
        if name == _SHOWN and sigma == _SIGMAS[-1]:
            values[_OURS] |= {"clean": embedded(to_bytes(clean)[0]), "noisy": embedded(to_bytes(noisy)[0])}
    return values


def measure_digits(size: Size, kind: str, data_dir: Path | None) -> dict[str, Values]:
    """Reconstruct digits from a quarter of their numbers by the prior of a flow, and by total variation."""
    flow, generator = load_flow(), torch.Generator().manual_seed(0)
    digits = images("mnist", data_dir, size.digits).test.tensor()[: size.digits] / LEVELS
    pixels, count = _DIGIT**2, _DIGIT**2 // 4
    if kind == "Gaussian":
        matrix = torch.randn(count, pixels, generator=generator) / count**0.5
        operator: Callable[[Tensor], Tensor] = lambda u: u.flatten(1) @ matrix.T  # noqa: E731
    else:
        kept = torch.randperm(pixels, generator=generator)[:count]
        operator = lambda u: u.flatten(1)[:, kept]  # noqa: E731
    prior, variation, gradients = [], [], []
    for digit in digits[:, None] if digits.ndim == 3 else digits:
        measured = operator(digit[None])[0]
        measured = measured + _NOISE * torch.randn(measured.shape, generator=generator)
        found = reconstruct(flow, operator, measured, noise=_NOISE, max_evaluations=size.evaluations)
        prior.append(_psnr(digit, found.x))
        gradients.append(float(found.gradient))
        variation.append([_psnr(digit, _total_variation(operator, measured, mu, size)) for mu in _WEIGHTS])
    return {
        _PRIOR: {"psnr": prior, "gradient": gradients},
        _VARIATION: {"psnr": [max(row) for row in variation]},
    }


def _total_variation(operator: Callable[[Tensor], Tensor], measured: Tensor, weight: float, size: Size) -> Tensor:
    def residuals(u: Tensor) -> Tensor:
        picture = u.view(-1, 1, _DIGIT, _DIGIT)
        across, down = F.pad(picture.diff(dim=3), (0, 1)), F.pad(picture.diff(dim=2), (0, 0, 0, 1))
        steps = (2 * weight) ** 0.5 * (across**2 + down**2 + 1e-6) ** 0.25
        return torch.cat([operator(picture) / _NOISE, steps.flatten(1)], 1)

    target = torch.cat([measured / _NOISE, torch.zeros(_DIGIT**2)])
    evaluations = 4 * size.evaluations
    start = torch.zeros(_DIGIT**2)
    found = invert(
        residuals,
        target,
        inputs=_DIGIT**2,
        start=start,
        restarts=1,
        patience=evaluations,
        max_evaluations=evaluations,
    )
    return found.solutions[0].view(1, _DIGIT, _DIGIT)


def _on_arrays(function: Callable[[Picture, float], Picture]) -> Callable[[Tensor, float], Tensor]:
    def on_tensors(noisy: Tensor, known: float) -> Tensor:
        return torch.from_numpy(np.asarray(function(noisy[0].numpy(), known), dtype=np.float32))[None]

    return on_tensors


def _psnr(truth: Tensor, found: Tensor) -> float:
    clipped = found.detach().clamp(0, 1).view_as(truth)
    return float(peak_signal_noise_ratio(truth.numpy(), clipped.numpy(), data_range=1))


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    fixed = asdict(size)
    methods = (_OURS, _BLIND, _MEANS, _VARIATION)
    tasks = [
        Task(f"noise of {sigma}", dict.fromkeys(methods, fixed), partial(measure_denoising, size, sigma))
        for sigma in _SIGMAS
    ]
    if settings.budget != "smoke":
        tasks += [
            Task(
                f"digits, {kind}",
                dict.fromkeys((_PRIOR, _VARIATION), fixed),
                partial(measure_digits, size, kind, settings.data_dir),
            )
            for kind in ("Gaussian", "mask")
        ]
    return tasks


def _parts(result: Result) -> list[str]:
    rows = []
    for name in (_OURS, _BLIND, _MEANS, _VARIATION):
        cells = []
        for sigma in _SIGMAS:
            (row,) = result.parts(name, f"noise of {sigma}")
            cells += [f"{np.mean(row.values['psnr']):.2f}", f"{np.mean(row.values['ssim']):.3f}"]
        seconds = result.parts(name, f"noise of {_SIGMAS[0]}")[0].values["seconds"]
        rows.append([name, *cells, f"{seconds:.2f}"])
    head = ["method", *(f"{kind}, σ = {sigma}" for sigma in _SIGMAS for kind in ("PSNR", "SSIM")), "s a picture"]
    parts = [
        table(head, rows),
        f"Means over {len(result.parts(_OURS, 'noise of')[0].values['psnr'])} pictures, PSNR in dB. Non-local means "
        "and total variation are those of scikit-image with one setting for each σ; a setting for each picture could "
        "come closer.",
    ]
    kinds = [kind for kind in ("Gaussian", "mask") if result.parts(_PRIOR, f"digits, {kind}")]
    if kinds:
        rows = []
        for kind in kinds:
            cells = []
            for name in (_PRIOR, _VARIATION):
                cells.append(mean_and_deviation(result.parts(name, f"digits, {kind}")[0].values["psnr"], 1))
            rows.append([kind, *cells])
        gradients = [
            gradient for kind in kinds for gradient in result.parts(_PRIOR, f"digits, {kind}")[0].values["gradient"]
        ]
        parts += [
            table(["measurements", "flow prior, dB", "total variation, dB"], rows),
            f"Digits of MNIST from a quarter of their numbers with noise of {_NOISE}: random projections, and pixels. "
            f"Of total variation the best of {len(_WEIGHTS)} weights for each digit. The searches in the latent "
            "stopped at a fixed number of evaluations, with gradients of "
            f"{min(gradients):.1f} to {max(gradients):.1f}.",
        ]
    return parts


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(12, 3), layout="constrained")
    axes = figure.subplots(1, 5)
    part = f"noise of {_SIGMAS[-1]}"
    ours = result.parts(_OURS, part)[0].values
    shown = {"original": ours.get("clean"), f"noise of {_SIGMAS[-1]}": ours.get("noisy")}
    shown |= {name: result.parts(name, part)[0].values.get("picture") for name in (_OURS, _MEANS, _VARIATION)}
    for place, (title, text) in zip(axes, shown.items(), strict=True):
        if text is not None:
            place.imshow(pixels_of(text), cmap="gray", vmin=0, vmax=LEVELS)
        place.set_title(title, fontsize=9)
        place.set(xticks=[], yticks=[])
    return figure


EXPERIMENTS = (
    Experiment(
        name="restoration",
        title="Noise and missing measurements",
        about="""
How well does the small network of `applications/restoration` remove synthetic white noise from gray pictures of
scikit-image that did not train it, beside the methods of scikit-image? And how much does a flow of digits, the prior of
`inverseflow.inference.reconstruct`, know about a digit of which a quarter is measured?""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
