"""inverseflow reconstruct."""

from inverseflow.cli.arguments import File, Number, Output, RunFolder, Whole
from inverseflow.cli.checks import check_counts, check_output, check_run, check_seed
from inverseflow.errors import OptionError

_USUAL_NUMBER = 64


def reconstruct(
    run: RunFolder,
    /,
    *,
    number: Number | None = None,
    output: Output | None = None,
    seed: Whole = 0,
    device: str = "auto",
    data_dir: File | None = None,
) -> None:
    """Encode and decode test images, and show their differences from the originals.

    Args:
        run: the run folder.
        number: number of images. By default 64, or all test images if there are fewer.
        output: file name of the picture (.png). By default reconstructions-seedSEED.png in the run folder.
        seed: seed that chooses the images.
        device: device to compute on: auto, cpu, cuda, cuda:1 ...
        data_dir: folder that holds the data now, if it has moved.
    """
    check_counts(number=number)
    check_seed(seed)
    check_output(output, ".png")
    check_run(run)
    from inverseflow.cli.loading import choose_images, load_data, load_image_flow
    from inverseflow.training.report import reconstruct

    flow = load_image_flow(run, device, "reconstructed")
    data = load_data(run, data_dir)
    available = len(data.test)
    if number is not None and number > available:
        raise OptionError(f"--number must be at most {available}, the number of test images, got {number}")
    number = min(_USUAL_NUMBER, available) if number is None else number
    path = output or run.path / f"reconstructions-seed{seed}.png"  # training writes reconstructions.png itself
    worst = reconstruct(path, flow, choose_images(data.test, number, seed), data)
    images = f"{number} of {available} test images"
    if number == available:
        images = "the only test image" if number == 1 else f"all {number} test images"
    print(f"the largest error over {images} of {data.title} is {worst} gray levels; see {path}")
