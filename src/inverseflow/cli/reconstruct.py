"""inverseflow reconstruct."""

from __future__ import annotations

from pathlib import Path

from inverseflow.cli.checks import check_counts, check_output, check_seed
from inverseflow.cli.command import Command


def reconstruct(
    run: Path,
    number: int = 64,
    output: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    data_dir: Path | None = None,
) -> None:
    """Take test images through the latent and back, and show where they differ.

    Args:
        run: The run folder.
        number: How many images.
        output: The picture (.png). By default reconstructions-seedSEED.png in the run folder.
        seed: Decides which images.
        device: Where to compute: auto, cpu, cuda, cuda:1 ...
        data_dir: Where the data is now, if it has moved.
    """
    check_counts(number=number)
    check_seed(seed)
    check_output(output, ".png")
    from inverseflow.cli.loading import data_of, some_of, trained_flow
    from inverseflow.training.report import reconstruct
    from inverseflow.training.run import Run

    opened = Run(run)
    flow = trained_flow(opened, device)
    data = data_of(opened, data_dir)
    path = output or opened.path / f"reconstructions-seed{seed}.png"  # reconstructions.png is the training's own
    worst = reconstruct(path, flow, some_of(data.test, number, seed), data)
    print(f"{number} test images of {data.title} came back within {worst} grey levels; see {path}")


COMMAND = Command(reconstruct, short={"number": "n", "output": "o"})
