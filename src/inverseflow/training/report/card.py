"""Model cards: what a saved model is, written from the report of its run."""

from inverseflow.training.report.measured import Report
from inverseflow.training.report.pages import counted_examples, figures


def model_card(report: Report, *, is_flow: bool) -> str:
    """Return the README.md of the folder of a trained model, as the Hugging Face hub shows it."""
    kind, call = ("Flow", "Flow.from_pretrained") if is_flow else ("Density", "densities.load")
    use = (
        'from inverseflow.flows import Flow\n\nflow = Flow.from_pretrained("FOLDER")\nflow.sample(16)'
        if is_flow
        else "from inverseflow import densities\n\n"
        'density = densities.load("FOLDER", densities.Density)\ndensity.sample(16)'
    )
    rows = [f"| {name} | {value} | {meaning} |" for name, (value, meaning) in figures(report).items()]
    options = [f"{name}={value}" for name, value in report.model.items() if value is not None and name != "name"]
    made = ", ".join(f"{name} {value}" for name, value in report.versions.items())
    return "\n".join(
        [
            "---",
            "library_name: inverseflow",
            "tags: [normalizing-flow, density-estimation]" if is_flow else "tags: [density-estimation]",
            "---",
            f"# {report.title}: {report.model['name']}",
            "",
            f"{kind} of {report.title}, trained by `inverseflow train` and measured on {counted_examples(report)}. "
            f"`{call}` loads it:",
            "",
            "```python",
            use,
            "```",
            "",
            "| figure | value | what it means |",
            "|---|---|---|",
            *rows,
            "",
            *(f"* {problem}" for problem in report.problems),
            f"Options: {', '.join(options)}. Seed {report.seed}. Made with {made}.",
            "",
        ]
    )
