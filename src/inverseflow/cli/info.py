"""inverseflow info."""

from inverseflow.cli.arguments import RunFolder
from inverseflow.cli.checks import check_run
from inverseflow.errors import RunError
from inverseflow.training.run import Run


def info(run: RunFolder, /) -> None:
    """Show the settings and the state of a run, and the layers of its model with shapes and parameter counts.

    Args:
        run: the run folder.
    """
    check_run(run)
    from inverseflow import training
    from inverseflow.flows import Flow
    from inverseflow.flows.summary import architecture

    density = training.load_density(run)
    parameters = sum(parameter.numel() for parameter in density.parameters())
    for name, text in {**_facts(run), "parameters": f"{parameters:,}"}.items():
        print(f"{name:<11}{text}")
    print()
    print(architecture(density) if isinstance(density, Flow) else density)


def _facts(run: Run) -> dict[str, str]:
    import json

    from inverseflow.cli.loading import unfinished
    from inverseflow.data.condition import few
    from inverseflow.training.words import IN_WORDS

    options, data = run.options(), run.description()
    facts = {
        "run": str(run.path),
        "data": options.data,
        "training": f"{options.max_steps} steps of {options.batch_size} examples, learning rate "
        f"{options.optimizer.learning_rate:g} ({options.optimizer.schedule}), seed {options.seed}",
    }
    if run.report.is_file():
        try:
            report = json.loads(run.report.read_text("utf-8"))
            name = next(name for name in report if name.startswith(("test_", "validation_")))
            split, _, metric = name.partition("_")
            value, error = report[name], report[f"{name}_stderr"]
            deviation = "" if error is None else f" ± {error:.3f}"
            unit = report.get("evaluation", {}).get("unit", metric.replace("bits_per_dim", "bits/dim"))
            noun = {"bits/dim": "images", "bits/sample": "segments"}.get(unit, "examples")
            is_what = f" ({IN_WORDS[report['likelihood']]})" if "likelihood" in report else ""
            facts |= {"data": report["title"], unit: f"{value:.3f}{deviation}{is_what} on {split} {noun}"}
        except (ValueError, TypeError, KeyError, StopIteration) as damage:
            raise RunError(f"{run.report} is damaged; `train --resume` writes it anew") from damage
    if data is not None and data.condition is not None:
        kind = data.condition.to_mapping()
        given = kind["classes"] if kind["kind"] == "label" else kind["columns"]
        facts["condition"] = f"{'label, one of' if kind['kind'] == 'label' else 'columns'} {few(given)}"
    state = unfinished(run)
    if state is not None:
        facts["state"] = f"{state}; --resume continues it"
    return facts
