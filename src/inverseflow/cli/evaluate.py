"""inverseflow evaluate."""

from typing import Literal

from inverseflow.cli.arguments import File, Number, Output, RunFolder, Whole
from inverseflow.cli.checks import check_counts, check_output, check_run, check_seed


def evaluate(
    run: RunFolder,
    /,
    *,
    split: Literal["test", "validation", "train"] = "test",
    draws: Whole = 3,
    importance_samples: Whole | None = None,
    number: Number | None = None,
    batch_size: Whole = 250,
    seed: Whole = 0,
    device: str = "auto",
    data_dir: File | None = None,
    output: Output | None = None,
) -> None:
    """Measure bits per dimension and the exactness of the inverse of a trained flow.

    Noise makes the discrete images continuous, so the bits per dimension are an upper bound on those of the discrete
    images. They are the mean over the images of the mean over the draws. Their standard error is the standard deviation
    of the images' means, divided by the square root of the number of images.

    Try:

        inverseflow evaluate runs/mnist
        inverseflow evaluate runs/mnist --importance-samples 50 -n 1000 -o evaluation.json

    Args:
        run: the run folder.
        split: images to measure on.
        draws: dequantization draws for each image.
        importance_samples: also compute the tighter importance-weighted bound, with this many draws for each image.
        number: measure on the first N images. By default on all.
        batch_size: number of images at a time.
        seed: seed of the noise.
        device: device to compute on: auto, cpu, cuda, cuda:1 ...
        data_dir: folder that holds the data now, if it has moved.
        output: also write the numbers to this JSON file.
    """
    check_counts(draws=draws, importance_samples=importance_samples, number=number, batch_size=batch_size)
    check_seed(seed)
    check_output(output)
    check_run(run)
    from dataclasses import asdict

    from tqdm import tqdm

    from inverseflow import training
    from inverseflow.cli.loading import load_data, load_flow
    from inverseflow.utils.files import write_json

    flow = load_flow(run, device)
    data = load_data(run, data_dir)
    images = {"test": data.test, "validation": data.validation, "train": data.train}[split]
    if number is not None and number < len(images):
        images = images.select(range(number))
    with tqdm(total=-(-len(images) // batch_size), unit="batch", leave=False, disable=None) as bar:
        measured = training.evaluate(
            flow,
            images,
            draws=draws,
            importance_samples=importance_samples,
            batch_size=batch_size,
            seed=seed,
            on_batch=bar.update,
        )
    if output is not None:
        write_json(output, {"title": data.title, "split": split, **asdict(measured)})

    print(f"{data.title}, {split} images, {run.path}")
    deviation = measured.bits_per_dim_draw_std
    between = "" if deviation is None else f", standard deviation between draws {deviation:.4f}"
    count = "1 image" if measured.images == 1 else f"{measured.images} images"
    _line("bits/dim", _with_error(measured.bits_per_dim, measured.bits_per_dim_stderr))
    _line("", f"{count}, {draws} {'draw' if draws == 1 else 'draws'} each{between}")
    if measured.importance_bits_per_dim is not None:
        weighted = _with_error(measured.importance_bits_per_dim, measured.importance_bits_per_dim_stderr)
        _line("tighter bound", f"{weighted}, importance-weighted over {importance_samples} draws")
    error = measured.log_det_round_trip_error
    agreement = "are not finite" if error is None else f"agree within {error:.1e} nats per dimension"
    _line("round trip", f"log-determinants {agreement}")
    _line("", measured.round_trip)
    _line("", f"(largest errors over {measured.round_trip_images} of the images)")
    time = measured.sample_ms_per_100
    _line("sampling", "fails: an inverse does not converge" if time is None else f"{time:.0f} ms for 100 images")


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4f} (one image has no standard error)" if error is None else f"{value:.4f} ± {error:.4f}"


def _line(name: str, text: str) -> None:
    print(f"  {name:<15}{text}")
