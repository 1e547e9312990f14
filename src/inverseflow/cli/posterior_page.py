"""The page about a posterior that `inverseflow infer` writes."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from inverseflow.cli.posterior_run import PosteriorRun
from inverseflow.training.report.page import Page, Picture, Row
from inverseflow.training.report.pictures import curve
from inverseflow.training.run.folder import read_metrics


def posterior_page(run: PosteriorRun, report: Mapping[str, Any], shown: Path) -> Page:
    """Return the page of a posterior.

    Args:
        run: the folder that holds its files now.
        report: the content of report.json.
        shown: the folder that will hold them.
    """
    kind = "simulations" if report["simulated"] else "pairs"
    rows = [
        Row(
            f"contraction of {name}",
            [f"{100 * share:.0f} %"],
            "the share of the prior's variance that an observation takes away: at 0 % nothing was learned of it",
        )
        for name, share in zip(report["diagnosis"]["parameters"], report["diagnosis"]["contraction"], strict=False)
    ]
    rows += [
        Row(kind, [f"{report['pairs']:,}"], "what the posterior was trained on"),
        Row("weights", [f"{report['weights']:,}"], "trained numbers"),
        Row("steps", [f"{report['steps']}"], f"the weights are those of step {report['best_step']}"),
        Row("1000 samples", [f"{report['sample_ms_per_1000']:.0f} ms"], "for one observation, on this machine"),
    ]
    pictures = [
        Picture.of_file(
            run.corner,
            "One observation",
            "Draws of the posterior for an observation of known parameters, which should lie among them.",
        )
    ]
    if run.calibration.is_file():
        caption = (
            "Ranks of the truth among draws, over many observations: flat within the band if the posterior is right. "
            "A hump says that it is too wide, a valley that it is too narrow, a slope that it is shifted."
        )
        pictures.insert(0, Picture.of_file(run.calibration, "Calibration", caption))
    metrics = read_metrics(run.metrics)
    columns = dict.fromkeys(name for row in metrics for name in row if name.startswith(("train_", "val_")))
    if curves := {name: points for name in columns if (points := curve(metrics, name))}:
        caption = "What the training minimizes; the weights of the best validation are kept."
        pictures.append(Picture.of_curves(curves, "objective", caption))
    return Page(
        title=f"{report['title']}: posterior by {report['method']}",
        subtitle=str(shown),
        headline="Trusted" if report["trusted"] else "Not trusted",
        meaning=report["verdict"],
        rows=rows,
        pictures=pictures,
        commands=[f"inverseflow posterior {quote(str(shown))} --help"],
        details={
            "Settings": run.config.read_text("utf-8"),
            "Versions": "\n".join(f"{name} {value}" for name, value in report["versions"].items()),
        },
    )
