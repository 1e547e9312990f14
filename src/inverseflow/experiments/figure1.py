"""Figure 1 of the Inverse-Flow paper: images through the latent and back, as the errors that are left."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure

from inverseflow.benchmarks.tables import table
from inverseflow.experiments.experiment import Experiment, Settings, Task
from inverseflow.experiments.paper import TABLE_2, TABLE_5
from inverseflow.experiments.result import Result, Values
from inverseflow.experiments.speed import reconstruction_errors
from inverseflow.experiments.tables import Line, TrainedTable, fixed, images, train_line
from inverseflow.flows import Flow
from inverseflow.training.files import written_aside
from inverseflow.training.run import Run

_SHOWN = 64
_LINES = (Line("Inverse-Flow", {"name": "inverse-flow"}), Line("Glow (no k×k layer)", {"name": "glow"}))


def _definitions(settings: Settings) -> Mapping[str, TrainedTable]:
    """The trained flows: those of tables 2 and 5, whose run folders are used again where they are there."""
    return {"MNIST": TABLE_2} if settings.budget == "smoke" else {"MNIST": TABLE_2, "CIFAR-10": TABLE_5}


def _tasks(settings: Settings) -> list[Task]:
    tasks = []
    for data, definition in _definitions(settings).items():
        for line in _LINES:
            options = definition.options(line, 0, settings)
            test_images = definition.test_images(settings.budget)
            name = f"{line.name}, {data}"
            measured = {**fixed(options), "test_images": test_images, "shown": _SHOWN}
            tasks.append(Task("reconstruction", {name: measured}, partial(_measure, name, definition, line, settings)))
    return tasks


def _measure(name: str, definition: TrainedTable, line: Line, settings: Settings) -> dict[str, Values]:
    options, test_images = definition.options(line, 0, settings), definition.test_images(settings.budget)
    trained = train_line(options, test_images)
    assert options.out is not None
    run = Run(options.out)
    data = images(options.data, options.data_dir, test_images)
    some = data.test.__getitems__(range(min(_SHOWN, len(data.test)))).to(settings.device)
    flow = Flow.from_pretrained(run.model).to(settings.device).eval()
    picture = settings.out / f"figure1-{definition.data}-{line.model['name']}.png"
    with written_aside(picture) as aside:
        shutil.copyfile(run.reconstructions, aside)
    with torch.no_grad():
        wrong = (flow.decode(flow.encode(some)) != some).sum()
    return {
        name: {
            "title": trained["title"],
            "bits_per_dim": trained["bits_per_dim"],
            "errors": reconstruction_errors(flow, some).tolist(),
            "wrong_pixels": int(wrong),
            "pixels": some.numel(),
        }
    }


def _parts(result: Result) -> list[str]:
    lines = [
        [
            row.name.partition(", ")[0],
            row.values["title"],
            f"{row.values['bits_per_dim']:.3f}",
            f"{max(row.values['errors']):.0e}",
            f"{sum(row.values['errors']) / len(row.values['errors']):.0e}",
            f"{row.values['wrong_pixels']} of {row.values['pixels']:,}",
        ]
        for row in result.rows
    ]
    wrong = sum(row.values["wrong_pixels"] for row in result.rows)
    verdict = "every pixel comes back" if wrong == 0 else f"{wrong} pixels do NOT come back"
    return [
        table(["flow", "images", "bits/dim", "largest error", "mean of an image's largest", "wrong pixels"], lines),
        f"After rounding to grey levels {verdict}.",
    ]


def _draw(path: Path, result: Result) -> None:
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(result.rows)), layout="constrained")
    axes = figure.subplots()
    for index, row in enumerate(result.rows[::-1]):
        axes.plot(row.values["errors"], [index] * len(row.values["errors"]), "|", color="tab:blue")
    axes.axvline(0.5, color="grey", linewidth=1)
    axes.set_yticks(range(len(result.rows)), [row.name for row in result.rows[::-1]])
    axes.set(xscale="log", xlabel="largest error of each image, in grey levels (line: rounds to a wrong one)")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


EXPERIMENT = Experiment(
    name="figure1",
    title="Figure 1: reconstructions",
    about=f"""The first {_SHOWN} test images through the latent of the trained flows of tables 2 and 5 and back, in
float32. Errors are in grey levels before rounding. The pictures themselves, original, reconstruction and difference,
are written beside the result.""",
    tasks=_tasks,
    parts=_parts,
    draw=_draw,
)
