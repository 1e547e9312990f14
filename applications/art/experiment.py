"""Eleven kinds of damage to real pictures, restored by two networks and by classical methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from applications.art.data import DAMAGE, TEST, crops, picture
from applications.art.diffusion import TIMES, guess, noise_of, noised, restore
from applications.art.models import DEPTH, TILE, WIDTH, load_denoiser
from applications.art.unet import KINDS, Denoiser
from applications.degradations import degrade
from applications.pictures import to_bytes
from applications.restoration.models import denoise
from applications.restoration.models import load_denoiser as load_lifting
from benchmarks.markdown import table
from benchmarks.memory import peak_memory
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values
from inverseflow.bijections import ReversibleCompose

_SEVERITY = 0.6
_INPUT, _VARIATION, _LIFTING = "damaged", "total variation", "lifting denoiser"
_ONE = "coupling, one step"
_LINES = (_INPUT, *KINDS, _ONE, _VARIATION, _LIFTING)
_STORED = "coupling, activations stored"
_MEMORY = (*KINDS, _STORED)
_DEPTHS = (2, 4, 8)
Method = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Size:
    """Amount of pictures and of work."""

    crops: int
    steps: int
    memory_side: int


SIZES: dict[Budget, Size] = {"smoke": Size(1, 2, 16), "quick": Size(10, 3, 64), "full": Size(50, 20, 64)}


def measure_damage(name: str, size: Size, data_dir: Path | None) -> dict[str, Values]:
    """Damage squares of the test pictures in one way, and restore them by every method."""
    names = TEST if size.crops >= len(TEST) else TEST[: size.crops]
    clean = crops([picture(each, data_dir) for each in names], size.crops, TILE, torch.Generator().manual_seed(0))
    damaged = torch.stack(
        [degrade(name, each, _SEVERITY, torch.Generator().manual_seed(n)) for n, each in enumerate(clean)]
    )
    networks = {kind: load_denoiser(kind) for kind in KINDS}
    lifting = load_lifting()

    def diffusion(model: Denoiser, steps: int, y: Tensor) -> Tensor:
        return restore(model, y, steps=steps, generator=torch.Generator().manual_seed(1))

    methods: dict[str, Method] = {
        _INPUT: lambda y: y,
        **{kind: partial(diffusion, model, size.steps) for kind, model in networks.items()},
        _ONE: partial(diffusion, networks["coupling"], 1),
        _VARIATION: lambda y: torch.stack([_total_variation(each) for each in y]),
        _LIFTING: lambda y: torch.stack([denoise(lifting, each) for each in y]),
    }
    values: dict[str, Values] = {}
    for line, method in methods.items():
        began = time.perf_counter()
        found = method(damaged).clamp(0, 1)
        seconds = (time.perf_counter() - began) / len(damaged)
        values[line] = {
            "psnr": [float(peak_signal_noise_ratio(*_arrays(c, f), data_range=1)) for c, f in _each(clean, found)],
            "ssim": [
                float(structural_similarity(*_arrays(c, f), channel_axis=0, data_range=1))
                for c, f in _each(clean, found)
            ],
            "color": float((found - clean).mean((2, 3)).abs().mean()),
            "seconds": seconds,
            "picture": embedded(to_bytes(found[-1]).permute(1, 2, 0)),
        }
        if line in networks:
            values[line]["noise"], linear = noise_errors(networks[line], clean, damaged)
            values[_INPUT]["noise"] = linear
    values[_INPUT]["clean"] = embedded(to_bytes(clean[-1]).permute(1, 2, 0))
    return values


@torch.no_grad()
def noise_errors(model: Denoiser, clean: Tensor, damaged: Tensor) -> tuple[float, float]:
    """Return the mean squared errors of the noise that the network and the linear guess find, over 8 times."""
    generator, found = torch.Generator().manual_seed(2), []
    clean, damaged = 2 * clean - 1, 2 * damaged - 1
    for number in torch.linspace(0, TIMES - 1, 8).long():
        times = number.expand(len(clean))
        noise = torch.randn(clean.shape, generator=generator)
        noisy = noised(clean, noise, times)
        both = guess(model, noisy, damaged, times)[:2]
        found.append([float((noise_of(noisy, each, times) - noise).square().mean()) for each in both])
    network, linear = np.mean(found, 0)
    return float(network), float(linear)


def measure_memory(size: Size) -> dict[str, Values]:
    """Measure the peak memory of a training step of untrained networks by depth, and their parameters."""
    values: dict[str, Values] = {line: {"bytes": [], "seconds": [], "parameters": []} for line in _MEMORY}
    for line in _MEMORY:
        for depth in _DEPTHS:
            torch.manual_seed(0)
            model = Denoiser("plain" if line == "plain" else "coupling", width=WIDTH, depth=depth)
            for module in model.modules():
                if isinstance(module, ReversibleCompose):
                    module.reversible = line != _STORED
            pictures, times = torch.rand(2, 6, size.memory_side, size.memory_side), torch.rand(2, 1)

            def step(model: Denoiser = model, pictures: Tensor = pictures, times: Tensor = times) -> None:
                model(pictures, times).square().mean().backward()

            step()
            began = time.perf_counter()
            step()
            values[line]["seconds"].append(time.perf_counter() - began)
            values[line]["bytes"].append(peak_memory(step, torch.device("cpu")).tensors)
            values[line]["parameters"].append(sum(p.numel() for p in model.parameters()))
    return values


def _total_variation(y: Tensor) -> Tensor:
    found = denoise_tv_chambolle(y.numpy(), weight=0.05, channel_axis=0)
    return torch.from_numpy(np.asarray(found, dtype=np.float32))


def _each(clean: Tensor, found: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(clean, found, strict=True))


def _arrays(clean: Tensor, found: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return clean.numpy(), found.numpy()


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    fixed = {**asdict(size), "width": WIDTH, "depth": DEPTH}
    names = DAMAGE[4:6] if settings.budget == "smoke" else DAMAGE
    return [
        *(
            Task(name, dict.fromkeys(_LINES, fixed), partial(measure_damage, name, size, settings.data_dir))
            for name in names
        ),
        Task("memory", dict.fromkeys(_MEMORY, fixed), partial(measure_memory, size)),
    ]


def _parts(result: Result) -> list[str]:
    names = [name for name in DAMAGE if result.parts(_INPUT, name)]

    def value(line: str, name: str, key: str) -> float:
        return float(np.mean(result.parts(line, name)[0].values[key]))

    rows = []
    for name in names:
        before = value(_INPUT, name, "psnr")
        gains = [f"{value(line, name, 'psnr') - before:+.2f}".replace("-", "−") for line in _LINES[1:]]
        rows.append([name, f"{before:.2f}", *gains])
    more = {
        line: sum(value(line, name, "psnr") >= value(_INPUT, name, "psnr") + 1 for name in names) for line in _LINES[1:]
    }
    rows.append(["at least 1 dB gained", "", *(f"{more[line]} of {len(names)}" for line in _LINES[1:])])
    similar = [[name, *(f"{value(line, name, 'ssim'):.3f}" for line in _LINES)] for name in names]
    similar.append(
        ["mean error of colors", *(f"{np.mean([value(line, name, 'color') for name in names]):.3f}" for line in _LINES)]
    )
    similar.append(
        ["s a square", *(f"{np.mean([value(line, name, 'seconds') for name in names]):.2f}" for line in _LINES)]
    )
    settings = result.parts(_INPUT, names[0])[0].settings
    noise = {line: np.mean([value(line, name, "noise") for name in names]) for line in (*KINDS, _INPUT)}
    memory = []
    for line in _MEMORY:
        (row,) = result.parts(line, "memory")
        memory.append(
            [
                line,
                f"{row.values['parameters'][0]:,}",
                *(f"{each / 2**20:.1f}" for each in row.values["bytes"]),
                f"{row.values['seconds'][0] / result.parts('plain', 'memory')[0].values['seconds'][0]:.1f}",
            ]
        )
    return [
        table(["damage", "PSNR, dB", *(f"gain, {line}" for line in _LINES[1:])], rows),
        f"Means over {settings['crops']} squares of {TILE}×{TILE} pixels from pictures that trained nothing, damaged "
        f"at severity {_SEVERITY} of 1. Both networks draw one sample in {settings['steps']} DDIM steps; with one step "
        "the network returns a mean of what it holds possible. Total variation is that of scikit-image at one weight, "
        "the lifting denoiser that of `applications/restoration` at the deviation that it estimates.",
        table(["SSIM", *_LINES], similar),
        f"The mean squared error of the noise, over 8 times: coupling {noise['coupling']:.4f}, plain "
        f"{noise['plain']:.4f}, and {noise[_INPUT]:.4f} of the best linear guess that both start from.",
        table(
            ["training step", "parameters, depth 2", *(f"MiB, depth {depth}" for depth in _DEPTHS), "time, depth 2"],
            memory,
        ),
        f"Peak memory of a training step of two squares of {settings['memory_side']}×{settings['memory_side']} pixels "
        "at width "
        f"{WIDTH}, with the gradients, which grow with the number of parameters; time relative to the plain network.",
    ]


def _draw(result: Result) -> Figure:
    names = [name for name in DAMAGE if result.parts(_INPUT, name)]
    lines = (_INPUT, "coupling", "plain", _ONE)
    figure = Figure(figsize=(1.2 * len(names) + 0.8, 6.2), layout="constrained")
    axes = figure.subplots(len(lines) + 1, len(names), squeeze=False)
    for column, name in enumerate(names):
        shown = {line: result.parts(line, name)[0].values["picture"] for line in lines}
        shown["original"] = result.parts(_INPUT, name)[0].values["clean"]
        for place, (line, text) in zip(axes[:, column], shown.items(), strict=True):
            place.imshow(pixels_of(text))
            place.set(xticks=[], yticks=[])
            if column == 0:
                place.set_ylabel(line, fontsize=8)
        axes[0, column].set_title(name, fontsize=8)
    return figure


EXPERIMENTS = (
    Experiment(
        name="art",
        title="Damaged pictures",
        about="""
How much of eleven kinds of synthetic damage does conditional diffusion take off real pictures and a painting? The
small coupling U-Net of `applications/art`, whose decoder is the inverse of its encoder, stands beside a plain U-Net of
the same width. Each was trained once, briefly, for all kinds of damage at random severity.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
