"""inverseflow interpolate."""

from inverseflow.cli.arguments import File, Number, Output, RunFolder, Whole
from inverseflow.cli.checks import check_counts, check_output, check_run, check_seed
from inverseflow.errors import DataError, OptionError

_USUAL_NUMBER = 8
_MOST_STEPS = 1000


def interpolate(
    run: RunFolder,
    /,
    *,
    number: Number | None = None,
    steps: Whole = 10,
    output: Output | None = None,
    seed: Whole = 0,
    device: str = "auto",
    data_dir: File | None = None,
) -> None:
    """Interpolate between pairs of test images along a great circle in latent space.

    The first and the last picture in a row are the two images themselves. If there is only one test image, training
    images are taken.

    Args:
        run: the run folder.
        number: number of pairs of images, one pair in each row. By default 8, or as many as there are.
        steps: number of pictures in a row.
        output: file name of the picture (.png). By default interpolations.png in the run folder.
        seed: seed that chooses the images.
        device: device to compute on: auto, cpu, cuda, cuda:1 ...
        data_dir: folder that holds the data now, if it has moved.
    """
    check_counts(number=number)
    if not 2 <= steps <= _MOST_STEPS:
        raise OptionError(f"--steps must be at least 2 and at most {_MOST_STEPS}, got {steps}")
    check_seed(seed)
    check_output(output, ".png")
    check_run(run)
    import torch

    from inverseflow.cli.loading import choose_images, load_data, load_image_flow
    from inverseflow.flows.interpolation import great_circle
    from inverseflow.training.report import save_grid

    flow = load_image_flow(run, device, "interpolated")
    data = load_data(run, data_dir)
    kind, images = ("test", data.test) if len(data.test) > 1 else ("training", data.train)
    pairs = len(images) // 2
    if pairs == 0:
        raise DataError(f"interpolation takes two images, and {data.title} has only one test and one training image")
    if number is not None and number > pairs:
        raise OptionError(f"--number must be at most {pairs}, for {len(images)} {kind} images, got {number}")
    number = min(_USUAL_NUMBER, pairs) if number is None else number
    ends = choose_images(images, 2 * number, seed).to(next(flow.parameters()).device)
    with torch.inference_mode():
        first, last = flow.encode(ends.x, ends.context).chunk(2)  # (number, D) each
        between = great_circle(first, last, steps)  # (number, steps, D)
        context = None
        if ends.context is not None:  # from one context to the other in a straight line
            share = torch.linspace(0, 1, steps, device=first.device)[None, :, None]
            start, end = (each[:, None] for each in ends.context.chunk(2))
            context = torch.lerp(start, end, share).flatten(0, 1)
        pictures = flow.decode(between.flatten(0, 1), context)
    path = output or run.path / "interpolations.png"
    assert data.levels is not None
    save_grid(path, pictures, data.levels, columns=steps)
    noun = "pair" if number == 1 else "pairs"
    print(f"{number} {noun} of {kind} images of {data.title}, {steps} steps each, are in {path}")
