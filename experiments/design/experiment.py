"""Airfoils with a wanted lift, drag and thickness: drawn from a posterior, simulated again, and refined."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.markdown import table
from experiments.design.airfoils import SHAPE, NeuralFoil, read_airfoils, surfaces
from experiments.design.inverse import (
    ANGLES,
    CONFIDENCE,
    OBSERVATIONS,
    PARAMETERS,
    BlendedShapes,
    coefficients,
    refined,
    usable,
)
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.folders import data_folder
from experiments.result import Result, Values
from inverseflow.inference import AmortizedPosterior, Problem
from inverseflow.inference.support import Interval, Real, Support

_TARGETS = ("e423", "naca4412", "rae2822")  # their families are held out
_ANGLES = (4.0, 3.0, 1.0)
_SHOWN = 12
_PART = "designs"
_TRAINING = "training"


@dataclass(frozen=True)
class Size:
    """Amount of simulations, training and designs."""

    network: str
    """Size of the surrogate."""
    simulations: int
    steps: int
    designs: int


SIZES: dict[Budget, Size] = {
    "smoke": Size("small", 2_000, 60, 50),
    "quick": Size("large", 40_000, 4_000, 1_000),
    "full": Size("xxlarge", 400_000, 30_000, 1_000),
}


def measure(size: Size, data_dir: Path | None, seed: int = 0) -> dict[str, Values]:
    """Train the posterior and design for each target.

    Args:
        size: amount of everything.
        data_dir: folder that holds ``airfoils/``.
        seed: of all noise.

    Returns:
        Measured values of the training and of each target.
    """
    folder = data_folder("airfoils", data_dir)
    airfoils, surrogate = read_airfoils(folder), NeuralFoil(folder, size.network)
    names = list(airfoils.names)
    targets = [names.index(name) for name in _TARGETS]
    held_out = {airfoils.families[place] for place in targets}
    known = airfoils.shapes[[family not in held_out for family in airfoils.families]]
    simulate = coefficients(surrogate)
    problem = Problem(
        "airfoil",
        BlendedShapes(known),
        simulate,
        parameters=PARAMETERS,
        observations=OBSERVATIONS,
        support=Support((*[Real()] * SHAPE, Interval(*ANGLES))),
    )
    x, y = problem.simulate(size.simulations, seed=seed)
    fine = usable(surrogate, x)
    x, y = x[fine], y[fine]
    began = time.perf_counter()
    posterior = AmortizedPosterior.of(problem, "cinn", width=96, linear="lu")
    posterior.fit(x, y, max_steps=size.steps, seed=seed, progress=False)
    values: dict[str, Values] = {
        _TRAINING: {
            "seconds": time.perf_counter() - began,
            "simulations": len(x),
            "refused": size.simulations - len(x),
            "parameters": sum(parameter.numel() for parameter in posterior.model.parameters()),
            "shapes": len(known),
            "held_out": len(airfoils.shapes) - len(known),
        }
    }
    for place, angle in zip(targets, _ANGLES, strict=True):
        real = torch.cat([airfoils.shapes[place], torch.tensor([angle])])
        wanted = simulate(real[None])[0]
        values[airfoils.names[place]] = _designed(posterior, surrogate, x, y, real, wanted, size.designs, seed)
    return values


def _designed(
    posterior: AmortizedPosterior,
    surrogate: NeuralFoil,
    x: Tensor,
    y: Tensor,
    real: Tensor,
    wanted: Tensor,
    count: int,
    seed: int,
) -> Values:
    simulate, scale = coefficients(surrogate), x.std(0)
    began = time.perf_counter()
    drawn = posterior.sample(wanted, count, seed=seed)
    drawing = time.perf_counter() - began
    began = time.perf_counter()
    better = refined(simulate, drawn, wanted, scale)
    refining = time.perf_counter() - began
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]
    from_prior = refined(simulate, x[order], wanted, scale)
    nearest = x[((y - wanted) / y.std(0)).norm(dim=1).topk(count, largest=False).indices]
    return {
        "angle": float(real[SHAPE]),
        "wanted": wanted.tolist(),
        "surprise": float(posterior.surprise(wanted)),
        "drawn": _judged(surrogate, drawn, wanted, scale),
        "refined": {**_judged(surrogate, better.designs, wanted, scale), "moved": float(better.moved.median())},
        "refined from the prior": {
            **_judged(surrogate, from_prior.designs, wanted, scale),
            "moved": float(from_prior.moved.median()),
        },
        "nearest simulations": _judged(surrogate, nearest, wanted, scale),
        "drawing_seconds": drawing,
        "refining_seconds": refining,
        "evaluations": better.evaluations,
        "shown": better.designs[usable(surrogate, better.designs)][:_SHOWN].tolist(),
        "real": real.tolist(),
    }


def _judged(surrogate: NeuralFoil, designs: Tensor, wanted: Tensor, scale: Tensor) -> Values:
    """Simulate designs again and compare with what was wanted."""
    found = coefficients(surrogate)(designs)
    lift = ((found[:, 0] - wanted[0]) / wanted[0]).abs()
    drag = (found[:, 1] - wanted[1]).expm1().abs()
    good = usable(surrogate, designs)
    return {
        "lift_error": float(lift.median()),
        "drag_error": float(drag.median()),
        "thickness_error": float((found[:, 2] - wanted[2]).abs().median()),
        "lift_within": float((lift < 0.01).float().mean()),
        "both_within": float(((lift < 0.01) & (drag < 0.01)).float().mean()),
        "usable": float(good.float().mean()),
        "diversity": float((designs[good][:, :SHAPE].std(0) / scale[:SHAPE]).mean()) if good.sum() > 1 else 0.0,
    }


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    return [
        Task(
            _PART,
            {name: {"budget": settings.budget, "targets": _TARGETS} for name in (_TRAINING, *_TARGETS)},
            partial(measure, size, settings.data_dir),
        )
    ]


def _parts(result: Result) -> list[str]:
    training = result.parts(_TRAINING)[0].values
    rows = []
    for name in _TARGETS:
        values = result.parts(name)[0].values
        for how in ("nearest simulations", "drawn", "refined", "refined from the prior"):
            judged = values[how]
            rows.append(
                [
                    f"{name}, {values['angle']:g}°",
                    how,
                    f"{judged['lift_error']:.2%}",
                    f"{judged['drag_error']:.2%}",
                    f"{judged['thickness_error']:.4f}",
                    f"{judged['lift_within']:.1%}",
                    f"{judged['both_within']:.1%}",
                    f"{judged['usable']:.1%}",
                    f"{judged['diversity']:.2f}",
                    f"{judged['moved']:.2f}" if "moved" in judged else "",
                ]
            )
    head = ["wanted", "designs", "lift error", "drag", "thickness", "lift within 1 %", "and drag", "usable", "spread"]
    wishes = "; ".join(
        f"{name}: lift {values['wanted'][0]:.3f}, drag {torch.tensor(values['wanted'][1]).exp():.5f}, thickness "
        f"{values['wanted'][2]:.3f}"
        for name in _TARGETS
        for values in [result.parts(name)[0].values]
    )
    first = result.parts(_TARGETS[0])[0].values
    return [
        f"Trained in {training['seconds']:.0f} s on {training['simulations']:,} simulations ({training['refused']:,} "
        f"were not usable) of shapes between {training['shapes']:,} real ones; {training['held_out']:,} shapes of the "
        f"targets' families were held out. {training['parameters']:,} parameters. Drawing takes "
        f"{first['drawing_seconds']:.2f} s, refining {first['refining_seconds']:.2f} s and {first['evaluations']} "
        "evaluations of each design.",
        f"Wanted: {wishes}.",
        table([*head, "moved"], rows),
        "Errors are medians. Usable: the surrogate's confidence is at least "
        f"{CONFIDENCE:g}, the angle lies between {ANGLES[0]:g}° and {ANGLES[1]:g}°, and the surfaces do not cross. "
        "Spread: the deviation of the usable designs' shape parameters, in that of the simulations. Moved: how far the "
        "correction moved a design, in the same unit.",
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(len(_TARGETS), 1, sharex=True)
    chord = torch.linspace(0, 1, 200) ** 2
    for axis, name in zip(axes, _TARGETS, strict=True):
        values: Mapping[str, Values] = result.parts(name)[0].values
        for design in values["shown"]:
            for surface in surfaces(torch.tensor([design])[:, :SHAPE], chord):
                axis.plot(chord, surface[0], color="tab:blue", linewidth=0.8, alpha=0.6)
        for surface in surfaces(torch.tensor([values["real"]])[:, :SHAPE], chord):
            axis.plot(chord, surface[0], color="black", linewidth=1.6)
        lift, drag, thick = values["wanted"]
        axis.set_title(
            f"lift {lift:.2f}, drag {float(torch.tensor(drag).exp()):.4f}, thickness {thick:.3f}: {name} (black) and "
            f"{len(values['shown'])} designs",
            fontsize=10,
        )
        axis.set_aspect("equal")
        axis.set_ylabel("chords")
    axes[-1].set_xlabel("chords")
    return figure


EXPERIMENTS = (
    Experiment(
        name="design",
        title="Airfoils with a wanted lift and drag",
        about="""
Which shapes have a wanted lift, drag and thickness? A conditional flow learns p(shape, angle | lift, drag, thickness)
from simulations of shapes that lie between two of 2,129 real ones. The simulator is NeuralFoil, a network that its
authors trained on XFOIL: a surrogate, evaluated at a Reynolds number of one million. The wanted numbers are those of
three real airfoils whose families were held out. Designs are drawn, simulated again, and refined by five Newton steps
of least length through the gradient of the surrogate. For comparison stand the nearest simulations, and simulations
that were refined in the same way.

The set-up follows Glaws et al., Invertible Neural Networks for Airfoil Design, AIAA Journal 60(5), 2022, in spirit: 18
shape parameters and an angle; their data, code and weights were not used.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
