"""inverseflow reconstruct."""

from __future__ import annotations

from pathlib import Path

from inverseflow.cli.parser import Command


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
        output: The picture. By default reconstructions.png in the run folder.
        seed: Decides which images.
        device: Where to compute: auto, cpu, cuda, cuda:1 ...
        data_dir: Where the data is now, if it has moved.
    """
    import torch

    from inverseflow.cli.loading import data_of, some_of, trained_flow
    from inverseflow.training.pictures import save_reconstructions
    from inverseflow.training.run import Run

    opened = Run(run)
    flow = trained_flow(opened, device)
    data = data_of(opened, data_dir)
    originals = some_of(data.test, number, seed)
    with torch.inference_mode():
        back = flow.decode(flow.encode(originals.to(next(flow.parameters()).device))).cpu()
    path = output or opened.reconstructions
    save_reconstructions(path, originals, back, data.levels, data.title)
    worst = int((originals.int() - back.int()).abs().max())
    print(f"{number} test images of {data.title} came back within {worst} grey levels; see {path}")


COMMAND = Command(reconstruct, short={"number": "n", "output": "o"})
