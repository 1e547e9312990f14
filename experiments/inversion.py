"""How many evaluations of a function each method of inversion needs for a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values
from inverseflow.inference import invert
from inverseflow.inference.problems.kinematics import hand
from inverseflow.utils.seeding import seeded

RESTARTS, TOLERANCE, MOST = 8, 1e-3, 20_000
TARGETS: dict[Budget, int] = {"smoke": 1, "quick": 10, "full": 100}
METHODS: dict[str, dict[str, Any]] = {
    "gradient, plain": {"method": "gradient", "step": "plain"},
    "gradient, Adam": {"method": "gradient", "step": "adam"},
    "gradient, backtracking": {"method": "gradient", "step": "backtracking"},
    "gradient, exact search": {"method": "gradient", "step": "exact"},
    "WLK, backtracking": {"method": "wlk", "step": "backtracking"},
    "L-BFGS": {"method": "lbfgs"},
    "coordinate": {"method": "coordinate"},
    "Nelder–Mead": {"method": "nelder-mead"},
    "exhaustive (Sobol)": {"method": "exhaustive", "points": MOST},
    "genetic": {"method": "genetic"},
    "boundary": {"method": "boundary"},
}
_MLP2, _MLP8, _XOR, _ARM = "MLP 2-16-16-2", "MLP 8-32-32-4", "exclusive or", "robot arm"
FUNCTIONS = (_MLP2, _MLP8, _XOR, _ARM)
_INPUTS = {_MLP2: 2, _MLP8: 8, _XOR: 2, _ARM: 4}
_BOX = {_MLP2: (-1.0, 1.0), _MLP8: (-1.0, 1.0), _XOR: (0.0, 1.0), _ARM: (-1.5, 1.5)}
_WITHOUT = {"WLK, backtracking": (_ARM,), "boundary": (_MLP2, _MLP8, _ARM)}  # no network; several outputs
_MISSING = "–"


def function(name: str, seed: int) -> Callable[[Tensor], Tensor]:
    """Return a function in double precision by its name; the seed draws the weights of an MLP."""
    if name == _ARM:
        return hand
    if name == _XOR:
        network = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid()).double()
        weights = ([[10.0, 10.0], [10.0, 10.0]], [-5.0, -15.0], [[10.0, -10.0]], [-5.0])
        with torch.no_grad():
            for parameter, values in zip(network.parameters(), weights, strict=True):
                parameter.copy_(torch.tensor(values))
        return network
    sizes = [int(size) for size in name.split()[1].split("-")]
    with seeded(seed, "network"):
        layers: list[nn.Module] = []
        for size, following in pairwise(sizes):
            linear = nn.Linear(size, following).double()
            nn.init.normal_(linear.weight, std=2 / size**0.5)
            layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _tasks(settings: Settings) -> list[Task]:
    count = TARGETS[settings.budget]
    tasks = []
    for name in FUNCTIONS:
        for method, options in METHODS.items():
            if name not in _WITHOUT.get(method, ()):
                facts = {"targets": count, "restarts": RESTARTS, "tolerance": TOLERANCE, "most": MOST, **options}
                tasks.append(Task(name, {method: facts}, partial(_measure, name, method, count)))
    return tasks


def _measure(name: str, method: str, count: int) -> Mapping[str, Values]:
    low, high = _BOX[name]
    options: dict[str, Any] = METHODS[method]
    restarts = None if options["method"] in ("exhaustive", "boundary") else RESTARTS
    sums = {"solved": 0, "evaluations": 0, "gradients": 0}
    for seed in range(count):
        network = function(name, seed)
        with seeded(seed, "target"), torch.no_grad():
            x = low + (high - low) * torch.rand(1, _INPUTS[name], dtype=torch.float64)
            target = network(x)[0]
        found = invert(
            network,
            target,
            inputs=_INPUTS[name],
            box=(low, high),
            restarts=restarts,
            tolerance=TOLERANCE,
            enough=1,
            max_evaluations=MOST,
            seed=seed,
            **options,
        )
        sums["solved"] += found.converged
        sums["evaluations"] += found.evaluations
        sums["gradients"] += found.gradients
    return {method: {**sums, "targets": count}}


def per_solved(values: Values | None) -> float | None:
    """Return the evaluations for each target that was solved, those of the others included; None if there is none."""
    return values["evaluations"] / values["solved"] if values and values["solved"] else None


def _values(result: Result, method: str, name: str) -> Values | None:
    return next((row.values for row in result.parts(method) if row.part == name), None)


def _cell(values: Values | None) -> str:
    if values is None:
        return _MISSING
    each = per_solved(values)
    if each is None:
        return "none solved"
    share = "" if values["solved"] == values["targets"] else f" ({values['solved']}/{values['targets']})"
    return f"{each:,.0f}{share}"


def _parts(result: Result) -> list[str]:
    rows = [[name, *(_cell(_values(result, name, each)) for each in FUNCTIONS)] for name in result.names]
    count = result.rows[0].values["targets"]
    targets = "1 target" if count == 1 else f"{count} targets"
    best = []
    for each in FUNCTIONS:
        needed = {name: per_solved(_values(result, name, each)) for name in result.names}
        solved = {
            name: value
            for name, value in needed.items()
            if value is not None and (_values(result, name, each) or {})["solved"] == count
        }
        if solved:
            fewest = min(solved, key=lambda name: solved[name])
            best.append(f"{each}: {fewest}, {solved[fewest]:,.0f}")
    return [
        f"Evaluations of f for each solved target, of {targets} a function. In brackets how many were solved, if not "
        "all; evaluations for the others are counted too.",
        table(["method", *FUNCTIONS], rows),
        f"The fewest among methods that solved every target: {'; '.join(best)}.",
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    grid = figure.subplots(1, len(FUNCTIONS), sharey=True, squeeze=False)[0]
    names = result.names[::-1]
    for axes, each in zip(grid, FUNCTIONS, strict=True):
        for place, name in enumerate(names):
            values = _values(result, name, each)
            needed = per_solved(values)
            if values is not None and needed is not None:
                every = values["solved"] == values["targets"]
                axes.plot(needed, place, "o", color="tab:blue", fillstyle="full" if every else "none")
        axes.set(title=each, xscale="log")
        axes.grid(alpha=0.3)
    grid[0].set_yticks(range(len(names)), names)
    figure.supxlabel("evaluations for each solved target; open circles: not all targets solved", fontsize="medium")
    return figure


EXPERIMENTS = (
    Experiment(
        name="inversion",
        title="Inputs that give a target",
        about=f"""
Every method of `inverseflow.inference.invert` searches inputs x with f(x) = t within {TOLERANCE:g}, and stops at the
first. f is a tanh network with random weights, a network of three sigmoid units that computes the exclusive or, or the
robot arm of `problems.inverse_kinematics`. t is f at a uniform point of the box, so that there is a solution. There are
{RESTARTS} searches side by side ({RESTARTS} populations of genetic), and at most {MOST:,} evaluations of f. A gradient
costs about one more evaluation, which is not counted. Boundary marking, which spreads points along a level set, is only
there for one output, and WLK for networks.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
