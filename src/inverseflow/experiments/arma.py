"""Whether a convolution and an inverse in one layer pay: from which corners, at which depth, in how long a training."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from inverseflow.benchmarks.tables import table
from inverseflow.experiments.experiment import Budget, Experiment, Settings, Task
from inverseflow.experiments.result import Result, Row, Values
from inverseflow.experiments.tables import Line, TrainedTable, fixed, mean_and_deviation, train_line
from inverseflow.training.options import TrainOptions

ARMA = tuple(f"ARMA, {corners}" for corners in ("opposed corners", "adjacent corners", "same corner"))
ALONE = ("convolution", "inverse")
TWO = "two convolutions, opposed corners"
_LINES = (
    Line(ALONE[0], {"name": "cinc"}),
    Line(ALONE[1], {"name": "inverse-flow"}),
    Line(TWO, {"name": "image", "layer": "emerging", "kernel_size": 5}),  # each of the two has 3×3 taps
    *(
        Line(name, {"name": "image", "layer": layer})
        for name, layer in zip(ARMA, ("arma", "arma-adjacent", "arma-same"), strict=True)
    ),
)
_GRIDS: dict[Budget, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "smoke": ((1,), (2,)),
    "quick": ((1, 4), (100, 400)),
    "full": ((4, 16), (40_000,)),
}
"""Flow steps at each scale, and training steps."""


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
    depths, lengths = _GRIDS[settings.budget]
    tasks = []
    for seed in range(settings.seeds):
        for depth in depths:
            for length in lengths:
                definition = _definition(depth, length)
                test_images = definition.test_images(settings.budget)
                for line in _LINES:
                    options = definition.options(line, seed, settings)
                    tasks.append(
                        Task(
                            f"{_setting(depth, length)}, seed {seed}",
                            {line.name: {**fixed(options), "test_images": test_images}},
                            partial(_train_one, line.name, options, test_images),
                        )
                    )
    return tasks


def _setting(depth: int, length: int) -> str:
    return f"K = {depth}, {length:,} steps"


def _train_one(name: str, options: TrainOptions, test_images: int | None) -> dict[str, Values]:
    return {name: train_line(options, test_images)}


def _cells(result: Result) -> dict[str, dict[str, list[Row]]]:
    """Rows of all seeds, by setting and line."""
    cells: dict[str, dict[str, list[Row]]] = {}
    for row in result.rows:
        cells.setdefault(row.part.rpartition(", ")[0], {}).setdefault(row.name, []).append(row)
    return cells


def _parts(result: Result) -> list[str]:
    cells = _cells(result)
    some = result.rows[0].values
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds, mean ± standard deviation"
    lines = [
        [name, *(mean_and_deviation([row.values["bits_per_dim"] for row in cells[at][name]], 3) for at in cells)]
        for name in result.names
    ]
    parameters = [[name, *(f"{cells[at][name][0].values['parameters']:,}" for at in cells)] for name in result.names]
    return [
        f"{some['title']}: batches of {some['batch_size']} images, {some['test_images']} test images, {seeds}; "
        f"bits/dim:",
        table(["layer", *cells], lines),
        "Parameters of the whole flow:",
        table(["layer", *cells], parameters),
        "\n".join(f"- {verdict(at, by_line)}" for at, by_line in cells.items()),
    ]


def verdict(setting: str, rows: dict[str, list[Row]]) -> str:
    """Return the answer at one depth and length: the best ARMA beside the best layer of one part, and beside two.

    Args:
        setting: what is printed before it.
        rows: of each line, one for each seed.

    Example:
        >>> bits = {"convolution": 4.2, "inverse": 4.1, TWO: 4.05, **dict(zip(ARMA, (4.0, 4.03, 4.3)))}
        >>> def row(value):
        ...     return Row("", "", {}, {"bits_per_dim": value, "bits_per_dim_stderr": 0.003})
        >>> for clause in verdict("K = 1", {name: [row(value)] for name, value in bits.items()}).split(": "):
        ...     print(clause)
        K = 1
        the best of the three, ARMA, opposed corners, is 0.100 ± 0.004 below the better one alone, inverse, and \
0.050 ± 0.004 below two convolutions, opposed corners. ARMA pays.
    """
    best = min(ARMA, key=lambda name: _mean(rows[name]))
    alone = min(ALONE, key=lambda name: _mean(rows[name]))
    behind = _beside(rows[best], rows[alone])
    pays = {1: "ARMA pays.", 0: "Within the error, ARMA pays nothing.", -1: "ARMA does NOT pay."}
    return (
        f"{setting}: the best of the three, {best}, is {_printed(*behind)} the better one alone, {alone}, and "
        f"{_printed(*_beside(rows[best], rows[TWO]))} {TWO}. {pays[_sign(*behind)]}"
    )


def _mean(rows: list[Row]) -> float:
    return math.fsum(row.values["bits_per_dim"] for row in rows) / len(rows)


def _beside(ours: list[Row], other: list[Row]) -> tuple[float, float]:
    """How far ours are below the other, and its standard error."""
    differences = [
        theirs.values["bits_per_dim"] - mine.values["bits_per_dim"] for mine, theirs in zip(ours, other, strict=True)
    ]
    variance = math.fsum(row.values["bits_per_dim_stderr"] ** 2 for row in (*ours, *other)) / len(ours) ** 2
    mean = math.fsum(differences) / len(differences)
    if len(differences) > 1:
        spread = math.fsum((difference - mean) ** 2 for difference in differences)
        variance = max(variance, spread / (len(differences) - 1) / len(differences))
    return mean, math.sqrt(variance)


def _sign(mean: float, error: float) -> int:
    return 0 if abs(mean) <= 2 * error else int(math.copysign(1, mean))


def _printed(mean: float, error: float) -> str:
    return f"{abs(mean):.3f} ± {error:.3f} {'below' if mean >= 0 else 'ABOVE'}"


def _draw(path: Path, result: Result) -> None:
    cells = _cells(result)
    figure = Figure(figsize=(3 + 2 * len(cells), 1.2 + 0.34 * len(result.names)), layout="constrained")
    names = result.names[::-1]
    for axes, (setting, rows) in zip(
        figure.subplots(1, len(cells), sharey=True, squeeze=False)[0], cells.items(), strict=True
    ):
        for index, name in enumerate(names):
            bits = [row.values["bits_per_dim"] for row in rows[name]]
            axes.plot(bits, [index] * len(bits), "o", color="tab:orange" if name in ARMA else "tab:blue")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="test bits/dim, each seed", title=setting)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


EXPERIMENT = Experiment(
    name="arma",
    title="When ARMA convolutions pay",
    about="""Our rational (ARMA) layer, a k×k convolution followed by the inverse of another, beside either alone and
beside two convolutions, which have as many taps (an emerging layer for k = 5). Its parts start at opposed corners of
the image, at two corners of one row, or at the same one. All rows are the same flow but for this layer: the same
coupling network, spline, ActNorm and 1×1 convolution, the same optimiser, the same images in the same order. K is the
number of flow steps at each of two scales. Below, a difference counts from two standard errors on; with one seed these
are of the test images alone, and do not know how much another seed would change.""",
    tasks=_tasks,
    parts=_parts,
    draw=_draw,
)
