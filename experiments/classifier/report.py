"""Tables and plot of the classifiers."""

from __future__ import annotations

import statistics

import torch
from matplotlib.figure import Figure

from benchmarks.markdown import table
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Row
from inverseflow.ops import inv_conv2d

GOAL = 0.97
PUBLISHED = 0.976

BY_ACTIVATIONS = "search: activations"
BY_CORNERS = "search: corners"
SEED = "seed "

FULLY_CONNECTED = "fully connected alone"
ACTIVATED = "the same activations and fully connected"
LINEAR = "two inverse convolutions, linear"
NONLINEAR = "two inverse convolutions, non-linear"
CONVOLUTIONS = "two causal convolutions, non-linear"

_NOTES = (
    "After 50 epochs, with two 3×3 inverse convolutions and a fully connected layer. Without activations between them "
    f'this is the linear classifier of the row "{LINEAR}".',
    "The public kernel computes a wrong gradient of its layer.",
)


def best(result: Result, part: str) -> Row:
    """Return the candidate with the highest validation accuracy, the first one if several are equal.

    Args:
        result: holds the rows of a search.
        part: which search.
    """
    return max((row for row in result.rows if row.part == part), key=lambda row: row.values["validation_accuracy"])


def activation(arguments: tuple[str, float]) -> str:
    """Return the printed form of an activation.

    Example:
        >>> activation(("tanh", 2.0)), activation(("ReLU", 1.0))
        ('tanh(2x)', 'ReLU')
    """
    name, scale = arguments
    return name if scale == 1 else f"{name}({scale:g}x)"


def parts(result: Result) -> list[str]:
    """Return the result as Markdown: the search, the table and a verdict."""
    tried, corners = best(result, BY_ACTIVATIONS), best(result, BY_CORNERS)
    some = result.parts(NONLINEAR, SEED)[0]
    names = [name for name in result.names if result.parts(name, SEED)]
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds, mean ± standard deviation"
    head = ["network", "test, %", "validation, %", "training, %", "parameters", "of the layers", "from affine"]
    head += ["growth"]
    printed = [
        f"Validation accuracy in %, after {tried.settings['epochs']} epochs, by the activation between the layers "
        f"(down) and after the second (across). The layers start at the corners {_walks(tried)}:",
        _grid(result, BY_ACTIVATIONS),
        f"With the best of these, {tried.name}, by the corners at which the first (down) and the second layer "
        "(across) start:",
        _grid(result, BY_CORNERS),
        f"Chosen: {tried.name}, corners {_walks(corners)}. {some.values['title']}, {some.settings['epochs']} "
        f"epochs, {seeds}:",
        table(head, [_line(result, name) for name in names]),
        "From affine: largest distance of a logit from the affine map with the same values at zero and at unit "
        "vectors, divided by the largest change of a logit, in float64. Growth: largest amplification of a solve.",
        _verdict(result),
    ]
    return printed + (_published() if _is_mnist(some) else [])


def _published() -> list[str]:
    numbers = ", ".join(str(number) for number in range(1, len(_NOTES) + 1))
    return [
        "What the paper prints:",
        table(["network", "test, %", "of the layers", "notes"], [["inv-conv", f"{100 * PUBLISHED:g}", "16", numbers]]),
        "\n".join(f"{number}. {note}" for number, note in enumerate(_NOTES, 1)),
    ]


def _is_mnist(row: Row) -> bool:
    return bool(row.values["title"] == "MNIST")


def _grid(result: Result, part: str) -> str:
    cells = {row.name: f"{100 * row.values['validation_accuracy']:.2f}" for row in result.rows if row.part == part}
    down, across = (list(dict.fromkeys(name.split(", ")[index] for name in cells)) for index in (0, 1))
    across.sort(key=lambda name: name != "none")
    lines = [[_words(first), *(cells.get(f"{first}, {second}", "–") for second in across)] for first in down]
    return table(["", *map(_words, across)], lines)


def _walks(row: Row) -> str:
    return " and ".join(map(_words, row.values["architecture"]["corners"]))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _line(result: Result, name: str) -> list[str]:
    rows = [row.values for row in result.parts(name, SEED)]
    accuracies = [
        mean_and_deviation([100 * values[f"{split}_accuracy"] for values in rows], 2)
        for split in ("test", "validation", "train")
    ]
    grown = [max(values["growth"]) for values in rows if values["growth"] and name in (LINEAR, NONLINEAR)]
    return [
        name,
        *accuracies,
        f"{rows[0]['parameters']:,}",
        str(rows[0]["layer_parameters"]),
        f"{max(values['distance_from_affine'] for values in rows):.0e}",
        f"{max(grown):.1f}" if grown else "–",
    ]


def _mean_test_accuracy(result: Result, name: str) -> float:
    return statistics.mean(float(row.values["test_accuracy"]) for row in result.parts(name, SEED))


def _verdict(result: Result) -> str:
    linear, nonlinear = (_mean_test_accuracy(result, name) for name in (LINEAR, NONLINEAR))
    tried = sum(row.part in (BY_ACTIVATIONS, BY_CORNERS) for row in result.rows)
    distance = max(row.values["distance_from_affine"] for row in result.parts(LINEAR, SEED))
    verdict = (
        "Without a non-linearity the network is a linear classifier: it equals an affine map up to "
        f"{distance:.0e} and classifies {linear:.2%} of the test images correctly. The best of {tried} candidates "
        f"classifies {nonlinear:.2%} correctly"
    )
    if not _is_mnist(result.parts(NONLINEAR, SEED)[0]):
        return f"{verdict}."
    if nonlinear >= GOAL:
        return f"{verdict}, which reaches {GOAL:.1%}."
    return f"{verdict}, which does NOT reach {GOAL:.1%}. It is the best that this search found for 16 such parameters."


def draw(result: Result) -> Figure:
    """Plot accuracies, and the impulse responses for the first seed."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    panels = figure.subplot_mosaic("abc;ade", width_ratios=(1.6, 1, 1))
    axes = panels.pop("a")
    names = [name for name in result.names if result.parts(name, SEED)][::-1]
    for index, name in enumerate(names):
        percent = [100 * row.values["test_accuracy"] for row in result.parts(name, SEED)]
        deviation = statistics.stdev(percent) if len(percent) > 1 else 0.0
        axes.errorbar(statistics.mean(percent), index, xerr=deviation, fmt="o", color="tab:blue", capsize=4)
        axes.plot(percent, [index] * len(percent), "k|")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="test accuracy, % (lines: seeds; bars: standard deviation)", ylim=(-0.5, len(names) - 0.5))
    axes.grid(alpha=0.3)
    learned = [
        (name, number, kernel, corner)
        for name in (LINEAR, NONLINEAR)
        for values in [result.parts(name, SEED)[0].values]
        for number, kernel, corner in zip((1, 2), values["kernels"], values["architecture"]["corners"], strict=True)
    ]
    size = result.parts(LINEAR, SEED)[0].values["shape"]
    impulse = torch.zeros(1, *size)
    impulse[..., size[1] // 2, size[2] // 2] = 1
    for panel, (name, number, kernel, corner) in zip(panels.values(), learned, strict=True):
        response = inv_conv2d(impulse, torch.tensor(kernel)[None, None], corner=corner, unitriangular=True)[0, 0]
        picture = panel.imshow(response.numpy(), cmap="RdBu_r", vmin=-0.5, vmax=0.5)
        panel.set(xticks=[], yticks=[], title=f"impulse response,\n{name.rpartition(', ')[2]}, layer {number}")
    figure.colorbar(picture, ax=list(panels.values()), extend="both", shrink=0.6)
    return figure
