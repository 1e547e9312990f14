"""How well pictures hide in pictures: quality, JPEG and detectability, beside lower bits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from applications.pictures import LEVELS, read_picture, to_bytes, write_png
from applications.steganography import detectability
from applications.steganography.color_flow import MARGIN, ColorFlow, shipped_colors
from applications.steganography.distortions import jpeg
from applications.steganography.hiding import hide_pictures, reveal_pictures
from applications.steganography.lsb import embed_bits, embed_lowest, extract_bits, extract_lowest
from applications.steganography.messages import capacity, coded_bits, hide_bits, read_bits, reveal_message
from applications.steganography.network import (
    round_to_levels,
    shipped_flow,
    with_room,
)
from applications.steganography.pairs import test_pictures
from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values
from inverseflow.errors import DataError

_NETWORK, _LSB, _TWO, _ROBUST = "network", "lower 4 bits", "network, two secrets", "robust network"
_QUALITY, _JPEG, _SEEN = "PNG", "JPEG", "steganalysis"
_BITS, _BITS_SEEN = "bits", "steganalysis of bits"
_MARGINS = {f"signs of latents, margin {margin:g}": margin for margin in (0.0, MARGIN, 2 * MARGIN)}
_LOWEST = "lowest bits, as many"


@dataclass(frozen=True)
class Size:
    """Amount of pictures."""

    pictures: int
    side: int | None
    """Of the part of each picture that is used, None for all of it."""


SIZES: dict[Budget, Size] = {"smoke": Size(2, 64), "quick": Size(6, None), "full": Size(6, None)}


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Return the peak signal-to-noise ratio of bytes in decibels.

    Example:
        >>> psnr(torch.tensor([0, 10]).byte(), torch.tensor([0, 0]).byte())
        31.1411...
    """
    return float(peak_signal_noise_ratio(truth.numpy(), picture.numpy(), data_range=LEVELS))


def examples(size: Size, secrets: int = 1) -> list[list[Tensor]]:
    """Return each test picture with the next ones as its secrets, cut to one size, as bytes."""
    pictures = [to_bytes(picture) for picture in test_pictures().values()][: size.pictures]
    found = []
    for number in range(len(pictures)):
        together = [pictures[(number + step) % len(pictures)] for step in range(1 + secrets)]
        height, width = (
            min([picture.shape[axis] for picture in together] + ([] if size.side is None else [size.side]))
            for axis in (1, 2)
        )
        found.append([picture[:, :height, :width] for picture in together])
    return found


def measure_png(size: Size) -> dict[str, Values]:
    """Return the quality of containers and secrets with a PNG file in between."""
    values = {name: _empty() for name in (_NETWORK, _LSB, _TWO)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "container.png"
        for name, secrets in ((_NETWORK, 1), (_TWO, 2)):
            flow = shipped_flow(secrets)
            for cover, *hidden in examples(size, secrets):
                exact, _ = flow.hide(*_inputs(cover, hidden))
                write_png(path, hide_pictures(flow, cover / LEVELS, [secret / LEVELS for secret in hidden]) / LEVELS)
                container = to_bytes(read_picture(path))
                revealed = [to_bytes(secret) for secret in reveal_pictures(flow, container)]
                outside = ((exact < -0.5 / LEVELS) | (exact > 1 + 0.5 / LEVELS)).float().mean()
                _add(values[name], cover, container, hidden, revealed, float(outside))
    for cover, secret in examples(size):
        container = embed_bits(cover, secret)
        _add(values[_LSB], cover, container, [secret], [extract_bits(container)], 0.0)
    return values


@torch.no_grad()
def measure_jpeg(size: Size, qualities: tuple[int, ...]) -> dict[str, Values]:
    """Return the quality of secrets that went through PNG and through real JPEG files."""
    values: dict[str, Values] = {}
    for name, flow in ((_NETWORK, shipped_flow(1)), (_ROBUST, shipped_flow(1, robust=True))):
        containers: list[float] = []
        secrets: dict[str, list[float]] = {str(quality): [] for quality in qualities}
        for cover, secret in examples(size):
            for quality in qualities:
                level = _level(quality) if flow.options.robust else None
                sent, _ = flow.hide(*_inputs(cover, [secret]), _level(_AIMED) if flow.options.robust else None)
                arrived = sent = round_to_levels(sent)
                if quality < _LOSSLESS:
                    arrived = jpeg(sent, quality)
                revealed = flow.reveal(arrived, level)[0]
                height, width = sent.shape[2:]
                secrets[str(quality)].append(psnr(to_bytes(revealed), secret[:, :height, :width]))
            containers.append(psnr(to_bytes(sent[0]), cover[:, :height, :width]))
        values[name] = {"container": containers, "secret": secrets}
    return values


def measure_detectability(size: Size, side: int) -> dict[str, Values]:
    """Return how well containers are told from covers, None without the package."""
    flow = shipped_flow(1)
    hide: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        _NETWORK: lambda cover, secret: hide_pictures(flow, cover / LEVELS, [secret / LEVELS]),
        _LSB: embed_bits,
    }
    return _detectability(size, side, hide)


def measure_bits(size: Size) -> dict[str, Values]:
    """Return how many bits of the longest message come back from a PNG file, and what they cost.

    The rows are margins of the network, and lowest bits at as many scattered places.
    """
    values: dict[str, Values] = {
        name: {"container": [], "bits_per_pixel": [], "accuracy": [], "message": []} for name in (*_MARGINS, _LOWEST)
    }
    flow = shipped_colors()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "container.png"
        for cover, _ in examples(size):
            message, bits = _longest_message(*cover.shape[1:])
            for name, hide in _bit_hiders(flow).items():
                write_png(path, hide(cover, cover) / LEVELS)
                arrived = to_bytes(read_picture(path))
                network = name in _MARGINS
                read = read_bits(flow, arrived)[: len(bits)] if network else extract_lowest(arrived, len(bits))
                found = values[name]
                found["container"].append(psnr(arrived, cover))
                found["bits_per_pixel"].append(len(bits) / cover[0].numel())
                found["accuracy"].append(float((read == bits).double().mean()))
                found["message"].append(_comes_back(flow, arrived, message) if network else torch.equal(read, bits))
    return values


@lru_cache
def _longest_message(height: int, width: int) -> tuple[bytes, Tensor]:
    message = np.random.default_rng(0).bytes(capacity(height, width))
    return message, coded_bits(message)


def _comes_back(flow: ColorFlow, container: Tensor, message: bytes) -> bool:
    try:
        return reveal_message(flow, container) == message
    except DataError:
        return False


def measure_detectability_of_bits(size: Size, side: int) -> dict[str, Values]:
    """Return how well containers of the longest message are told from covers, None without the package."""
    return _detectability(size, side, _bit_hiders(shipped_colors()))


def _bit_hiders(flow: ColorFlow) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return functions of a cover, and of another picture that they ignore, by the names of the rows."""

    def by_network(margin: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda cover, _: hide_bits(flow, cover / LEVELS, _longest_message(*cover.shape[1:])[1], margin)

    lowest = {_LOWEST: lambda cover, _: embed_lowest(cover, _longest_message(*cover.shape[1:])[1])}
    return {**{name: by_network(margin) for name, margin in _MARGINS.items()}, **lowest}


def _detectability(size: Size, side: int, hide: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> dict[str, Values]:
    if not detectability.available():
        return {name: {"auroc": None} for name in hide}
    values: dict[str, Values] = {}
    for name, embed in hide.items():
        covers, containers, groups = [], [], []
        for group, (cover, secret) in enumerate(examples(size)):
            container = embed(cover, secret)
            for top in range(0, cover.shape[1] - side + 1, side):
                for left in range(0, cover.shape[2] - side + 1, side):
                    part = slice(None), slice(top, top + side), slice(left, left + side)
                    covers.append(cover[part])
                    containers.append(container[part])
                    groups.append(group)
        values[name] = {"auroc": detectability.auroc(covers, containers, groups), "parts": len(covers)}
    return values


_AIMED, _LOSSLESS = 90, 100
_QUALITIES = (_LOSSLESS, 95, 90, 80)
_PART = 128


def _level(quality: int) -> Tensor:
    return torch.tensor([[1 - quality / 100]])


def _inputs(cover: Tensor, secrets: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return a batch of one, cut to sides divisible by 16, as JPEG halves the colors of blocks of 8."""
    height, width = (side // 16 * 16 for side in cover.shape[1:])
    parts = [picture[None, :, :height, :width].float() / LEVELS for picture in (cover, *secrets)]
    return with_room(parts[0]), torch.cat(parts[1:], 1)


def _empty() -> Values:
    return {"container": [], "secret": [], "clipped": []}


def _add(
    values: Values, cover: Tensor, container: Tensor, hidden: list[Tensor], revealed: list[Tensor], clipped: float
) -> None:
    values["container"].append(psnr(container, cover))
    values["secret"].append([psnr(found, secret) for found, secret in zip(revealed, hidden, strict=True)])
    values["clipped"].append(clipped)


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    fixed = asdict(size)
    tasks = [
        Task(_QUALITY, dict.fromkeys((_NETWORK, _LSB, _TWO), fixed), partial(measure_png, size)),
        Task(
            _JPEG,
            {name: {**fixed, "qualities": _QUALITIES} for name in (_NETWORK, _ROBUST)},
            partial(measure_jpeg, size, _QUALITIES),
        ),
        Task(_BITS, dict.fromkeys((*_MARGINS, _LOWEST), fixed), partial(measure_bits, size)),
    ]
    if settings.budget != "smoke":
        parts = {**fixed, "part": _PART}
        tasks += [
            Task(_SEEN, dict.fromkeys((_NETWORK, _LSB), parts), partial(measure_detectability, size, _PART)),
            Task(
                _BITS_SEEN,
                dict.fromkeys((*_MARGINS, _LOWEST), parts),
                partial(measure_detectability_of_bits, size, _PART),
            ),
        ]
    return tasks


def _parts(result: Result) -> list[str]:
    rows = []
    for row in result.rows:
        if row.part == _QUALITY:
            secrets = np.array(row.values["secret"])
            rows.append(
                [
                    row.name,
                    _decibels(row.values["container"]),
                    " and ".join(map(_decibels, secrets.T)),
                    f"{100 * np.mean(row.values['clipped']):.2f} %",
                ]
            )
    return [
        table(["hidden by", "container, mean (least)", "secret, mean (least)", "clipped"], rows),
        "Peak signal-to-noise ratios in dB after a PNG file of 8 bits, over "
        f"{len(result.rows[0].values['container'])} pictures that no model was trained on, each with the next as its "
        "secret. Clipped are values that the network moves beyond black or white.",
        *_after_jpeg(result),
        *_detected(result),
        *_of_bits(result),
    ]


def _after_jpeg(result: Result) -> list[str]:
    rows = [row for row in result.rows if row.part == _JPEG]
    qualities = list(rows[0].values["secret"])
    names = ["PNG" if int(quality) == _LOSSLESS else f"JPEG {quality}" for quality in qualities]
    lines = [
        [
            row.name,
            _decibels(row.values["container"]),
            *(_decibels(row.values["secret"][quality]) for quality in qualities),
        ]
        for row in rows
    ]
    plain, robust = (np.mean(row.values["secret"][str(_AIMED)]) for row in rows)
    return [
        table(["hidden by", "container", *(f"secret, {name}" for name in names)], lines),
        "The same with a real JPEG file (Pillow, colors at half the resolution) in between; the robust network is told "
        f"the quality. At quality {_AIMED} its secrets are {robust - plain:.1f} dB better.",
    ]


def _detected(result: Result) -> list[str]:
    rows = [row for row in result.rows if row.part == _SEEN]
    if not rows:
        return []
    if rows[0].values["auroc"] is None:
        return ["Detectability was not measured: it takes the package sealwatch."]
    found = "; ".join(f"{row.name} {row.values['auroc']:.3f}" for row in rows)
    return [
        f"Detected by a linear classifier of SPAM features (sealwatch) that has seen parts of other pictures, AUROC "
        f"over {rows[0].values['parts']} parts of {_PART}×{_PART} pixels and as many covers: {found}. Both hide a "
        "whole picture in one of its size, which cannot stay unseen by steganalysis."
    ]


def _of_bits(result: Result) -> list[str]:
    rows = [row for row in result.rows if row.part == _BITS]
    if not rows:
        return []
    lines = []
    for row in rows:
        values, seen = row.values, result.value(row.name, _BITS_SEEN, "auroc")
        lines.append(
            [
                row.name,
                f"{np.mean(values['bits_per_pixel']):.3f}",
                _decibels(values["container"]),
                f"{100 * np.mean(values['accuracy']):.3f} % ({100 * min(values['accuracy']):.3f} %)",
                f"{sum(values['message'])} of {len(values['message'])}",
                "–" if seen is None else f"{seen:.3f}",
            ]
        )
    return [
        table(
            ["a message hidden by", "bits per pixel", "container", "bits read, mean (least)", "messages", "AUROC"],
            lines,
        ),
        "The longest message in the same pictures, coded and whole, in the signs of latents of their colors, and in as "
        "many lowest bits. Bits are counted before the code mends them, messages after it. AUROC as above.",
        "With margin 0 latents keep the sizes that they have, so that a latent that was normal stays normal.",
    ]


def _decibels(values: npt.ArrayLike) -> str:
    found = np.asarray(values, dtype=np.float64)
    return f"{found.mean():.1f} ({found.min():.1f})"


def _draw(result: Result) -> Figure:
    size = SIZES["smoke" if result.budget == "smoke" else "quick"]
    chosen = examples(size)[:2]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(len(chosen), 5)
    flow = shipped_flow(1)
    for line, (cover, secret) in zip(axes, chosen, strict=True):
        container = hide_pictures(flow, cover / LEVELS, [secret / LEVELS])
        (revealed,) = reveal_pictures(flow, container)
        difference = (10 * (container.float() - cover.float()).abs() / LEVELS).clamp(0, 1)
        shown = {
            "cover": cover / LEVELS,
            "container": container / LEVELS,
            "secret": secret / LEVELS,
            "revealed": revealed,
            "|container − cover| × 10": difference,
        }
        for place, (name, picture) in zip(line, shown.items(), strict=True):
            place.imshow(picture.permute(1, 2, 0).numpy())
            place.set_title(name, fontsize=9)
            place.axis("off")
    return figure


EXPERIMENTS = (
    Experiment(
        name="steganography",
        title="Pictures in pictures",
        about="""
A picture is hidden in another of the same size by the invertible network of `applications/steganography`, and taken out
again from a file of 8 bits. The models are those of the repository; the pictures are photographs of scikit-image and
scikit-learn that no model was trained on. Beside it: the upper four bits of the secret in the lower four of the cover,
which take the same room. Two secrets are hidden one after the other. The robust network is trained with a
differentiable surrogate of JPEG and told its level.

After Lu et al., *Large-capacity Image Steganography Based on Invertible Neural Networks*, 2021; Guan et al., *DeepMIH*,
2023; Xu et al., *Robust Invertible Image Steganography*, 2022, of which the conditional flow of what is thrown away and
the enhancement of containers are left out. The linear exchange of bands that training starts from is ours.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
