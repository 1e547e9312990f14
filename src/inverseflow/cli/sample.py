"""inverseflow sample."""

from __future__ import annotations

from pathlib import Path

from inverseflow.cli.checks import check_counts, check_output, check_seed
from inverseflow.cli.command import Command
from inverseflow.errors import OptionError, RunError


def sample(
    run: Path,
    number: int = 100,
    temperature: float = 1.0,
    output: Path = Path("samples.png"),
    seed: int = 0,
    batch_size: int = 500,
    device: str = "auto",
) -> None:
    """Draw images from a trained flow.

    Examples:
      inverseflow sample runs/mnist -n 100 -o samples.png
      inverseflow sample runs/mnist -n 10000 --temperature 0.8 -o samples.npz

    Args:
        run: The run folder.
        number: How many images.
        temperature: Standard deviation of the latent noise. 1 samples the model itself, less its more likely part.
        output: A picture (.png), a NumPy archive with the array "images" (.npz), or a PyTorch tensor (.pt); the latter
            two hold grey levels, uint8, (N, C, H, W).
        seed: Decides the noise.
        batch_size: Images at a time.
        device: Where to compute: auto, cpu, cuda, cuda:1 ...
    """
    check_counts(number=number, batch_size=batch_size)
    check_seed(seed)
    if temperature < 0:
        raise OptionError(f"temperature must not be negative, got {temperature}")
    check_output(output, ".png", ".npz", ".pt")
    import numpy as np
    import torch

    from inverseflow.cli.loading import trained_flow
    from inverseflow.training.report import save_grid
    from inverseflow.training.run import Run
    from inverseflow.utils.files import atomic_write, write_torch

    flow = trained_flow(Run(run), device)
    if flow.levels is None:
        raise RunError(f"{run} holds a flow of real numbers; only one of grey levels draws images")
    generator = torch.Generator(next(flow.parameters()).device).manual_seed(seed)
    sizes = [min(batch_size, number - done) for done in range(0, number, batch_size)]
    images = torch.cat(
        [flow.sample(size, temperature=temperature, generator=generator).cpu() for size in sizes]
    )  # (N, C, H, W)
    if output.suffix == ".png":
        save_grid(output, images, flow.levels)
    elif output.suffix == ".npz":
        with atomic_write(output) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, images=images.numpy())
    else:
        write_torch(output, images)
    print(f"{number} samples at temperature {temperature:g} are in {output}")


COMMAND = Command(sample, short={"number": "n", "output": "o"})
