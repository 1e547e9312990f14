"""inverseflow interpolate."""

from __future__ import annotations

from pathlib import Path

from inverseflow.cli.checks import check_output, check_seed
from inverseflow.cli.command import Command
from inverseflow.errors import OptionError


def interpolate(
    run: Path,
    number: int = 8,
    steps: int = 10,
    output: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    data_dir: Path | None = None,
) -> None:
    """Go from one test image to another through the latent, along the great circle between their latents.

    The first and the last picture in a row are the two images themselves.

    Args:
        run: The run folder.
        number: How many pairs of images, one in each row.
        steps: Pictures in a row.
        output: The picture (.png). By default interpolations.png in the run folder.
        seed: Decides which images.
        device: Where to compute: auto, cpu, cuda, cuda:1 ...
        data_dir: Where the data is now, if it has moved.
    """
    if steps < 2 or number < 1:
        raise OptionError(f"a row has at least 2 steps and there is at least 1 row, not {steps} and {number}")
    check_seed(seed)
    check_output(output, ".png")
    import torch

    from inverseflow.cli.loading import data_of, some_of, trained_flow
    from inverseflow.flows.interpolation import great_circle
    from inverseflow.training.report import save_grid
    from inverseflow.training.run import Run

    opened = Run(run)
    flow = trained_flow(opened, device)
    data = data_of(opened, data_dir)
    images = some_of(data.test, 2 * number, seed).to(next(flow.parameters()).device)
    with torch.inference_mode():
        first, last = flow.encode(images).chunk(2)  # (number, D) each
        between = great_circle(first, last, steps)  # (number, steps, D)
        pictures = flow.decode(between.flatten(0, 1))
    path = output or opened.path / "interpolations.png"
    save_grid(path, pictures, data.levels, columns=steps)
    print(f"{number} pairs of test images of {data.title}, {steps} steps each, are in {path}")


COMMAND = Command(interpolate, short={"number": "n", "output": "o"})
