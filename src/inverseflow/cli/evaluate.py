"""inverseflow evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from inverseflow.cli.checks import check_counts, check_seed
from inverseflow.cli.command import Command


def evaluate(
    run: Path,
    split: Literal["test", "validation", "train"] = "test",
    draws: int = 3,
    importance_samples: int | None = None,
    number: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    device: str = "auto",
    data_dir: Path | None = None,
    output: Path | None = None,
) -> None:
    """Measure a trained flow: bits per dimension, with their standard error, and the exactness of its inverse.

    Bits per dimension are those of the discrete images. Noise is drawn to make the images continuous, so they are an
    upper bound: the mean over the images of the mean over the draws. The standard error is the standard deviation over
    the images of their means over the draws, divided by the square root of the number of images.

    Examples:
      inverseflow evaluate runs/mnist
      inverseflow evaluate runs/mnist --importance-samples 50 -n 1000 -o evaluation.json

    Args:
        run: The run folder.
        split: Which images.
        draws: Dequantisation draws for each image.
        importance_samples: Also compute the tighter, importance-weighted bound over that many draws for each image.
        number: Measure on that many of the images. By default on all.
        batch_size: Images at a time.
        seed: Decides the noise.
        device: Where to compute: auto, cpu, cuda, cuda:1 ...
        data_dir: Where the data is now, if it has moved.
        output: Also write the numbers to this JSON file.
    """
    check_counts(draws=draws, importance_samples=importance_samples, number=number, batch_size=batch_size)
    check_seed(seed)
    from dataclasses import asdict

    from tqdm import tqdm

    from inverseflow.cli.loading import data_of, trained_flow
    from inverseflow.training import evaluation
    from inverseflow.training.run import Run
    from inverseflow.utils.files import write_json

    opened = Run(run)
    flow = trained_flow(opened, device)
    data = data_of(opened, data_dir)
    images = {"test": data.test, "validation": data.validation, "train": data.train}[split]
    if number is not None and number < len(images):
        images = images.select(range(number))
    with tqdm(total=-(-len(images) // batch_size), unit="batch", leave=False, disable=None) as bar:
        measured = evaluation.evaluate(
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

    print(f"{data.title}, {split} images, {run}")
    deviation = measured.bits_per_dim_draw_std
    between = "" if deviation is None else f", standard deviation between draws {deviation:.4f}"
    noun = "draw" if draws == 1 else "draws"
    _line("bits/dim", f"{measured.bits_per_dim:.4f} ± {measured.bits_per_dim_stderr:.4f}")
    _line("", f"{measured.images} images, {draws} {noun} each{between}")
    if measured.importance_bits_per_dim is not None:
        weighted = f"{measured.importance_bits_per_dim:.4f} ± {measured.importance_bits_per_dim_stderr:.4f}"
        _line("tighter bound", f"{weighted}, importance-weighted over {importance_samples} draws")
    _line("round trip", f"log-dets agree within {measured.log_det_round_trip_error:.1e} nats per dimension")
    _line("", f"pixels come back within {measured.max_reconstruction_error} grey levels")
    _line("", f"(looked for in {measured.round_trip_images} images)")
    _line("sampling", f"{measured.sample_ms_per_100:.0f} ms for 100 images")


def _line(name: str, text: str) -> None:
    print(f"  {name:<15}{text}")


COMMAND = Command(evaluate, short={"number": "n", "output": "o"})
