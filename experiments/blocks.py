"""Blocks of image flows at equal parameters: what mixes, which network conditions, and one option at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import milliseconds
from experiments.result import Result, Values
from experiments.trained.table import slug
from experiments.trained.tasks import SEED, train_one
from experiments.trained.training import fixed
from inverseflow import densities
from inverseflow.bijections import Shape
from inverseflow.errors import OptionError
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions

TOLERANCE = 0.05
"""Largest relative difference of the numbers of parameters from the number of the reference."""

_MIXINGS: dict[str, dict[str, Any]] = {
    "k×k inverse": {"name": "inverse-flow", "conv1x1": "none"},
    "1×1": {"name": "glow", "conv1x1": "lu"},
    "permutation": {"name": "glow", "conv1x1": "permutation"},
}
_CONDITIONERS: dict[str, dict[str, Any]] = {
    "convolutional": {"conditioner": "conv"},
    "ViT": {"conditioner": "vit", "depth": 1, "heads": 1},
}
_REFERENCE = "1×1, convolutional"
LINES: dict[str, Mapping[str, Any]] = {
    **{
        f"{mixing}, {network}": {**_MIXINGS[mixing], **_CONDITIONERS[network]}
        for network in _CONDITIONERS
        for mixing in _MIXINGS
    },
    "mixture coupling": {**_MIXINGS["1×1"], "coupling": "mixture", "components": 4},
    "gated residual": {**_MIXINGS["1×1"], "conditioner": "gated", "depth": 1},
    "variational dequantization": {**_MIXINGS["1×1"], "dequantization": "variational"},
    "autoregressive transformer": {
        **{"name": "glow", "conv1x1": "none", "coupling": "autoregressive"},
        **{"depth": 1, "heads": 1},
    },
}
"""Model options of each line."""
_OPTIONS = list(LINES)[len(_MIXINGS) * len(_CONDITIONERS) :]

_PROBED = (8, 16, 32)
_SHAPES: dict[str, tuple[Shape, int]] = {"digits": ((1, 8, 8), 17), "mnist": ((1, 28, 28), 256)}
_TEST: dict[Budget, int | None] = {"smoke": 100, "quick": 2000, "full": None}


def _base(budget: Budget) -> TrainOptions:
    shared: dict[str, Any] = {"evaluation_draws": 1, "accelerator": "cpu", "devices": "1", "quiet": True}
    model = partial(ModelOptions, scales=1, spline="none")
    if budget == "smoke":
        return TrainOptions(
            data="digits",
            max_steps=5,
            batch_size=32,
            validation_images=32,
            initialization_images=64,
            model=model(steps=1, width=64),
            optimizer=OptimizerOptions(learning_rate=1e-3, warmup_steps=1),
            **shared,
        )
    steps = 300 if budget == "quick" else 20_000
    return TrainOptions(
        data="mnist",
        max_steps=steps,
        batch_size=64,
        validate_every=steps if budget == "quick" else 1000,
        validation_images=500 if budget == "quick" else None,
        model=model(steps=4, width=64) if budget == "quick" else model(steps=16, width=192),
        optimizer=OptimizerOptions(learning_rate=2e-3, schedule="cosine", warmup_steps=min(50, steps // 3)),
        **shared,
    )


@cache
def _parameters(data: str, given: tuple[tuple[str, Any], ...]) -> int:
    options = dict(given)
    name = options.pop("name")
    shape, levels = _SHAPES[data]
    with torch.device("meta"):
        flow = densities.create(name, shape, levels=levels, **options)
    return sum(parameter.numel() for parameter in flow.parameters())


def count(options: TrainOptions) -> int:
    """Return the number of parameters of the flow that these options train.

    Args:
        options: of digits or mnist.
    """
    return _parameters(str(options.data), tuple({"name": options.model.name, **options.model.given()}.items()))


def options_of(name: str, settings: Settings, seed: int = 0) -> TrainOptions:
    """Return the training options of one line, with the width that gives it as many parameters as the reference.

    Args:
        name: the line.
        settings: of the experiment.
        seed: of weights, images and noise.

    Raises:
        OptionError: if no width comes within `TOLERANCE`.
    """
    base = _base(settings.budget)
    target = count(replace(base, model=replace(base.model, **LINES[_REFERENCE])))
    options = replace(base, model=replace(base.model, **LINES[name]))

    def with_width(width: int) -> TrainOptions:
        return replace(options, model=replace(options.model, width=width))

    # The number is a polynomial of degree two in the width.
    polynomial = np.polynomial.Polynomial.fit(_PROBED, [count(with_width(width)) for width in _PROBED], 2)
    width = max(int((polynomial - target).roots().real.max()), 1)
    options = min((with_width(width), with_width(width + 1)), key=lambda each: abs(count(each) - target))
    if abs(count(options) / target - 1) > TOLERANCE:
        raise OptionError(f"no width gives {name} {target:,} parameters within {TOLERANCE:.0%}")
    options = replace(options, seed=seed, data_dir=None if base.data == "digits" else settings.data_dir)
    if settings.device.startswith("cuda"):
        options = replace(options, accelerator="gpu")
    out = settings.out / "runs" / f"blocks-{slug(name)}-{seed}-{options.model.width}-{options.max_steps}"
    return replace(options, out=out, resume=not settings.overwrite, overwrite=settings.overwrite)


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    test = _TEST[settings.budget]
    planned = []
    for seed in range(settings.seeds):
        for name in LINES:
            options = options_of(name, settings, seed)
            of_line: dict[str, Values] = {name: {**fixed(options), "test_images": test}}
            planned.append(Task(f"{SEED}{seed}", of_line, partial(train_one, name, options, test)))
    return planned


def _bits(result: Result, name: str) -> tuple[float, float]:
    """Return the mean over the seeds, and the standard error over the images of this mean."""
    rows = [row.values for row in result.parts(name, SEED)]
    bits = math.fsum(row["bits_per_dim"] for row in rows) / len(rows)
    return bits, math.sqrt(math.fsum(row["bits_per_dim_stderr"] ** 2 for row in rows)) / len(rows)


def compared(result: Result, name: str, other: str) -> str:
    """Return by how much one line needs fewer or more bits than another, in words.

    Args:
        result: of the experiment.
        name: the line.
        other: the other line.
    """
    (bits, error), (other_bits, other_error) = _bits(result, name), _bits(result, other)
    difference, uncertainty = bits - other_bits, math.hypot(error, other_error)
    amount = f"{abs(difference):.3f} ± {uncertainty:.3f} bits/dim"
    if abs(difference) < 2 * uncertainty:
        return f"{name} and {other} do not differ by two standard errors ({amount})"
    return f"{name} needs {amount} {'fewer' if difference < 0 else 'more'} than {other}"


def _parts(result: Result) -> list[str]:
    rows = []
    for name in result.names:
        values = result.parts(name, SEED)[0].values
        bits, error = _bits(result, name)
        step = math.fsum(row.values["ms_per_step"] for row in result.parts(name, SEED)) / result.seeds
        rows.append([name, f"{bits:.3f} ± {error:.3f}", f"{values['parameters']:,}", milliseconds(step)])
    first = result.parts(_REFERENCE, SEED)[0].values
    least = min(result.names, key=lambda name: _bits(result, name)[0])
    mixing = [
        compared(result, f"{mixing}, {network}", f"1×1, {network}")
        for network in _CONDITIONERS
        for mixing in _MIXINGS
        if mixing != "1×1"
    ]
    networks = [compared(result, f"{mixing}, ViT", f"{mixing}, convolutional") for mixing in _MIXINGS]
    options = [compared(result, name, _REFERENCE) for name in _OPTIONS]
    return [
        table(["block", "bits/dim", "parameters", "ms per step"], rows),
        f"{first['title']}: {first['steps']} steps of {first['batch_size']} images, {first['test_images']} test images "
        "with one draw of noise each; ± is the standard error over the images. All values are upper bounds. "
        f"The fewest bits needs {least}.",
        "Mixing: " + "; ".join(mixing) + ".",
        "Conditioner: " + "; ".join(networks) + ".",
        "Options: " + "; ".join(options) + ".",
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = result.names[::-1]
    bits = [_bits(result, name) for name in names]
    left.errorbar([mean for mean, _ in bits], range(len(names)), xerr=[error for _, error in bits], fmt="o")
    left.set_yticks(range(len(names)), names)
    left.set(xlabel="test bits/dim, with standard error")
    right.barh(range(len(names)), [result.parts(name, SEED)[0].values["ms_per_step"] for name in names])
    right.set(xlabel="ms per training step")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


EXPERIMENTS = (
    Experiment(
        name="blocks",
        title="Blocks of image flows at equal parameters",
        about="""
One scale of steps of mixing → ActNorm → coupling, without splines, trained alike: the same images in the same order,
optimizer and number of steps. The width of each network is chosen so that all flows have the parameters of
*1×1, convolutional* within 5 %. What mixes is the k×k inverse convolution, a 1×1 convolution, or a random permutation
that is not learned. The conditioner is the network of Glow or a vision transformer (Jet). The options change one thing
of *1×1, convolutional*: the mixture-of-logistics coupling and the gated residual blocks of Flow++, its variational
dequantization, and in place of mixing and coupling an autoregressive transformer of patches (TarFlow).

Does an invertible k×k convolution still pay once the conditioner sees the whole image? After few steps the answer is
about learning speed, not about the best likelihood.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 1, "full": 3},
    ),
)
