"""Sampling speed of flows, compared with sequential substitution and with a flow without any k×k layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import torch
from matplotlib.figure import Figure

from benchmarks.markdown import table
from benchmarks.plotting import label_one_two_five
from benchmarks.sequential import pixel_by_pixel, swap_direction
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import milliseconds
from experiments.op_counter import OpCounter
from experiments.result import Result, Row, Values
from experiments.speed import EFFORTS, Effort, round_trip
from inverseflow import flows
from inverseflow.flows import Flow
from inverseflow.utils.seeding import seeded
from inverseflow.utils.timing import time_in_turn

OURS, GLOW = "Inverse-Flow", "Glow"
SOLVER, PLAIN = "Inverse-Flow turned round, our solver", "Inverse-Flow turned round, pixel by pixel"

_NAMES = {
    OURS: "inverse-flow",
    GLOW: "glow",
    "FInC Flow": "finc",
    "CInC Flow": "cinc",
    "Emerging": "emerging",
    "ARMA (ours)": "arma",
    "MaCow": "macow",
    "MintNet": "mintnet",
    "Periodic": "periodic",
    "Exponential": "exponential",
    "SNF, exact inverse": "self-normalizing",
    "Woodbury": "woodbury",
    "Butterfly": "butterfly",
}


@dataclass(frozen=True)
class Comparison:
    """Image size and model size of all flows in a comparison."""

    shape: tuple[int, int, int]
    scales: int
    steps: int
    width: int

    @property
    def name(self) -> str:
        """Image size, scales, steps and width."""
        image = "×".join(map(str, self.shape))
        return f"{image}, {self.scales} scales of {self.steps} steps, width {self.width}"


_ARCHITECTURES: dict[Budget, tuple[Comparison, ...]] = {
    "smoke": (Comparison((1, 16, 16), 2, 1, 8),),
    "quick": (Comparison((1, 28, 28), 2, 4, 64), Comparison((3, 32, 32), 2, 4, 64)),
    "full": (Comparison((1, 28, 28), 2, 16, 512), Comparison((3, 32, 32), 2, 16, 512)),
}


def build(architecture: Comparison) -> dict[str, Flow]:
    """Return all flows of a comparison, untrained, with the two sequential alternatives to Inverse-Flow.

    Args:
        architecture: their sizes.
    """
    options = {"scales": architecture.scales, "steps": architecture.steps, "width": architecture.width}
    built = {}
    for name, registered in _NAMES.items():
        with seeded(0, "weights"):
            built[name] = flows.create(registered, architecture.shape, **options)
    swapped = swap_direction(built[OURS])
    return {**built, SOLVER: swapped, PLAIN: pixel_by_pixel(swapped)}


def measure(architecture: Comparison, effort: Effort, device: str) -> dict[str, Values]:
    """Time the flows of one comparison in turn, and count the operations of their sampling.

    Args:
        architecture: their sizes.
        effort: amount of timing.
        device: device to measure on.

    Returns:
        By flow: the times of drawing `effort.batch` samples, the counts of `OpCounter`, the errors of `round_trip` and
        the number of parameters.
    """
    where = torch.device(device)
    shape = (effort.batch, *architecture.shape)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(where)
    built = build(architecture)
    values: dict[str, Values] = {}
    for name, flow in built.items():
        with seeded(0, "initialization"):
            flow.to(where).initialize(images)
        flow.eval()
        with OpCounter() as counter:
            flow.sample(2)
        values[name] = {
            "solves": counter.solves,
            "convolutions": counter.convolutions,
            "largest_matrix": counter.largest_matrix,
            "parameters": sum(parameter.numel() for parameter in flow.parameters()),
            **round_trip(flow, images[:10]),
        }
    timings = time_in_turn(
        {name: partial(flow.sample, effort.batch) for name, flow in built.items()},
        rounds=effort.rounds,
        at_least_ms=0,
        at_most_ms=2 * effort.at_most_ms,
        device=where,
    )
    return {name: {**values[name], "sample": asdict(timing)} for name, timing in timings.items()}


def _tasks(settings: Settings) -> list[Task]:
    effort = EFFORTS[settings.budget]
    return [
        Task(
            architecture.name,
            {
                name: {"architecture": asdict(architecture), "effort": asdict(effort), "device": settings.device}
                for name in (*_NAMES, SOLVER, PLAIN)
            },
            partial(measure, architecture, effort, settings.device),
        )
        for architecture in _ARCHITECTURES[settings.budget]
    ]


def _parts(result: Result) -> list[str]:
    parts = []
    for architecture in dict.fromkeys(row.part for row in result.rows):
        rows = {row.name: row for row in result.rows if row.part == architecture}
        ours, glow, solver, plain = (_median(rows[name]) for name in (OURS, GLOW, SOLVER, PLAIN))
        batch = rows[OURS].settings["effort"]["batch"]
        parts += [
            f"**{architecture}**, {batch} samples:",
            table(
                ["flow", "ST, ms", "/ Inverse-Flow", "/ Glow", "k×k solves", "largest matrix", "error"],
                [
                    [
                        name,
                        f"{milliseconds(_median(row))} ({milliseconds(row.values['sample']['low'])}–"
                        f"{milliseconds(row.values['sample']['high'])})",
                        f"{_median(row) / ours:.2f}",
                        f"{_median(row) / glow:.2f}",
                        str(row.values["solves"]),
                        str(row.values["largest_matrix"]),
                        f"{row.values['round_trip_error']:.0e}",
                    ]
                    for name, row in rows.items()
                ],
            ),
            f"With the direction of its layers swapped, sampling takes {plain / ours:.1f} times as long by "
            f"substitution, pixel by pixel, and {solver / ours:.2f} times as long with our solver. Inverse-Flow takes "
            f"{ours / glow:.2f} times as long as Glow, which has no k×k layer.",
            _solves(rows[OURS]),
        ]
    return parts


def _solves(ours: Row) -> str:
    values = ours.values
    none = "contains no k×k solve" if values["solves"] == 0 else f"CONTAINS {values['solves']} k×k solves"
    return (
        f"Sampling Inverse-Flow {none}. It calls {values['convolutions']} one-sided convolutions. The largest matrix "
        f"that it inverts, in a 1×1 convolution, has order {values['largest_matrix']}."
    )


def _median(row: Row) -> float:
    return float(row.values["sample"]["median"])


def _draw(result: Result) -> Figure:
    architectures = list(dict.fromkeys(row.part for row in result.rows))
    figure = Figure(figsize=(5 + 3 * len(architectures), 1 + 0.3 * len(result.names)), layout="constrained")
    grid = figure.subplots(1, len(architectures), sharey=True, squeeze=False)[0]
    names = result.names[::-1]
    for axes, architecture in zip(grid, architectures, strict=True):
        for index, name in enumerate(names):
            timing = result.value(name, architecture, "sample")
            axes.plot([timing["low"], timing["high"]], [index, index], color="tab:blue", linewidth=1)
            axes.plot(timing["median"], index, "o", color="tab:blue", markersize=4)
        axes.set(xscale="log", xlabel="ST, ms", title=architecture.partition(",")[0])
        label_one_two_five(axes.xaxis)
        axes.grid(alpha=0.3)
    grid[0].set_yticks(range(len(names)), names)
    return figure


EXPERIMENTS = (
    Experiment(
        name="speedup",
        title="Sampling speed",
        about="""
Untrained flows of equal architecture (MintNet without couplings, as published) take turns in one process. Inverse-Flow
also appears with the direction of each k×k layer swapped ("turned round"), so that its density is a convolution and its
sampling a solve: once with our solver and once with plain substitution, pixel by pixel. The substitution handles all
images and channels of a pixel at once, which is more generous than published code. The table counts the k×k solves in
sampling, and gives the order of the largest dense matrix that is inverted, factorized or used in a solve. The
self-normalizing flow samples by its exact inverse, whose blocks are such matrices. MintNet iterates until it converges,
which takes longer after training.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
