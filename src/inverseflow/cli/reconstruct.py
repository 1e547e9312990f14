"""inverseflow reconstruct."""

from inverseflow.cli.arguments import File, Number, Output, RunFolder, Whole
from inverseflow.cli.checks import check_counts, check_output, check_run, check_seed

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
    """Encode and decode test images, and show where they differ.

    Args:
        run: the run folder.
        number: number of images. By default 64, or all test images if there are fewer.
        output: the picture (.png). By default reconstructions-seedSEED.png in the run folder.
        seed: seed of the choice of images.
        device: device to compute on: auto, cpu, cuda, cuda:1 ...
        data_dir: folder that holds the data now, if it has moved.
    """
    check_counts(number=number)
    check_seed(seed)
    check_output(output, ".png")
    check_run(run)
    from inverseflow.cli.loading import load_data, load_flow, number_of_images, sample_images
    from inverseflow.training.report import reconstruct

    flow = load_flow(run, device)
    data = load_data(run, data_dir)
    number = number_of_images(data.test, number, _USUAL_NUMBER)
    path = output or run.path / f"reconstructions-seed{seed}.png"  # training writes reconstructions.png itself
    worst = reconstruct(path, flow, sample_images(data.test, number, seed), data)
    images = f"{number} of {len(data.test)} test images"
    if number == len(data.test):
        images = "the only test image" if number == 1 else f"all {number} test images"
    print(f"{images} of {data.title} came back within {worst} gray levels; see {path}")
