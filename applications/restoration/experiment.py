"""Noise and blur removed beside classical methods, and digits from a quarter of their measurements."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
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
from applications.restoration.deblurring import deblur, gaussian_kernel
from applications.restoration.models import INVDN, denoise, load_denoiser, load_flow, load_invdn
from applications.restoration.noise import estimate_sigma
from benchmarks.markdown import table
from experiments.deblurring.baselines import restored, richardson_lucy, wiener
from experiments.deblurring.blurred import NOISE, RADIUS, blurs, observe
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values
from experiments.trained.training import images
from inverseflow.inference import invert, reconstruct

_SIGMAS = (15, 25, 50)
_OURS, _BLIND, _MEANS, _VARIATION = "network", "network, noise estimated", "non-local means", "total variation"
_INVDN, _BM3D = "InvDN", "BM3D"
_DENOISED = (_OURS, _BLIND, _INVDN, _BM3D, _MEANS, _VARIATION)
_BLURRED, _PLUGGED, _WIENER, _LUCY = "blurred", "network as a prior", "Wiener", "Richardson–Lucy"
_DEBLURRED = (_BLURRED, _PLUGGED, _WIENER, _LUCY)
_KERNELS = {"Gaussian, σ 1.6": gaussian_kernel(1.6), "motion, 9 pixels": blurs()["motion, 9 pixels"]}
_BALANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_ITERATIONS = (5, 10, 20, 40, 80, 160)
_PRIOR = "flow prior"
_WEIGHTS = (3.0, 10.0, 30.0)
_NOISE = 0.05
_DIGIT = 28
_SHOWN, _SHOWN_KERNEL = "camera", "Gaussian, σ 1.6"
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
    values = _denoised(size, sigma, methods)
    if _SHOWN in size.pictures and sigma == _SIGMAS[-1]:
        clean, noisy = _noisy(size, sigma, size.pictures.index(_SHOWN))
        values[_OURS] |= {"clean": _shown(clean), "noisy": _shown(noisy)}
    return values


def measure_invdn(size: Size, sigma: int) -> dict[str, Values]:
    """Denoise every picture by InvDN, or measure nothing without its weights."""
    if not _trained():
        return {_INVDN: {"psnr": None}}
    model = load_invdn()
    return _denoised(size, sigma, {_INVDN: lambda noisy, known: denoise(model, noisy, known)})


def measure_bm3d(size: Size, sigma: int) -> dict[str, Values]:
    """Denoise every picture by BM3D, or measure nothing without its package."""
    if not _installed():
        return {_BM3D: {"psnr": None}}
    from bm3d import BM3DProfile, bm3d

    profile = BM3DProfile()
    profile.num_threads = 1
    return _denoised(size, sigma, {_BM3D: _on_arrays(lambda y, known: bm3d(y, known, profile))})


def _trained() -> bool:
    return INVDN.is_file()


def _installed() -> bool:
    return find_spec("bm3d") is not None


def _denoised(size: Size, sigma: int, methods: dict[str, Callable[[Tensor, float], Tensor]]) -> dict[str, Values]:
    values: dict[str, Values] = {name: {"psnr": [], "ssim": [], "seconds": 0.0} for name in methods}
    for number, name in enumerate(size.pictures):
        clean, noisy = _noisy(size, sigma, number)
        for method, function in methods.items():
            began = time.process_time()
            result = function(noisy, sigma / LEVELS)
            values[method]["seconds"] += (time.process_time() - began) / len(size.pictures)
            _compare(values[method], clean, result)
            if name == _SHOWN and sigma == _SIGMAS[-1]:
                values[method]["picture"] = _shown(result)
    return values


def _noisy(size: Size, sigma: int, number: int) -> tuple[Tensor, Tensor]:
    clean = centre(gray(bundled(size.pictures[number])), size.side)
    return clean, clean + sigma / LEVELS * torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))


def measure_deblurring(size: Size, kernel: str) -> dict[str, Values]:
    """Deblur every picture by every method; of the classical ones by the setting that is best for the picture."""
    model, psf = load_denoiser(), _KERNELS[kernel]
    methods: dict[str, list[Callable[[Tensor], Tensor]]] = {
        _BLURRED: [lambda y: y],
        _PLUGGED: [lambda y: deblur(model, y, psf, NOISE)],
        _WIENER: [_extended(partial(wiener, psf, balance)) for balance in _BALANCES],
        _LUCY: [_extended(partial(richardson_lucy, psf, count)) for count in _ITERATIONS],
    }
    values: dict[str, Values] = {name: {"psnr": [], "ssim": [], "seconds": 0.0} for name in methods}
    for number, name in enumerate(size.pictures):
        whole = centre(gray(bundled(name)), size.side + 2 * RADIUS)
        clean = whole[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
        blurred = observe(whole[None], psf, torch.Generator().manual_seed(number))[0]
        for method, functions in methods.items():
            began = time.process_time()
            results = [function(blurred) for function in functions]
            seconds = (time.process_time() - began) / len(functions)
            values[method]["seconds"] += seconds / len(size.pictures)
            best = max(results, key=lambda result: _psnr(clean, result))
            _compare(values[method], clean, best)
            if name == _SHOWN and kernel == _SHOWN_KERNEL:
                values[method]["picture"] = _shown(best)
        if name == _SHOWN and kernel == _SHOWN_KERNEL:
            values[_BLURRED]["clean"] = _shown(clean)
    return values


def _extended(method: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda blurred: restored(method, blurred[0])[None]


def _compare(values: Values, clean: Tensor, result: Tensor) -> None:
    pair = clean[0].numpy(), result[0].clamp(0, 1).numpy()
    values["psnr"].append(_psnr(clean, result))
    values["ssim"].append(float(structural_similarity(*pair, data_range=1)))


def _shown(picture: Tensor) -> str:
    return embedded(to_bytes(picture)[0])


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
    groups = (
        (measure_denoising, dict.fromkeys((_OURS, _BLIND, _MEANS, _VARIATION), fixed)),
        (measure_invdn, {_INVDN: {**fixed, "trained": _trained()}}),
        (measure_bm3d, {_BM3D: {**fixed, "installed": _installed()}}),
    )
    tasks = [
        Task(f"noise of {sigma}", lines, partial(measure, size, sigma))
        for measure, lines in groups
        for sigma in _SIGMAS
    ]
    choices = {"balances": _BALANCES, "iterations": _ITERATIONS}
    tasks += [
        Task(f"blur, {kernel}", dict.fromkeys(_DEBLURRED, fixed | choices), partial(measure_deblurring, size, kernel))
        for kernel in _KERNELS
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
    noises = [f"noise of {sigma}" for sigma in _SIGMAS]
    lacking = {
        name: reason
        for name, reason in ((_INVDN, "not trained"), (_BM3D, "not installed"))
        if result.value(name, noises[0], "psnr") is None
    }
    head = ["method", *(f"{kind}, σ = {sigma}" for sigma in _SIGMAS for kind in ("PSNR", "SSIM")), "s a picture"]
    rows = [_line(result, name, noises) for name in _DENOISED if name not in lacking]
    rows += [[name, reason, *[""] * (len(head) - 2)] for name, reason in lacking.items()]
    pictures = len(result.parts(_OURS, noises[0])[0].values["psnr"])
    blurs_shown = [f"blur, {kernel}" for kernel in _KERNELS]
    parts = [
        table(head, rows),
        f"Means over {pictures} pictures, PSNR in dB; seconds of one processor. Non-local means and total variation "
        "are those of scikit-image with one setting for each σ; a setting for each picture could come closer. BM3D is "
        "the package bm3d. InvDN is what `train invdn` makes in minutes; its results must pass through a picture with "
        "a sixteenth of the pixels.",
        table(
            ["method", *(f"{kind}, {kernel}" for kernel in _KERNELS for kind in ("PSNR", "SSIM")), "s a picture"],
            [_line(result, name, blurs_shown) for name in _DEBLURRED],
        ),
        f"The blur is known, and the noise of {NOISE * LEVELS:.2f} gray levels too. Pixels beyond the edges have been "
        "blurred into the pictures. The network has seen no blur in training. Wiener and Richardson–Lucy are those of "
        f"scikit-image with the best of {len(_BALANCES)} weights and {len(_ITERATIONS)} numbers of iterations for each "
        "picture, which takes the original to choose.",
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


def _line(result: Result, name: str, measured: list[str]) -> list[str]:
    found = [result.parts(name, part)[0].values for part in measured]
    cells = [text for values in found for text in (f"{np.mean(values['psnr']):.2f}", f"{np.mean(values['ssim']):.3f}")]
    return [name, *cells, f"{found[0]['seconds']:.2f}"]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(12, 5.8), layout="constrained")
    noise, blur = f"noise of {_SIGMAS[-1]}", f"blur, {_SHOWN_KERNEL}"
    rows = [
        [
            ("original", _OURS, noise, "clean"),
            (noise, _OURS, noise, "noisy"),
            *((name, name, noise, "picture") for name in (_OURS, _BM3D, _MEANS)),
        ],
        [
            ("original", _BLURRED, blur, "clean"),
            (f"blurred: {_SHOWN_KERNEL}", _BLURRED, blur, "picture"),
            *((name, name, blur, "picture") for name in _DEBLURRED[1:]),
        ],
    ]
    for places, row in zip(figure.subplots(2, 5), rows, strict=True):
        for place, (title, name, part, key) in zip(places, row, strict=True):
            text = result.value(name, part, key)
            if text is not None:
                place.imshow(pixels_of(text), cmap="gray", vmin=0, vmax=LEVELS)
            place.set_title(title, fontsize=9)
            place.set(xticks=[], yticks=[])
    return figure


EXPERIMENTS = (
    Experiment(
        name="restoration",
        title="Noise, blur and missing measurements",
        about="""
How well does the small network of `applications/restoration` remove synthetic white noise from gray pictures of
scikit-image that did not train it, beside the methods of scikit-image, BM3D and InvDN? How well does it deblur them,
as a prior with a known blur? And how much does a flow of digits, the prior of
`inverseflow.inference.reconstruct`, know about a digit of which a quarter is measured?""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
