"""Tables, ranking and plot of the methods of inference."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from matplotlib.figure import Figure

from benchmarks.markdown import table
from experiments.inverse_benchmark.measuring import ACCEPTED, EXACT, NEAREST, PRIOR
from experiments.result import Result, Values

_SOLVERS = (EXACT, NEAREST, PRIOR)
_COUPLINGS = ("cinn", "inn", "inn-ml")
_AUTOENCODERS = ("autoencoder", "invauto")
_CLEAR = 2.0  # standard errors
_HEAD = ["method", "Err_post", "Err_resim", "−log p", "SBC p", "coverage, %", "C2ST", "weights", "training, s"]
_HEAD += ["1000, ms"]
_PUBLICATION = (
    "**Beside the publication.** [Kruse et al. 2021](https://arxiv.org/abs/2101.10763) compare ten architectures on "
    'these two problems, "obtaining the best results with coupling layers and simple autoencoders". Their errors are '
    "not printed here: a discrepancy depends on its kernel, its units and the reference samples, so that only the "
    "order can be compared. Couplings are taken to be cinn, inn and inn-ml here, simple autoencoders autoencoder and "
    "invauto."
)


def part_of(problem: str, seed: int) -> str:
    """Return the name of a measurement."""
    return f"{problem}, seed {seed}"


def parts(result: Result) -> list[str]:
    """Return the result as Markdown: a table, a ranking and a verdict for each problem."""
    problems = list(dict.fromkeys(row.part.partition(",")[0] for row in result.rows))
    some = result.rows[0].settings
    seeds = "1 seed" if result.seeds == 1 else f"means of {result.seeds} seeds"
    printed = [
        f"{some['simulations']:,} simulations, {some['steps']:,} steps, about {some['weights']:,} weights, {seeds}; "
        f"{some['observations']} observations with {some['samples']:,} samples each for Err_post, {some['judged']:,} "
        "pairs for the rest."
    ]
    for problem in problems:
        values = {name: _means(result, name, problem) for name in _names(result, problem)}
        order = sorted(values, key=lambda name: (name in _SOLVERS, values[name]["mismatch"]))
        lines = [_line(name, values[name], values[PRIOR]) for name in order]
        printed += [f"### {problem.capitalize()}", table(_HEAD, lines), _verdict(values)]
    tolerance = ", ".join(f"{problem} {_means(result, NEAREST, problem)['tolerance']:.2g}" for problem in problems)
    printed.append(
        "Err_post is the squared discrepancy ± standard error over observations; the row of the exact sampler is its "
        "floor. Err_resim is the mean ‖s(x̂) − y‖², 0 for an exact posterior. −log p is in nats per pair, where there "
        "is a density, and does not rank these problems. SBC p is the smallest p-value of uniform ranks times the "
        "number of tests: of each parameter, the density if there is one, and the distance to a linear prediction. "
        "Coverage is of regions of 50, 68 and 95 %: of highest density (\\*) where there is a density, else of "
        "intervals of each parameter. C2ST is the accuracy of a classifier of pairs (x, y) and (x̂, y). *Not learned* "
        f"is a method with the Err_post of the prior. ABC accepts {ACCEPTED:.1%} of {some['nearest']:,} simulations; "
        f"the farthest one of them is away from y by, in deviations: {tolerance}."
    )
    return [*printed, _PUBLICATION]


def _names(result: Result, problem: str) -> list[str]:
    return [name for name in result.names if result.parts(name, problem)]


def _means(result: Result, name: str, problem: str) -> Values:
    """Return the means of the numbers over seeds."""
    rows = [row.values for row in result.parts(name, problem)]
    merged = dict(rows[0])
    for key in rows[0]:
        found = [row[key] for row in rows if key in row]
        if isinstance(found[0], list):
            merged[key] = [statistics.fmean(column) for column in zip(*found, strict=True)]
        elif isinstance(found[0], (int, float)):
            merged[key] = statistics.fmean(found)
    return merged


def _line(name: str, values: Values, prior: Values) -> list[str]:
    learned = name in _SOLVERS or not _is_prior(values, prior)
    cells = [
        name if learned else f"{name} (*not learned*)",
        f"{values['mismatch']:.4f} ± {values['mismatch_error']:.4f}",
        _number(values.get("resimulation")),
        f"{values['nats']:.2f} ± {values['nats_error']:.2f}" if "nats" in values else "–",
        _number(values.get("sbc_p")),
        _coverage(values),
        "–" if values.get("c2st") is None else f"{values['c2st']:.2f}",
        f"{values['weights']:,.0f}" if "weights" in values else "–",
        f"{values['training_seconds']:.0f}" if "weights" in values else "–",
        f"{values['sample_ms_per_1000']:.1f}",
    ]
    return cells


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _coverage(values: Values) -> str:
    if "coverage" not in values:
        return "–"
    mark = "\\*" if values["region"] == "highest density" else ""
    return " / ".join(f"{100 * rate:.0f}" for rate in values["coverage"]) + mark


def _is_prior(values: Values, prior: Values) -> bool:
    error = math.hypot(values["mismatch_error"], prior["mismatch_error"])
    return bool(values["mismatch"] > prior["mismatch"] - _CLEAR * error)


def _verdict(values: dict[str, Values]) -> str:
    """Return the order of the methods in words, and whether it is the publication's."""
    methods = sorted((name for name in values if name not in _SOLVERS), key=lambda name: values[name]["mismatch"])
    order = methods[0]
    for before, name in pairwise(methods):
        first, second = values[before], values[name]
        error = math.hypot(first["mismatch_error"], second["mismatch_error"])
        close = second["mismatch"] - first["mismatch"] < _CLEAR * error
        order += f" {'≈' if close else '<'} {name}"
    best = [name for name in methods if name in (*_COUPLINGS, *_AUTOENCODERS)]
    places = ", ".join(f"{name} {methods.index(name) + 1}." for name in best)
    others = [name for name in methods[: len(best)] if name not in best]
    holds = f"The publication's order {'does not hold' if others else 'holds'} here: its best families come in {places}"
    failed = [name for name in methods if _is_prior(values[name], values[PRIOR])]
    unlearned = f" Not learned: {', '.join(failed)}." if failed else ""
    return f"By Err_post (≈ within {_CLEAR:g} standard errors): {order}. {holds}{unlearned}"


def draw(result: Result) -> Figure:
    """Plot Err_post and Err_resim of every method for each problem."""
    problems = list(dict.fromkeys(row.part.partition(",")[0] for row in result.rows))
    figure = Figure(figsize=(12, 4.6 * len(problems)), layout="constrained")
    for panels, problem in zip(figure.subplots(len(problems), 2, squeeze=False), problems, strict=True):
        values = {name: _means(result, name, problem) for name in _names(result, problem)}
        names = sorted((name for name in values if name not in _SOLVERS), key=lambda name: -values[name]["mismatch"])
        left, right = panels
        for place, name in enumerate(names):
            for axes, key, error in ((left, "mismatch", "mismatch_error"), (right, "resimulation", None)):
                if (value := values[name].get(key)) is not None:
                    bar = values[name][error] if error is not None else None
                    axes.errorbar(max(value, 1e-6), place, xerr=bar, fmt="o", color="tab:blue", capsize=3)
        for axes, key in ((left, "mismatch"), (right, "resimulation")):
            axes.set_xscale("log")
            axes.set_yticks(range(len(names)), names)
            axes.grid(alpha=0.3)
            for name, color in ((PRIOR, "tab:red"), (NEAREST, "tab:green")):
                if values[name].get(key, 0) > 0:
                    axes.axvline(values[name][key], color=color, linewidth=1, linestyle="--", label=name)
        floor = max(values[EXACT]["floor_error"], 1e-6)
        left.axvspan(1e-6, floor, color="gray", alpha=0.3, label="exact samples, 1 standard error")
        left.set(xlabel="Err_post (squared MMD to exact samples)", title=problem)
        left.set_xlim(left=floor / 3)
        right.set(xlabel="Err_resim", title=problem)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
