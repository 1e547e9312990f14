"""Pages about training runs: one run, or several next to each other."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from shlex import quote

from inverseflow.data import LabelCondition
from inverseflow.densities import NATS
from inverseflow.errors import OptionError
from inverseflow.training.report.measured import Report
from inverseflow.training.report.page import Page, Picture, Row, write_page
from inverseflow.training.report.pictures import curve
from inverseflow.training.run import Run
from inverseflow.training.run.folder import read_metrics
from inverseflow.training.words import IN_WORDS, counted

_NONE = "–"  # the value of a figure that a run has not
_BASELINES = {
    "pixel_histogram": "one histogram of levels for each pixel",
    "gaussian": "a Gaussian with a full covariance",
}


def write_run_page(run: Run, report: Report) -> None:
    """Write report.html of a run from its report, its metrics and its pictures."""
    write_page(run.page, run_page(run, report))


def run_page(run: Run, report: Report) -> Page:
    """Return the page of a run."""
    examples = counted_examples(report)
    rows = [Row(name, [value], meaning) for name, (value, meaning) in list(figures(report).items())[1:]]
    folder = quote(str(run.path))
    return Page(
        title=f"{report.title}: {report.model['name']}",
        subtitle=f"{run.path} · {_weights(report)} · seed {report.seed}",
        headline=_value(report),
        meaning=f"{_in_words(report)}, over {examples}. {_judged(report)}",
        problems=report.problems,
        rows=rows,
        pictures=_pictures(run, report),
        commands=[
            f"inverseflow sample {folder}",
            f"inverseflow evaluate {folder}",
            f"inverseflow compare {folder} OTHER_RUN -o compare.html",
            *([f"inverseflow show {folder}"] if run.reconstructions.is_file() else []),
        ],
        details={
            "Settings": run.config.read_text("utf-8"),
            "Versions": "\n".join(f"{name} {value}" for name, value in {**report.versions, **_device(report)}.items()),
        },
    )


def comparison(runs: Sequence[Run]) -> Page:
    """Return a page with the figures and the curves of several runs.

    Likelihoods are compared if they were measured on the same examples in the same unit; else the page says what else
    can be compared.

    Raises:
        OptionError: if there are less than two runs, or one is named twice.
        RunError: if a run is not finished, or its report is damaged or of another version.
    """
    paths = [run.path.resolve() for run in runs]
    if len(runs) < 2:
        raise OptionError(f"comparing takes two runs or more, got {len(runs)}")
    if twice := [run.path for run, path in zip(runs, paths, strict=True) if paths.count(path) > 1]:
        raise OptionError(f"{twice[0]} is named twice; name each run once")
    names, reports = _names(paths), [Report.read(run) for run in runs]
    same = len({_examples(report) for report in reports}) == 1
    found = [figures(report) for report in reports]
    rows = []
    for name in dict.fromkeys(chain.from_iterable(found)):
        if same or name in _COMPARABLE:
            meaning = next(own[name][1] for own in found if name in own)
            rows.append(Row(name, [own[name][0] if name in own else _NONE for own in found], meaning))
    rows += [
        Row("model", [report.model["name"] for report in reports], "the name that --model takes"),
        Row("seed", [str(report.seed) for report in reports], "of the weights and the order of the examples"),
    ]
    titles = list(dict.fromkeys(report.title for report in reports))
    return Page(
        title=f"{len(runs)} runs on {titles[0]}" if same else f"{len(runs)} runs on different data",
        subtitle=", ".join(str(run.path) for run in runs),
        problems=_differences(names, reports),
        columns=names,
        rows=rows,
        pictures=_shared_curves(names, runs, reports) if same else [],
        details={f"Settings of {name}": run.config.read_text("utf-8") for name, run in zip(names, runs, strict=True)},
    )


def write_comparison(path: Path, page: Page) -> None:
    """Write the page of `comparison` as one HTML file."""
    write_page(path, page)


def comparison_text(page: Page) -> str:
    """Return the table of a comparison for a terminal, with what its reader has to know."""
    table = [["", *page.columns], *([row.name, *row.values] for row in page.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, *page.problems])


def figures(report: Report) -> dict[str, tuple[str, str]]:
    """Return the figures of a run, and what each means, by name."""
    measured = report.evaluation
    found = {measured.unit: (f"{_value(report)}, {IN_WORDS[measured.likelihood]}", _judged(report))}
    for name, value in report.baselines.items():
        words = name.replace("_", " ")
        verdict = "below" if report.value < value else "NOT below"
        model = _BASELINES.get(name, "a model without training")
        found[f"baseline: {words}"] = (f"{value:.3f} {measured.unit}", f"{model}; the run is {verdict} it")
    if measured.nats_per_image is not None:
        found["nats an image"] = (f"{measured.nats_per_image:.2f}", "the same figure in the unit that is usual here")
    if measured.bits_per_cell is not None:
        found["bits per cell"] = (f"{measured.bits_per_cell:.3f}", "the same figure for each cell of the table")
    if measured.importance_value is not None:
        found["importance-weighted"] = (
            f"{measured.importance_value:.3f} {measured.unit}",
            f"a tighter bound, of {measured.importance_samples} draws an example",
        )
    if measured.changed_examples is not None:
        whole = f"{measured.changed_examples} of {measured.round_trip_examples} changed"
        found["through the latent and back"] = (
            "exact" if not measured.changed_examples else whole,
            "decode(encode(x)) has to return x; rounding is all that can change it",
        )
    found["parameters"] = (f"{report.parameters:,}", "trained numbers")
    early = ", stopped early" if report.stopped_early else ""
    found["steps"] = (f"{report.steps}{early}", f"the exported weights are those of step {report.best_step}")
    found["training"] = (f"{report.train_seconds:.0f} s", "validation included, on the machine of the run")
    if report.ms_per_step is not None:
        found["time of a step"] = (f"{report.ms_per_step:.1f} ms", "forward, backward and update, on that machine")
    found["sampling"] = (measured.sampling, "on that machine")
    return found


_COMPARABLE = {"parameters", "steps", "training", "time of a step", "sampling", "through the latent and back"}


def _value(report: Report) -> str:
    error = "" if report.stderr is None else f" ± {report.stderr:.3f}"
    return f"{report.value:.3f}{error} {report.evaluation.unit}"


def _in_words(report: Report) -> str:
    measured = report.evaluation
    kind = {"exact": "The exact mean", "bound": "An upper bound on the mean", "estimate": "An estimate of the mean"}
    what = "negative log-likelihood" if measured.metric == NATS.name else "code length of an element"
    return f"{kind[measured.likelihood]} {what}"


def _judged(report: Report) -> str:
    if report.evaluation.metric == NATS.name:
        return "Less is better. It depends on the units of the columns: only figures of the same data compare."
    return "Less is better. The number behind ± is the standard error over the examples."


def _weights(report: Report) -> str:
    return f"{report.parameters:,} parameters, {counted(report.steps, 'step')}"


def _device(report: Report) -> dict[str, str]:
    return {"measured on": report.device}


def _noun(report: Report) -> str:
    return {"bits/dim": "image", "bits/sample": "segment"}.get(report.evaluation.unit, "example")


def _pictures(run: Run, report: Report) -> list[Picture]:
    """Return the pictures of a run that there are."""
    description = run.description() if run.data.is_file() else None
    metric, rows, found = report.evaluation.metric, read_metrics(run.metrics), []
    curves = {
        name: curve(rows, f"{part}_{metric}") for name, part in (("training batch", "train"), ("validation", "val"))
    }
    if curves := {name: points for name, points in curves.items() if points}:
        caption = (
            "The figure over the training. A validation that rises while the training falls is overfitting: the "
            "weights of the best validation are kept."
        )
        found.append(Picture.of_curves(curves, report.evaluation.unit, caption))
    classes = description is not None and isinstance(description.condition, LabelCondition)
    samples = {
        "image": f"Drawn from the model at temperature 1{', one class in each row' if classes else ''}.",
        "segment": "Spectrograms of recordings, and of what the model draws.",
        "example": "Points of the data, and points that the model draws: the two should not be told apart.",
    }[_noun(report)]
    through = (
        "Test images, what comes back from their latents, and the difference. A flow is a bijection, "
        "so this says whether its inverse is exact, not how good the model is."
    )
    flat = (
        "If the model is right, each histogram is flat within the gray band: a hump says that the model is too "
        "wide, a valley that it is too narrow, a slope that it is shifted."
    )
    for path, title, caption in (
        (run.samples, "Samples", samples),
        (run.reconstructions, "Reconstructions", through),
        (run.pit, "Latents", flat),
    ):
        if path.is_file():
            found.append(Picture.of_file(path, title, caption))
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart."""
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len({*names}) == len(names):
            return names
    return [str(path) for path in paths]


def _examples(report: Report) -> tuple[object, ...]:
    """Return what is equal of runs that were measured on the same examples: equal baselines need equal data."""
    measured = report.evaluation
    baselines = tuple(sorted((name, round(value, 6)) for name, value in report.baselines.items()))
    return report.title, report.split, measured.examples, measured.unit, baselines


def _differences(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """Return sentences about what keeps figures of runs from being compared."""
    found = []
    if len({_examples(report) for report in reports}) > 1:
        data = [f"{name} on {counted_examples(report)}" for name, report in zip(names, reports, strict=True)]
        found.append(
            f"The runs were measured on different data ({'; '.join(data)}), so their likelihoods do not compare and "
            "are left out. What compares: size of the models, steps, times, and how exact the inverses are."
        )
    elif len({report.evaluation.likelihood for report in reports}) > 1:
        found.append("Exact figures stand beside bounds or estimates: a model is at least as good as its upper bound.")
    versions = [f"{name}: {_version(report.versions)}" for name, report in zip(names, reports, strict=True)]
    if len({_version(report.versions) for report in reports}) > 1:
        found.append(
            f"The runs were made by different versions ({'; '.join(versions)}), so their times do not compare."
        )
    if len({report.device for report in reports}) > 1:
        devices = ", ".join(f"{name}: {report.device}" for name, report in zip(names, reports, strict=True))
        found.append(f"The runs were measured on different devices ({devices}), so their times do not compare.")
    return found + [
        f"{name}: {problem}" for name, report in zip(names, reports, strict=True) for problem in report.problems
    ]


def counted_examples(report: Report) -> str:
    """Return what was measured, such as "360 test images of digits"."""
    number = report.evaluation.examples
    return f"{number:,} {report.split} {_noun(report)}{'s' * (number != 1)} of {report.title}"


def _version(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions.get(name, 'unknown')}" for name in ("inverseflow", "torch"))


def _shared_curves(names: Sequence[str], runs: Sequence[Run], reports: Sequence[Report]) -> list[Picture]:
    column = f"val_{reports[0].evaluation.metric}"
    curves = {name: curve(read_metrics(run.metrics), column) for name, run in zip(names, runs, strict=True)}
    curves = {name: points for name, points in curves.items() if points}
    if not curves or not all(math.isfinite(value) for points in curves.values() for _, value in points):
        return []
    return [Picture.of_curves(curves, reports[0].evaluation.unit, "Validation over the steps; steps differ in time.")]
