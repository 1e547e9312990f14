"""Features of nodes given labels by an invertible graph network, and graphs with wanted properties by MADE."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

import networkx
import torch
from matplotlib.figure import Figure
from torch import Tensor

import inverseflow
from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.graphs.enumerated import (
    PAIRS,
    VERTICES,
    classes,
    compared,
    properties,
    relabeled,
)
from experiments.graphs.ignn import IGNN, GraphObjective, largest_lipschitz
from experiments.graphs.moons import graph, node_features, node_labels, one_hot
from experiments.result import Result, Values
from inverseflow.densities import MADE, Density
from inverseflow.errors import ConvergenceError
from inverseflow.flows import NSF
from inverseflow.ops import mmd
from inverseflow.utils.seeding import derived_seed, seeded

_TRANSPORT, _BOUND = 1.0, 0.95
FREE, PENALIZED, BOUNDED, FLOW = (
    "free blocks",
    f"transport cost, γ = {_TRANSPORT:g}",
    "bounded blocks",
    "spline couplings",
)
_WANTED = ((9, 2), (6, 0), (12, 7), (15, 13))
_WISHED = ["wanted", "such graphs", "sum of all probabilities", "share with the properties", "distance"]
_MADE = "MADE"
_TEST = 500


@dataclass(frozen=True)
class Size:
    """Graphs, and amount of training."""

    graphs: tuple[str, ...]
    examples: int
    steps: int
    """Of the networks of features."""
    blocks: int
    width: int
    relabelings: int
    """Graphs that MADE is trained on."""
    made_steps: int
    wanted: int
    """Number of wished properties."""


SIZES: dict[Budget, Size] = {
    "smoke": Size(("path",), 200, 5, 2, 8, 300, 5, 0),
    "quick": Size(("path", "small world"), 6_000, 800, 6, 16, 100_000, 4_000, 4),
    "full": Size(("path", "small world", "karate club"), 50_000, 10_000, 8, 32, 500_000, 30_000, 4),
}


def measure_features(name: str, size: Size) -> dict[str, Values]:
    """Train all models of one graph's features, and compare them on labels and features that they have not seen.

    Args:
        name: the graph.
        size: amount of training.
    """
    adjacency = graph(name)
    generator = torch.Generator().manual_seed(derived_seed(0, "graphs", name))
    labels = node_labels(size.examples, adjacency, generator)
    x, context = node_features(labels, adjacency, generator), one_hot(labels)
    labels = node_labels(_TEST, adjacency, generator)
    test, test_context = node_features(labels, adjacency, generator), one_hot(labels)
    again = node_features(labels, adjacency, generator)
    values: dict[str, Values] = {}
    for kind, bound, transport in ((FREE, None, 0.0), (PENALIZED, None, _TRANSPORT), (BOUNDED, _BOUND, 0.0)):
        with seeded(0, "graphs", "weights"):
            model = IGNN(adjacency, blocks=size.blocks, width=size.width, max_lipschitz=bound)
        seconds = _trained(model, x, context, size, GraphObjective(transport=transport))
        values[f"{name}, {kind}"] = {
            **_judged(model, test, test_context, seconds),
            "accuracy": float((model.predict(test) == labels).float().mean()),
            "largest_lipschitz": largest_lipschitz(model, test[:100]),
            **_inverted(model, test, test_context, labels, again),
        }
    with seeded(0, "graphs", "weights"):
        flow = NSF((test[0].numel(),), context_channels=context[0].numel(), steps=4, width=24)
    flat = _trained(flow, x.flatten(1), context.flatten(1), size, None)
    with torch.no_grad(), seeded(0, "graphs", "samples"):
        drawn = flow.sample(len(test), test_context.flatten(1))
    values[f"{name}, {FLOW}"] = {
        **_judged(flow, test.flatten(1), test_context.flatten(1), flat),
        "mmd": _distance(drawn, test),
        "mmd_floor": _distance(again, test),
    }
    return values


def _trained(model: Density, x: Tensor, context: Tensor, size: Size, objective: GraphObjective | None) -> float:
    began = time.perf_counter()
    inverseflow.fit(
        model,
        x,
        context,
        objective=objective,
        max_steps=size.steps,
        batch_size=min(100, len(x) // 2),
        learning_rate=3e-3,
        clip_norm=5.0,
        progress=False,
    )
    return time.perf_counter() - began


@torch.no_grad()
def _judged(model: Density, test: Tensor, context: Tensor, seconds: float) -> Values:
    nats = -model.log_prob(test, context)
    return {
        "seconds": seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "nats": float(nats.mean()),
        "nats_stderr": float(nats.std() / len(nats) ** 0.5),
    }


@torch.no_grad()
def _inverted(model: IGNN, test: Tensor, context: Tensor, labels: Tensor, again: Tensor) -> Values:
    """Measure what needs an inverse, if there is one."""
    try:
        round_trip = model.flow.inverse(model.flow(test)[0])[0]
        with seeded(0, "graphs", "samples"):
            drawn = model.sample(len(test), context)
    except ConvergenceError:
        return {"inverse_error": None, "mmd": None, "cycle_accuracy": None, "mmd_floor": _distance(again, test)}
    return {
        "inverse_error": float((round_trip - test).abs().max()),
        "cycle_accuracy": float((model.predict(drawn) == labels).float().mean()),
        "mmd": _distance(drawn, test),
        "mmd_floor": _distance(again, test),
    }


def _distance(first: Tensor, second: Tensor) -> float:
    return float(mmd(first.flatten(1), second.flatten(1), unbiased=True))


def measure_graphs(size: Size) -> dict[str, Values]:
    """Train MADE on relabeled graphs given their properties, and compare its sums with the exact posterior.

    Args:
        size: amount of training.
    """
    generator = torch.Generator().manual_seed(derived_seed(0, "graphs", "relabeled"))
    chosen = torch.randint(len(classes()), (size.relabelings,), generator=generator)
    bits = relabeled(classes()[chosen], generator)
    context = properties(bits).float()
    with seeded(0, "graphs", "weights"):
        made = MADE((len(PAIRS),), levels=2, width=384, depth=2, context_channels=2)
    began = time.perf_counter()
    inverseflow.fit(
        made, bits, context, max_steps=size.made_steps, batch_size=min(500, len(bits) // 2), learning_rate=2e-3,
        progress=False,
    )  # fmt: skip
    values: dict[str, Values] = {
        _MADE: {"seconds": time.perf_counter() - began, "parameters": sum(each.numel() for each in made.parameters())}
    }
    drawn = []
    for wanted in _WANTED[: size.wanted]:
        target = torch.tensor(wanted)
        values[_MADE][f"{wanted[0]} edges, {wanted[1]} triangles"] = dict(compared(made, target, target.float()))
        with seeded(0, "graphs", "drawn"):
            drawn.append(made.sample(4, target.float()).tolist())
    values[_MADE]["drawn"] = drawn
    return values


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    tasks = [
        Task(
            "features",
            {f"{name}, {kind}": asdict(size) for kind in (FREE, PENALIZED, BOUNDED, FLOW)},
            partial(measure_features, name, size),
        )
        for name in size.graphs
    ]
    return [*tasks, Task("graphs", {_MADE: asdict(size)}, partial(measure_graphs, size))]


def _parts(result: Result) -> list[str]:
    rows = []
    for row in (row for row in result.rows if row.part == "features"):
        values = row.values
        rows.append(
            [
                row.name,
                f"{values['parameters']:,}",
                f"{values['seconds']:.0f} s",
                f"{values['nats']:.2f} ± {values['nats_stderr']:.2f}",
                _share(values.get("accuracy")),
                _share(values.get("cycle_accuracy")),
                _number(values.get("largest_lipschitz"), ".2f"),
                "none found" if values.get("inverse_error", 0) is None else _number(values.get("inverse_error"), ".0e"),
                f"{_number(values['mmd'], '.4f')} ({values['mmd_floor']:.4f})",
            ]
        )
    head = ["graph, model", "parameters", "training", "nats", "labels", "cycle", "Lipschitz", "inverse error", "MMD²"]
    made = result.parts(_MADE)[0].values
    wished = [
        [
            name,
            f"{values['graphs']:.0f}",
            f"{values['sum']:.6f}",
            _share(values["right"]),
            f"{values['total_variation']:.3f}",
        ]
        for name, values in made.items()
        if isinstance(values, Mapping)
    ]
    return [
        "**Features given labels**",
        table(head, rows),
        "Nats: −log p of the features of a whole graph, exact. Labels: share of held-out labels that a linear "
        "classifier of H gets right. Cycle: the same for features drawn from labels. Lipschitz: largest norm of a "
        "block's Jacobian at 100 graphs, a lower bound of its constant. MMD²: between drawn and held-out features with "
        "the same labels, unbiased, with that of two held-out sets in brackets.",
        f"**Graphs of {VERTICES} vertices with wanted properties**",
        *([table(_WISHED, wished)] if wished else []),
        f"MADE has {made['parameters']:,} parameters and was trained in {made['seconds']:.0f} s. Distance: of the "
        "probabilities of all 1,044 graphs to the exact posterior, in total variation, between 0 and 1.",
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _draw(result: Result) -> Figure:
    drawn = result.parts(_MADE)[0].values["drawn"]
    figure = Figure(figsize=(8, 2 * max(1, len(drawn))), layout="constrained")
    axes = figure.subplots(max(1, len(drawn)), 4, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, wanted, of_wanted in zip(axes, _WANTED, drawn, strict=False):
        for axis, bits in zip(row, of_wanted, strict=True):
            example = networkx.Graph()
            example.add_nodes_from(range(VERTICES))
            example.add_edges_from(pair for pair, there in zip(PAIRS, bits, strict=True) if there)
            networkx.draw_networkx(
                example, networkx.circular_layout(example), ax=axis, node_size=40, with_labels=False, edge_color="gray"
            )
            found = properties(torch.tensor([bits], dtype=torch.uint8))[0].tolist()
            axis.set_title(
                f"{found[0]} edges, {found[1]} triangles",
                fontsize=8,
                color="black" if found == list(wanted) else "tab:red",
            )
        row[0].text(
            -0.05, 0.5, f"wanted {wanted[0]}, {wanted[1]}", transform=row[0].transAxes, rotation=90, va="center"
        )
    return figure


EXPERIMENTS = (
    Experiment(
        name="graphs",
        title="Graphs",
        about="""
**Features of nodes given their labels.** Every node has one of three labels, and half of the nodes take that of a
neighbor. Its features are a point of the label's moon, plus part of its neighbors' mean. These data are synthetic. The
invertible graph network maps the features of all nodes to clouds of their labels, by residual blocks of graph filters
(Xu, Cheng and Xie, 2022). There, a transport cost encourages the blocks to be invertible. Here it stands beside blocks
that are free, and blocks that are invertible because their filters are bounded; and beside a flow of spline couplings
that knows labels but no graph.

**Graphs with wanted properties.** MADE learns p(graph | edges, triangles) from graphs of seven vertices whose vertices
are in random order. There are 1,044 such graphs with 2²¹ adjacencies in all, so its probabilities are summed and
compared with the exact posterior, which is uniform on the graphs that have the properties.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
