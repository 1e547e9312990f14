"""inverseflow sample."""

from pathlib import Path

from inverseflow.cli.arguments import Number, Output, Real, RunFolder, Whole
from inverseflow.cli.checks import check_counts, check_output, check_run, check_seed
from inverseflow.errors import OptionError, RunError


def sample(
    run: RunFolder,
    /,
    *,
    number: Number = 100,
    temperature: Real = 1.0,
    output: Output = Path("samples.png"),
    seed: Whole = 0,
    batch_size: Whole = 500,
    device: str = "auto",
) -> None:
    """Draw images from a trained flow.

    An unfinished run is sampled with its best weights so far.

    Try:

        inverseflow sample runs/mnist -n 100 -o samples.png
        inverseflow sample runs/mnist -n 10000 --temperature 0.8 -o samples.npz

    Args:
        run: the run folder.
        number: number of images.
        temperature: standard deviation of the latent noise. 1 samples the model itself; a smaller value draws fewer
            unlikely images.
        output: a picture (.png), a NumPy archive with the array "images" (.npz), or a PyTorch tensor (.pt). The
            archive and the tensor hold gray levels, uint8, (N, C, H, W).
        seed: seed of the noise.
        batch_size: number of images drawn at a time.
        device: device to compute on: auto, cpu, cuda, cuda:1 ...
    """
    check_counts(number=number, batch_size=batch_size)
    check_seed(seed)
    if temperature < 0:
        raise OptionError(f"--temperature must be at least 0, got {temperature:g}")
    check_output(output, ".png", ".npz", ".pt")
    check_run(run)
    import numpy as np
    import torch

    from inverseflow.cli.loading import load_flow
    from inverseflow.training.report import save_grid
    from inverseflow.utils.files import atomic_write, write_torch

    flow = load_flow(run, device)
    if flow.levels is None:
        raise RunError(f"{run.path} holds a flow of real numbers; only a flow of gray levels draws images")
    generator = torch.Generator(next(flow.parameters()).device).manual_seed(seed)
    try:
        images = torch.empty(number, *flow.event_shape, dtype=torch.uint8)  # (N, C, H, W)
    except RuntimeError as error:
        raise OptionError(f"--number is {number}; so many images do not fit into memory") from error
    for start in range(0, number, batch_size):
        size = min(batch_size, number - start)
        images[start : start + size] = flow.sample(size, temperature=temperature, generator=generator)
    if output.suffix == ".png":
        save_grid(output, images, flow.levels)
    elif output.suffix == ".npz":
        with atomic_write(output) as aside, aside.open("wb") as file:
            np.savez_compressed(file, images=images.numpy())
    else:
        write_torch(output, images)
    print(f"{number} samples at temperature {temperature:g} are in {output}")
