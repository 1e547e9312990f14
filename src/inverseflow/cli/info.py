"""inverseflow info."""

from collections.abc import Mapping

from inverseflow.cli.arguments import RunFolder
from inverseflow.cli.checks import check_run
from inverseflow.cli.posterior_run import PosteriorRun
from inverseflow.errors import RunError
from inverseflow.training.run import Run


def info(run: RunFolder, /) -> None:
    """Show the settings and the state of a run, and the layers of its model with shapes and parameter counts.

    Of a posterior of `inverseflow infer`, also the verdict on its calibration.

    Args:
        run: the run folder.
    """
    learned = PosteriorRun(run.path)
    if learned.exists or learned.is_unfinished:
        return _show_posterior(learned)
    if not (run.config.is_file() or run.path.is_file()):
        missing = "holds no run" if run.path.is_dir() else "does not exist"
        raise RunError(
            f"{run.path} {missing}; with --out {run.path}, `inverseflow train DATA` makes a run, and `inverseflow "
            "infer PROBLEM` one of a posterior"
        )
    check_run(run)
    from inverseflow import training
    from inverseflow.flows import Flow
    from inverseflow.flows.summary import architecture

    density = training.load_density(run)
    parameters = sum(parameter.numel() for parameter in density.parameters())
    _print({**_facts(run), "parameters": f"{parameters:,}"})
    print(architecture(density) if isinstance(density, Flow) else density)


def _print(facts: Mapping[str, str]) -> None:
    width = max(map(len, facts)) + 2
    for name, text in facts.items():
        print(f"{name:<{width}}{text}")
    print()


def _show_posterior(run: PosteriorRun) -> None:
    from inverseflow.inference import AmortizedPosterior

    settings, results = run.settings(), run.results()
    posterior = AmortizedPosterior.load(run.path)
    _print(
        {
            "run": str(run.path),
            "source": f"{settings.get('source')}, {results.get('pairs'):,} pairs",
            "method": f"{posterior.method}{'' if posterior.has_density else ', without a density'}",
            "parameters": ", ".join(posterior.parameters) or "unnamed",
            "observations": ", ".join(posterior.observations) or f"of shape {posterior.observation_shape}",
            "support": ", ".join(map(str, posterior.support.parts)) if posterior.support else "unknown",
            "training": f"{results.get('steps')} steps (best {results.get('best_step')}), seed {settings.get('seed')}",
            "trust": str(results.get("verdict")),
            **({"state": "unfinished; `inverseflow infer` with --resume continues it"} if run.is_unfinished else {}),
            "weights": f"{sum(weight.numel() for weight in posterior.model.parameters()):,}",
        }
    )
    print(posterior.model)


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
