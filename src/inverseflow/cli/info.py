"""inverseflow info."""

from inverseflow.cli.arguments import RunFolder
from inverseflow.cli.checks import check_run
from inverseflow.errors import RunError
from inverseflow.training.run import Run


def info(run: RunFolder, /) -> None:
    """Show the settings and the state of a run, and the layers of its flow with shapes and parameter counts.

    Args:
        run: the run folder.
    """
    check_run(run)
    from inverseflow import training
    from inverseflow.flows.summary import architecture

    flow = training.load_flow(run)
    for name, text in _facts(run).items():
        print(f"{name:<11}{text}")
    print()
    print(architecture(flow))


def _facts(run: Run) -> dict[str, str]:
    import json

    from inverseflow.cli.loading import unfinished

    options = run.options()
    facts = {
        "run": str(run.path),
        "data": options.data,
        "training": f"{options.max_steps} steps of {options.batch_size} images, learning rate "
        f"{options.optimizer.learning_rate:g} ({options.optimizer.schedule}), seed {options.seed}",
    }
    if run.report.is_file():
        try:
            report = json.loads(run.report.read_text("utf-8"))
            bits, error = report["test_bits_per_dim"], report["test_bits_per_dim_stderr"]
            deviation = "" if error is None else f" ± {error:.3f}"
            facts |= {"data": report["title"], "bits/dim": f"{bits:.3f}{deviation} on test images"}
        except (ValueError, TypeError, KeyError) as damage:
            raise RunError(f"{run.report} is damaged; `train --resume` writes it anew") from damage
    state = unfinished(run)
    if state is not None:
        facts["state"] = f"{state}; --resume continues it"
    return facts
