"""Table and plot of the comparison with reference posteriors."""

from __future__ import annotations

import statistics

from matplotlib.figure import Figure

from benchmarks.markdown import table
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Row
from experiments.sbibm.published import COMPARED, TASKS

_FOOTNOTE = (
    f"Published: neural posterior estimation with {COMPARED:,} simulations in Lueckmann et al., 2021, "
    "[arXiv 2101.04653](https://arxiv.org/abs/2101.04653), mean of ten observations; Gaussian mixture from the "
    "authors' later repetition, as the first values were wrong. They were trained by other code on another machine. "
    "Goals are ours."
)


def accuracy(rows: list[Row]) -> list[float]:
    """Return the mean C2ST over the observations for each seed."""
    return [statistics.mean(row.values["c2st"]) for row in rows]


def groups(result: Result) -> dict[tuple[str, int, str], list[Row]]:
    """Return the rows of each task, number of simulations and method, one for each seed."""
    found: dict[tuple[str, int, str], list[Row]] = {}
    for row in result.rows:
        settings = row.settings
        found.setdefault((settings["task"], settings["simulations"], settings["method"]), []).append(row)
    return found


def parts(result: Result) -> list[str]:
    """Return the result as Markdown: the table, its footnote and which goals are reached."""
    head = ["task", "simulations", "method", "C2ST", "worst observation", "published", "goal", "training, s"]
    head += ["steps", "parameters"]
    lines = []
    for (task, simulations, method), rows in groups(result).items():
        published, compared = TASKS[task], simulations == COMPARED
        lines.append(
            [
                published.title,
                f"{simulations:,}",
                method,
                mean_and_deviation(accuracy(rows), 3),
                f"{max(max(row.values['c2st']) for row in rows):.3f}",
                f"{published.npe:.3f}" if compared and published.npe else "–",
                f"{published.goal:.2f}" if compared and published.goal else "–",
                mean_and_deviation([row.values["seconds"] for row in rows], 0),
                "–" if rows[0].values["steps"] is None else f"{max(row.values['steps'] for row in rows):,}",
                f"{rows[0].values['parameters']:,}",
            ]
        )
    settings = result.rows[0].settings
    count, seeds = settings["observations"], "one seed" if result.seeds == 1 else f"mean of {result.seeds} seeds"
    which = "the first observation" if count == 1 else f"the first {count} observations" if count < 10 else "all ten"
    return [
        f"C2ST over {which}, {settings['samples']:,} samples each, {seeds}:",
        table(head, lines),
        _FOOTNOTE,
        *_verdict(result),
    ]


def _verdict(result: Result) -> list[str]:
    sentences = []
    for (task, simulations, method), rows in groups(result).items():
        goal, value = TASKS[task].goal, statistics.mean(accuracy(rows))
        if goal is not None and simulations == COMPARED:
            reached = "reaches" if value <= goal else "does NOT reach"
            sentences.append(f"{TASKS[task].title}: {method} {reached} the goal of {goal:.2f} with {value:.3f}.")
    return [" ".join(sentences)] if sentences else []


def draw(result: Result) -> Figure:
    """Plot the C2ST of each method by task, for the largest number of simulations."""
    found = groups(result)
    most = max(simulations for _, simulations, _ in found)
    tasks = list(dict.fromkeys(task for task, simulations, _ in found if simulations == most))
    figure = Figure(figsize=(9, 1.5 + 0.6 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(method for _, _, method in found))
    for index, method in enumerate(methods):
        at = {place: found.get((task, most, method), []) for place, task in enumerate(tasks)}
        shown = [(place, rows) for place, rows in at.items() if rows]
        offset = 0.15 * (index - (len(methods) - 1) / 2)
        for place, rows in shown:
            values = [value for row in rows for value in row.values["c2st"]]
            axes.plot(values, [place + offset] * len(values), "|", color=f"C{index}")
        means = [statistics.mean(accuracy(rows)) for _, rows in shown]
        axes.plot(means, [place + offset for place, _ in shown], "o", color=f"C{index}", label=method)
    published = [(TASKS[task].npe, place) for place, task in enumerate(tasks) if TASKS[task].npe is not None]
    if most == COMPARED and published:
        axes.plot(*zip(*published, strict=True), "x", color="black", label="published")
    axes.set_yticks(range(len(tasks)), [TASKS[task].title for task in tasks])
    axes.invert_yaxis()
    axes.set(xlabel=f"C2ST with {most:,} simulations (bars: observations)", xlim=(0.48, 1.01))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
