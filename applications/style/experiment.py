"""How well the content comes back from a stylized picture, and how near a stain comes to the true one."""

from __future__ import annotations

import time
from functools import partial

import torch
from matplotlib.figure import Figure
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab, rgb_from_hdx
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS, to_bytes
from applications.style.projection import load_projection
from applications.style.stain import METHODS, optical_density, sliced_distance, transmission
from applications.style.stylize import recover, stylize
from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values

_CONTENTS, _STYLES = ("chelsea", "astronaut"), ("hubble_deep_field", "gravel")
_SIDES: dict[Budget, int] = {"smoke": 32, "quick": 256, "full": 256}
_TILE = 64
_ROUNDS = 10
_RECOVERY, _STAIN = "recovery", "stain"


def square(name: str, side: int) -> Tensor:
    """Return the middle of a picture of scikit-image, resized to ``(3, side, side)``."""
    picture = torch.from_numpy(getattr(data, name)().copy()).float() / LEVELS
    picture = picture.expand(3, *picture.shape) if picture.ndim == 2 else picture.permute(2, 0, 1)
    length = min(picture.shape[1:])
    top, left = ((size - length) // 2 for size in picture.shape[1:])
    middle = picture[None, :, top : top + length, left : left + length]
    return F.interpolate(middle, (side, side), mode="bilinear", antialias=True)[0]


def measure_recovery(content: str, style: str, side: int) -> dict[str, Values]:
    """Stylize a picture, once and ten times in a row, with rounding to 8 bits each time, and recover the content."""
    flow = load_projection()
    picture, other = square(content, side), square(style, side)
    current, origin, found = picture, None, []
    for _ in range(_ROUNDS):
        stylized, origin = stylize(flow, current, other, origin=origin)
        current = (stylized * LEVELS).round() / LEVELS
        found.append((current, recover(flow, current, origin)))
    (first, back), (last, back_last) = found[0], found[-1]
    values = {
        "recovered": _psnr(picture, back),
        "recovered_after_ten": _psnr(picture, back_last),
        "largest_drift": float((last - first).abs().max() * LEVELS),
        "outside": float(((first < 0) | (first > 1)).float().mean()),
    }
    return {f"{content}, {style}": values}


def tissue(side: int, tile: int = _TILE) -> tuple[Tensor, Tensor, Tensor]:
    """Return tissue in a synthetic stain, the same tissue in its true stain, and other tissue in the true stain.

    Square tiles of scikit-image's picture go to one and the other as the colors of a chessboard, so that both hold the
    same tissue in about the same shares. The stain is changed by another matrix M of the optical density M·S.
    """
    picture = torch.from_numpy(data.immunohistochemistry().copy()).permute(2, 0, 1).float()[:, :side, :side] / LEVELS
    boards = []
    for parity in (0, 1):
        rows = []
        for top in range(0, side, tile):
            lefts = [left for left in range(0, side, tile) if (top + left) // tile % 2 == parity]
            rows.append(torch.cat([picture[:, top : top + tile, left : left + tile] for left in lefts], 2))
        boards.append(torch.cat(rows, 1))
    truth, target = boards
    stains = torch.tensor(rgb_from_hdx).float().T
    change = torch.tensor([[0.15, -0.1, 0.0], [-0.2, 0.2, 0.0], [0.15, 0.1, 0.0]])
    others = stains @ torch.diag(torch.tensor([1.5, 0.6, 1.0])) + change
    amounts = torch.linalg.solve(stains, optical_density(truth).flatten(1))
    source = transmission(others @ amounts).view_as(truth)
    return to_bytes(source).float() / LEVELS, truth, target


def measure_stain(side: int) -> dict[str, Values]:
    """Bring tissue in a synthetic stain to the true one by every method."""
    source, truth, target = tissue(side, min(_TILE, side // 2))
    directions = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, method in {"unchanged": lambda source, target: source, **METHODS}.items():
        began = time.perf_counter()
        result = method(source, target)
        seconds = time.perf_counter() - began
        lab, true_lab, target_lab = (rgb2lab(p.permute(1, 2, 0).numpy()) for p in (result, truth, target))
        first, second = (torch.from_numpy(colors.reshape(-1, 3).T.copy()).float() for colors in (lab, target_lab))
        found[name] = {
            "to_target": float(sliced_distance(first, second, directions)),
            "to_truth": float(deltaE_ciede2000(lab, true_lab).mean()),
            "ssim": float(structural_similarity(truth.numpy(), result.numpy(), channel_axis=0, data_range=1)),
            "seconds": seconds,
        }
    return found


def _psnr(first: Tensor, second: Tensor) -> float:
    return float(peak_signal_noise_ratio(first.numpy(), second.numpy(), data_range=1))


def _tasks(settings: Settings) -> list[Task]:
    side = _SIDES[settings.budget]
    fixed = {"side": side}
    pairs = [(content, style) for content in _CONTENTS for style in _STYLES]
    tasks = [
        Task(_RECOVERY, {f"{content}, {style}": fixed}, partial(measure_recovery, content, style, side))
        for content, style in pairs
    ]
    lines = ("unchanged", *METHODS)
    return [*tasks, Task(_STAIN, {name: {"side": 2 * side} for name in lines}, partial(measure_stain, 2 * side))]


def _parts(result: Result) -> list[str]:
    recovery = [row for row in result.rows if row.part == _RECOVERY]
    stain = [row for row in result.rows if row.part == _STAIN]
    return [
        table(
            [
                "content, style",
                "content recovered",
                "after ten rounds",
                "drift from first to tenth round",
                "outside of 0 to 1",
            ],
            [
                [
                    row.name,
                    *(f"{row.values[key]:.1f} dB" for key in ("recovered", "recovered_after_ten")),
                    f"{row.values['largest_drift']:.0f} of 255",
                    f"{row.values['outside']:.1%}",
                ]
                for row in recovery
            ],
        ),
        table(
            ["method", "distance to the target's colors", "ΔE to the truth", "SSIM to the truth", "seconds"],
            [
                [
                    row.name,
                    *(f"{row.values[key]:.2f}" for key in ("to_target", "to_truth")),
                    f"{row.values['ssim']:.3f}",
                    f"{row.values['seconds']:.2f}",
                ]
                for row in stain
            ],
        ),
        "The distance to the target is the sliced Wasserstein distance between the colors in CIELAB, ΔE the mean "
        "CIEDE2000 difference. The stain is synthetic: its truth is known.",
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    recovery = [row for row in result.rows if row.part == _RECOVERY]
    for shift, key, label in ((-0.2, "recovered", "once"), (0.2, "recovered_after_ten", "ten times")):
        places = [place + shift for place in range(len(recovery))]
        left.barh(places, [row.values[key] for row in recovery], 0.38, label=label)
    left.set_yticks(range(len(recovery)), [row.name for row in recovery])
    left.set(xlabel="PSNR of the recovered content (dB)")
    left.legend(title="stylized", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    for row in result.rows:
        if row.part == _STAIN:
            right.scatter(row.values["to_target"], row.values["to_truth"])
            place = row.values["to_target"], row.values["to_truth"]
            right.annotate(row.name, place, (0, 6), textcoords="offset points", ha="center")
    right.margins(0.15)
    right.set(xlabel="distance to the target's colors", ylabel="ΔE to the truth")
    return figure


EXPERIMENTS = (
    Experiment(
        name="style",
        title="Styles that can be undone",
        about="""
How well does the content come back from a picture that `applications/style` has stylized? Pictures of scikit-image that
did not train the flow are given a style by whitening and coloring, once and ten times in a row, and rounded to whole
levels each time. Below: a picture of tissue whose stain is changed by another matrix, a synthetic one, and brought back
by each method from another picture of the same tissue.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
