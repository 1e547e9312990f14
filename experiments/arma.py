"""When do ARMA layers help? Corners, depth and training length compared."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from functools import partial
from statistics import NormalDist

import torch
from matplotlib.figure import Figure
from scipy.special import stdtrit
from torch import Tensor

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Row, Values
from experiments.trained.table import Line, TrainedTable
from experiments.trained.tasks import train_one
from experiments.trained.training import fixed, images, trained_flow
from inverseflow.data import Images
from inverseflow.densities import Density
from inverseflow.training.options import TrainOptions
from inverseflow.utils.seeding import seeded

OURS = "ARMA, opposed corners"
ALONE = ("convolution", "inverse")
TWO = "two convolutions"
_BESIDE = "beside ARMA"
_LINES = (
    Line(ALONE[0], {"name": "cinc"}),
    Line(ALONE[1], {"name": "inverse-flow"}),
    Line(TWO, {"name": "image", "layer": "emerging", "kernel_size": 5}),  # of 3×3 taps each
    Line(OURS, {"name": "image", "layer": "arma"}),
    Line("ARMA, adjacent corners", {"name": "image", "layer": "arma-adjacent"}),
    Line("ARMA, same corner", {"name": "image", "layer": "arma-same"}),
)
_SETTINGS: dict[Budget, tuple[tuple[int, int], ...]] = {
    "smoke": ((1, 2),),
    "quick": ((1, 100), (4, 100), (1, 400)),
    "full": ((4, 40_000), (16, 40_000)),
}
"""Flow steps at each scale, and number of training steps."""


def _definition(depth: int, length: int) -> TrainedTable:
    return TrainedTable(
        name="arma",
        title="",
        about="",
        data="cifar10",
        model={"scales": 2, "steps": depth},
        lines=_LINES,
        quick_steps=length,
        quick_batch=32,
        quick_test_images=1000,
        quick_validation_images=200,
    )


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    tasks = []
    for seed in range(settings.seeds):
        for depth, length in _SETTINGS[settings.budget]:
            definition = _definition(depth, length)
            test_images = definition.test_images(settings.budget)
            options = {line.name: definition.options(line, seed, settings) for line in _LINES}
            measured = {name: {**fixed(each), "test_images": test_images} for name, each in options.items()}
            part = f"K = {depth}, {length:,} steps, seed {seed}"
            tasks += [
                Task(part, {name: measured[name]}, partial(train_one, name, each, test_images))
                for name, each in options.items()
            ]
            beside = {name: {**each, "beside": OURS} for name, each in measured.items()}
            tasks.append(Task(f"{_BESIDE}, {part}", beside, partial(_compare, options, test_images, settings)))
    return tasks


def _compare(options: Mapping[str, TrainOptions], test_images: int | None, settings: Settings) -> dict[str, Values]:
    flows = {name: trained_flow(each, test_images).to(settings.device) for name, each in options.items()}
    some = next(iter(options.values()))
    test = images(some.data, some.data_dir, test_images).test
    bits = {name: bits_of_images(flow, test) for name, flow in flows.items()}
    more = {name: each - bits[OURS] for name, each in bits.items()}
    return {
        name: {"more_bits": float(each.mean()), "stderr": float(each.std() / math.sqrt(len(each)))}
        for name, each in more.items()
    }


def bits_of_images(density: Density, images: Images, batch_size: int = 250) -> Tensor:
    """Return the bits per dimension of each image at one draw of the noise, the same draw for every density.

    So two densities can be compared image by image: the standard error of the mean difference is smaller than the
    standard error of either mean.
    """
    density.eval()
    device = next(density.parameters()).device
    full_precision = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # the default on CUDA is TF32
    with torch.inference_mode(), seeded(0, "evaluation"), full_precision:
        batches = images.tensor().split(batch_size)
        return torch.cat([density.bits_per_dim(batch.to(device)).double().cpu() for batch in batches])


def _by_setting(result: Result, compared: bool) -> dict[str, dict[str, list[Row]]]:
    """Return the rows of all seeds by setting and line: the trainings, or the comparisons with ARMA."""
    rows: dict[str, dict[str, list[Row]]] = {}
    for row in result.rows:
        if row.part.startswith(_BESIDE) == compared:
            setting = row.part.removeprefix(f"{_BESIDE}, ").rpartition(", ")[0]
            rows.setdefault(setting, {}).setdefault(row.name, []).append(row)
    return rows


def _parts(result: Result) -> list[str]:
    trained, compared = _by_setting(result, False), _by_setting(result, True)
    some = result.rows[0].values
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds, mean ± standard deviation"
    depths = {setting.partition(",")[0]: rows for setting, rows in trained.items()}
    lines = [
        [
            name,
            *(mean_and_deviation([row.values["bits_per_dim"] for row in each[name]], 3) for each in trained.values()),
            *(f"{each[name][0].values['parameters']:,}" for each in depths.values()),
        ]
        for name in result.names
    ]
    head = ["layer", *trained, *(f"parameters, {depth}" for depth in depths)]
    beside = [
        [name, *(_printed(*difference(each[name])) for each in compared.values())]
        for name in result.names
        if name != OURS
    ]
    return [
        f"{some['title']}: batches of {some['batch_size']} images, {some['test_images']} test images, {seeds}. Test "
        "bits/dim, and the parameters of the whole flow:",
        table(head, lines),
        f"Additional bits/dim compared with {OURS}, on the same images with the same noise, with 95 % confidence:",
        table(["layer", *compared], beside),
        "\n".join(f"- {setting}: {verdict(rows)}" for setting, rows in compared.items()),
        *([] if result.seeds > 1 else ["With one seed, the intervals do not include the variation between seeds."]),
    ]


def difference(rows: list[Row]) -> tuple[float, float]:
    """Return the additional bits/dim of a line compared with ARMA, and half the 95 % confidence interval.

    The variance covers the images and, if there are several, the seeds (Student's t).

    Args:
        rows: comparisons of one line with ARMA, one for each seed.

    Example:
        >>> rows = [Row("", "", {}, {"more_bits": more, "stderr": 0.0}) for more in (0.04, 0.06)]
        >>> "{:.3f} ± {:.3f}".format(*difference(rows))
        '0.050 ± 0.127'
    """
    more = [row.values["more_bits"] for row in rows]
    of_images = math.fsum(row.values["stderr"] for row in rows) / len(rows)  # the same images for every seed
    if len(rows) == 1:
        return more[0], NormalDist().inv_cdf(0.975) * of_images
    error = math.hypot(statistics.stdev(more) / math.sqrt(len(rows)), of_images)
    return statistics.mean(more), float(stdtrit(len(rows) - 1, 0.975)) * error


def verdict(rows: Mapping[str, list[Row]]) -> str:
    """Return in words how ARMA compares with each of its parts and with two convolutions, in one setting.

    Args:
        rows: comparisons with ARMA by line, one for each seed.

    Example:
        >>> more = {"convolution": 0.1, "inverse": 0.002, "two convolutions": -0.1}
        >>> verdict({name: [Row("", "", {}, {"more_bits": each, "stderr": 0.01})] for name, each in more.items()})
        'ARMA needs fewer bits than a convolution alone, as many within the error as an inverse alone, and MORE bits \
than two convolutions.'
    """
    alone = [f"{_bits(rows[name])} {'an' if name[0] == 'i' else 'a'} {name} alone" for name in ALONE]
    return f"ARMA needs {', '.join(alone)}, and {_bits(rows[TWO])} {TWO}."


def _bits(rows: list[Row]) -> str:
    more, error = difference(rows)
    if abs(more) <= error:
        return "as many within the error as"
    return "fewer bits than" if more > 0 else "MORE bits than"


def _printed(mean: float, error: float) -> str:
    return f"{mean:+.3f} ± {error:.3f}"


def _draw(result: Result) -> Figure:
    compared = _by_setting(result, True)
    names = [name for name in result.names[::-1] if name != OURS]
    figure = Figure(figsize=(3 + 2 * len(compared), 1.2 + 0.34 * len(names)), layout="constrained")
    grid = figure.subplots(1, len(compared), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (setting, rows) in zip(grid, compared.items(), strict=True):
        for index, name in enumerate(names):
            mean, error = difference(rows[name])
            axes.errorbar(mean, index, xerr=error, fmt="o", color="tab:blue" if name in ALONE else "tab:grey")
        axes.axvline(0, color="black", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=setting)
        axes.grid(alpha=0.3)
    figure.supxlabel(f"bits/dim above {OURS}, 95 % confidence", fontsize="medium")
    return figure


EXPERIMENTS = (
    Experiment(
        name="arma",
        title="When ARMA convolutions pay",
        about="""
Our rational (ARMA) layer is a k×k convolution followed by the inverse of another. It is compared with either
part alone, and with two convolutions from opposite corners, which have as many taps (an emerging layer for k = 5). The
two parts of ARMA start at opposite corners of the image, at adjacent corners or at the same corner. The rows are flows
that differ only in this layer: coupling network, spline, ActNorm, 1×1 convolution, optimizer, images and their order
are the same. K is the number of flow steps at each of two scales.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 3, "full": 3},
    ),
)
