"""inverseflow info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inverseflow.cli.command import Command
from inverseflow.errors import RunError

if TYPE_CHECKING:
    from inverseflow.training.run import Run


def info(run: Path) -> None:
    """Show what a run is and the flow in it: its layers, the shape that leaves each of them, and their parameters.

    Args:
        run: The run folder.
    """
    from inverseflow.cli.loading import trained_flow
    from inverseflow.flows.summary import architecture
    from inverseflow.training.run import Run

    opened = Run(run)
    flow = trained_flow(opened, "cpu")
    for name, text in _facts(opened).items():
        print(f"{name:<11}{text}")
    print()
    print(architecture(flow))


def _facts(run: Run) -> dict[str, str]:
    import json

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
            bits, error, steps = report["test_bits_per_dim"], report["test_bits_per_dim_stderr"], report["steps"]
            facts |= {"data": report["title"], "bits/dim": f"{bits:.3f} ± {error:.3f} on test images"}
            if steps < options.max_steps:
                facts["state"] = f"measured after {steps} steps; --resume continues it"
        except (ValueError, TypeError, KeyError) as damage:
            raise RunError(f"{run.report} is damaged; `train --resume` writes it anew") from damage
    else:
        facts["state"] = "not finished; --resume continues it"
    return facts


COMMAND = Command(info)
