"""inverseflow evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from inverseflow.cli.arguments import File, Number, Output, RunFolder, Whole
from inverseflow.cli.checks import check_counts, check_output, check_run, check_seed
from inverseflow.errors import OptionError

if TYPE_CHECKING:
    from inverseflow.training import Evaluation, LabelEvaluation


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
    """Measure the likelihood of a trained model and, of a flow, how exact its inverse is.

    The likelihood of images is in bits per dimension, that of points and rows of a table in nats, −log p(x) in the
    units of the table. Noise makes gray levels and categories continuous for a flow, so that its value is an upper
    bound: the mean over the examples of the mean over the draws. All others are exact. The standard error is the
    standard deviation of the means of the examples, divided by the square root of their number.

    A run with --condition label is also measured with the wrong labels, and as a classifier that takes the label with
    the largest p(x | label).

    Try:

        inverseflow evaluate runs/mnist
        inverseflow evaluate runs/mnist --importance-samples 50 -n 1000 -o evaluation.json

    Args:
        run: the run folder.
        split: examples to measure on.
        draws: dequantization draws for each example. An exact likelihood takes none.
        importance_samples: also compute the tighter importance-weighted bound, with this many draws for each example.
        number: measure on the first N examples. By default on all.
        batch_size: number of examples at a time.
        seed: seed of the noise.
        device: device to compute on: auto, cpu, cuda, cuda:1 ...
        data_dir: folder or file that holds the data now, if it has moved.
        output: also write the numbers to this JSON file.
    """
    check_counts(draws=draws, importance_samples=importance_samples, number=number, batch_size=batch_size)
    check_seed(seed)
    check_output(output)
    check_run(run)
    from dataclasses import asdict

    from tqdm import tqdm

    from inverseflow import training
    from inverseflow.cli.loading import load_data, load_density
    from inverseflow.data import LabelCondition
    from inverseflow.training.words import noun
    from inverseflow.utils.files import write_json

    density = load_density(run, device)
    if importance_samples is not None and density.likelihood != "bound":
        kind = "exact" if density.likelihood == "exact" else "an estimate"
        raise OptionError(f"the likelihood of this model is {kind}, no bound to tighten; omit --importance-samples")
    data = load_data(run, data_dir)
    examples = {"test": data.test, "validation": data.validation, "train": data.train}[split]
    if number is not None and number < len(examples):
        examples = examples.select(range(number))
    has_labels = isinstance(data.condition, LabelCondition)
    labeled = None
    batches = -(-len(examples) // batch_size) * (2 if has_labels else 1)
    with tqdm(total=batches, unit="batch", leave=False, disable=None) as bar:
        measured = training.evaluate(
            density,
            examples,
            draws=draws,
            importance_samples=importance_samples,
            batch_size=batch_size,
            seed=seed,
            on_batch=bar.update,
        )
        if has_labels:
            labeled = training.evaluate_labels(
                density, examples, draws=draws, batch_size=batch_size, seed=seed, on_batch=bar.update
            )
    if output is not None:
        labels = {} if labeled is None else {"labels": asdict(labeled)}
        write_json(output, {"title": data.title, "split": split, **measured.to_mapping(), **labels})

    print(f"{data.title}, {split} {noun(examples)}s, {run.path}")
    _print(measured, density.metric.unit, noun(examples), labeled)


def _print(measured: Evaluation, unit: str, noun: str, labeled: LabelEvaluation | None) -> None:
    from inverseflow.training.words import IN_WORDS, counted

    draws = "" if measured.likelihood == "exact" else f", {counted(measured.draws, 'draw')} each"
    between = "" if measured.draw_std is None else f", standard deviation between draws {measured.draw_std:.4f}"
    _line(unit, f"{_with_error(measured.value, measured.stderr, noun)} ({IN_WORDS[measured.likelihood]})")
    _line("", f"{counted(measured.examples, noun)}{draws}{between}")
    if measured.nats_per_image is not None:
        _line("nats an image", f"{measured.nats_per_image:.3f}")
    if measured.bits_per_cell is not None:
        _line("bits per cell", f"{measured.bits_per_cell:.4f}")
    if measured.importance_value is not None:
        weighted = _with_error(measured.importance_value, measured.importance_stderr, noun)
        _line("tighter bound", f"{weighted}, importance-weighted over {measured.importance_samples} draws")
    if labeled is not None:
        _line("right label", f"{labeled.right:.4f} {unit}")
        _line("wrong label", f"{labeled.wrong:.4f} {unit}, mean over all wrong labels")
        _line(
            "accuracy",
            f"{100 * labeled.accuracy:.2f} % of {counted(labeled.examples, noun)}, by the largest p(x | label)",
        )
    error = measured.log_det_round_trip_error
    if measured.round_trip_examples:
        agreement = "are not finite" if error is None else f"agree within {error:.1e} nats per dimension"
        _line("round trip", f"log-determinants {agreement}")
        _line("", measured.round_trip)
        _line("", f"(largest errors over {measured.round_trip_examples} of the {noun}s)")
    _line("sampling", measured.sampling)


def _with_error(value: float, error: float | None, noun: str) -> str:
    return f"{value:.4f} (one {noun} has no standard error)" if error is None else f"{value:.4f} ± {error:.4f}"


def _line(name: str, text: str) -> None:
    print(f"  {name:<15}{text}")
