"""Measure a trained density: its likelihood on examples, and how exact the inverse of a flow is."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from inverseflow.bijections import Compose
from inverseflow.data import Batch, Examples
from inverseflow.densities import BITS_PER_DIM, BITS_PER_SAMPLE, Density, Likelihood
from inverseflow.errors import DataError, LayerError, NonFiniteError
from inverseflow.flows import Flow
from inverseflow.training.words import noun
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import derived_seed, seed_generators, seeded
from inverseflow.utils.timing import time_in_turn, time_once

_SLOW_MS = 1000.0
_LOST = 1e-3  # standard deviations by which a continuous value may come back changed


@dataclass(frozen=True)
class Evaluation:
    """Measurements of a density on examples, in its metric: bits per dimension of gray levels, else nats.

    If the likelihood is a bound, noise is drawn to dequantize the examples, and the values are upper bounds on the bits
    or nats of the discrete ones.
    """

    metric: str
    """Name of the metric: ``"bits_per_dim"`` or ``"nats"``."""
    unit: str
    """Its unit: ``"bits/dim"``, ``"bits/sample"`` of audio, or ``"nats"``."""
    likelihood: Likelihood
    """Whether the values are ``"exact"``, an upper ``"bound"``, or an ``"estimate"``; see `Density.likelihood`."""
    value: float
    """Mean over the examples of the mean over the draws."""
    stderr: float | None
    """Standard deviation over the examples of the mean over the draws, divided by √N; None for N = 1."""
    draw_std: float | None
    """Standard deviation over the draws of the mean over the examples; None for a single draw."""
    examples: int
    """Number of examples."""
    draws: int
    """Dequantization draws for each example; 1 if the likelihood is exact."""
    nats_per_image: float | None
    """The value in nats of a whole example, for data of two levels, of which nats are customary; else None."""
    bits_per_cell: float | None
    """The value as bits for each column, if all columns of a table hold whole numbers or categories, else None: of
    others a density is measured, and its bits depend on their units."""
    importance_value: float | None
    """Mean over the images of −log₂ (1/K Σₖ p(x + uₖ)) / D over K draws: a bound that is tighter the larger K is.

    In nats, without log 2 and D, for rows with columns of whole numbers."""
    importance_stderr: float | None
    """Its standard error over the images; None for one image."""
    importance_samples: int | None
    """K."""
    log_det_round_trip_error: float | None = None
    """Largest absolute sum of the log-determinants of the map and of its inverse, of one example, in nats per
    dimension; None if not finite."""
    max_reconstruction_error: float | None = None
    """Largest difference between an element and its reconstruction through the latent: in gray levels, after rounding,
    or in standard deviations of the element. None if a reconstruction is not finite or the inverse fails."""
    changed_examples: int | None = None
    """Number of examples whose reconstruction differs, if continuous by over 0.001 standard deviations; None if the
    density has no inverse."""
    round_trip_examples: int = 0
    """Number of examples taken through the latent and back for these three; 0 if there is no inverse."""
    sample_ms_per_100: float | None = None
    """Time to draw 100 examples at a time, in milliseconds: the median of three, or one of a density without an
    inverse; None if sampling fails, or one example takes over a second."""
    sample_ms_of_one: float | None = None
    """Time to draw one example of a density without an inverse, in milliseconds, if that is over a second."""

    @property
    def round_trip(self) -> str:
        """Whether decoding returns what was encoded, in words."""
        if self.changed_examples is None:
            return "there is no inverse"
        error, levels = self.max_reconstruction_error, self.metric == BITS_PER_DIM.name
        if self.changed_examples == 0 and error is not None:
            what = "samples" if self.unit == BITS_PER_SAMPLE.unit else "pixels"
            if levels or error == 0:
                return f"{what if levels else 'values'} come back exactly"
            return f"values come back within {error:.0e} standard deviations"
        unit = f"gray level{'s' * (error != 1)}" if levels else "standard deviations"
        by = "some not as finite numbers" if error is None else f"by up to {error:.3g} {unit}"
        return (
            f"{self.changed_examples} of {self.round_trip_examples} {'images' if levels else 'examples'} come back "
            f"CHANGED, {by}: decode(encode(x)) has lost x in this precision; train at a lower optimizer.learning_rate, "
            "bound the layers (model.max_row_sum), or compute in float64"
        )

    @property
    def sampling(self) -> str:
        """How long sampling takes, in words."""
        if self.sample_ms_of_one is not None:
            return f"1 sample in {self.sample_ms_of_one / 1e3:.1f} s"
        if self.sample_ms_per_100 is None:
            return "fails: an inverse does not converge"
        return f"100 samples in {self.sample_ms_per_100:.0f} ms"

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields for JSON, with the name of the metric in the names of its values."""
        mapping = asdict(self)
        own = {"value": "", "stderr": "_stderr", "draw_std": "_draw_std"}
        named = {f"{self.metric}{suffix}": mapping.pop(name) for name, suffix in own.items()}
        weighted = {
            f"importance_{self.metric}{suffix}": mapping.pop(f"importance_{name}")
            for name, suffix in own.items()
            if name != "draw_std"
        }
        return {**named, **weighted, **mapping}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "Evaluation":
        """Return what `to_mapping` was called on; raise KeyError if a field is missing."""
        metric = mapping["metric"]
        of_metric = {"value": metric, "stderr": f"{metric}_stderr", "draw_std": f"{metric}_draw_std"}
        weighted = {f"importance_{name}": f"importance_{of_metric[name]}" for name in ("value", "stderr")}
        keys = {item.name: item.name for item in fields(cls)} | of_metric | weighted
        return cls(**{name: mapping[key] for name, key in keys.items()})


@dataclass(frozen=True)
class LabelEvaluation:
    """Measurements of a density of labeled examples, in its metric."""

    metric: str
    """Name of the metric."""
    right: float
    """Mean over the examples with the right label as the context."""
    wrong: float
    """Mean over the examples of the mean over all wrong labels."""
    accuracy: float
    """Share of the examples whose right label y has the largest p(x | y), as of a classifier with equal priors."""
    examples: int
    """Number of examples."""


def evaluate(
    density: Density,
    examples: Examples,
    *,
    draws: int = 3,
    importance_samples: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    round_trip_examples: int = 1000,
    on_batch: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Measure a density on examples, with their contexts, on the device of the density.

    Args:
        density: a density.
        examples: test examples.
        draws: dequantization draws for each example. An exact likelihood takes one.
        importance_samples: draws K of the importance-weighted bound; None omits it, and so does a likelihood that is no
            bound.
        batch_size: examples at a time.
        seed: seed of the noise.
        round_trip_examples: largest number of examples that are taken through the latent and back.
        on_batch: called after each batch, for a progress bar.

    Raises:
        ValueError: if a number is below 1.
        DataError: if there are no examples.
        NonFiniteError: if the likelihood of an example is not finite.

    Example:
        >>> from inverseflow.data import load_images
        >>> from inverseflow.flows import Glow
        >>> flow = Glow((1, 8, 8), levels=17, scales=1, steps=1, width=8)
        >>> evaluate(flow, load_images("digits").test, draws=1).round_trip
        'pixels come back exactly'
    """
    for name, number in {"draws": draws, "batch_size": batch_size, "round_trip_examples": round_trip_examples}.items():
        whole_number(name, number, at_least=1)
    if importance_samples is not None:
        whole_number("importance_samples", importance_samples, at_least=1)
    if len(examples) == 0:
        raise DataError("there are no examples to measure on; choose another split")
    if density.likelihood == "exact":
        draws = 1
    if density.likelihood != "bound":  # the mean of exponentials of estimates is too large
        importance_samples = None
    device = next(density.parameters()).device
    per_example, weighted = [], []
    round_trip: dict[str, Any] = {}
    with _measuring(density, seed):
        for batch in _batches(examples, batch_size, device):
            each = [density.to_metric(density.log_prob(batch.x, batch.context)).double() for _ in range(draws)]
            per_example.append(torch.stack(each))
            if importance_samples is not None:
                weighted.append(_importance(density, batch, importance_samples))
            on_batch()
        values = torch.cat(per_example, dim=1)  # (draws, N)
        _refuse_not_finite(density, values, noun(examples))
        if isinstance(density, Flow):
            few = examples.select(range(min(round_trip_examples, len(examples))))
            round_trip = _round_trip(density, few, batch_size, device)
        sample_ms = _sample_ms(density, examples, device)

    importance = torch.cat(weighted) if weighted else None  # (N,)
    return Evaluation(
        metric=density.metric.name,
        unit=density.metric.unit,
        likelihood=density.likelihood,
        value=float(values.mean()),
        stderr=_standard_error(values.mean(0)),
        draw_std=float(values.mean(1).std()) if draws > 1 else None,
        examples=values.shape[1],
        draws=draws,
        nats_per_image=float(values.mean()) * density.dims * math.log(2) if density.levels == 2 else None,
        bits_per_cell=float(values.mean()) / (density.dims * math.log(2)) if _all_columns_are_whole(density) else None,
        importance_value=None if importance is None else float(importance.mean()),
        importance_stderr=None if importance is None else _standard_error(importance),
        importance_samples=importance_samples,
        sample_ms_per_100=sample_ms.get(100),
        sample_ms_of_one=sample_ms.get(1),
        **round_trip,
    )


def evaluate_labels(
    density: Density,
    examples: Examples,
    *,
    draws: int = 3,
    batch_size: int = 250,
    seed: int = 0,
    on_batch: Callable[[], object] = lambda: None,
) -> LabelEvaluation:
    """Measure a density with every label as the context of every example: is the right one the most likely?

    The noise that dequantizes an image is the same for all labels. The values are means over the draws.

    Args:
        density: a density whose context is a one at the place of the label.
        examples: test examples with these contexts.
        draws: dequantization draws for each example. An exact likelihood takes one.
        batch_size: examples at a time.
        seed: seed of the noise.
        on_batch: called after each batch, for a progress bar.

    Raises:
        DataError: if there are no examples, or their contexts are not labels.
        NonFiniteError: if a likelihood is not finite.

    Example:
        >>> from inverseflow.data import load_data
        >>> from inverseflow.flows import Glow
        >>> flow = Glow((1, 8, 8), levels=17, scales=1, steps=1, width=8, context_channels=10)
        >>> evaluate_labels(flow, load_data("digits", condition="label").test).accuracy < 0.5  # it is untrained
        True
    """
    if examples.context is None or not len(examples) or not bool((examples.context.sum(1) == 1).all()):
        raise DataError(
            "the contexts of these examples are not labels: a one at the place of the class, zero elsewhere"
        )
    draws = whole_number("draws", draws, at_least=1) if density.likelihood != "exact" else 1
    labels = examples.context.argmax(1)
    device = next(density.parameters()).device
    one_hot = torch.eye(examples.context.shape[1], dtype=examples.context.dtype, device=device)
    found = []
    with _measuring(density, seed):
        for number, batch in enumerate(_batches(examples, batch_size, device)):
            each = []
            for context in one_hot:
                seed_generators(derived_seed(seed, "labels", number), device)
                contexts = context.expand(len(batch), -1)
                log_prob = torch.stack([density.log_prob(batch.x, contexts).double() for _ in range(draws)]).mean(0)
                each.append(density.to_metric(log_prob).cpu())
            found.append(torch.stack(each, 1))
            on_batch()
        values = torch.cat(found)  # (N, classes)
        _refuse_not_finite(density, values.T, noun(examples))
    right = values.gather(1, labels[:, None]).squeeze(1)
    return LabelEvaluation(
        metric=density.metric.name,
        right=float(right.mean()),
        wrong=float((values.sum(1) - right).mean() / max(1, len(one_hot) - 1)),
        accuracy=float((values.argmin(1) == labels).double().mean()),
        examples=len(values),
    )


@contextmanager
def _measuring(density: Density, seed: int) -> Iterator[None]:
    """Evaluation mode without gradients and with seeded noise; afterwards everything is as before."""
    was_training = density.training
    density.eval()
    full_precision = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # the default on CUDA is TF32
    try:
        with torch.inference_mode(), seeded(seed, "evaluation"), full_precision, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pixels are not a number")  # reported by the round trip
            yield
    finally:
        density.train(was_training)


def _all_columns_are_whole(density: Density) -> bool:
    return len({*density.integer_columns}) == density.dims


def _batches(examples: Examples, batch_size: int, device: torch.device) -> Iterator[Batch]:
    for begin in range(0, len(examples), batch_size):
        yield examples.batch(range(begin, min(begin + batch_size, len(examples)))).to(device)


def _refuse_not_finite(density: Density, values: Tensor, noun: str) -> None:
    diverged = int((~values.isfinite()).any(0).sum())
    if diverged:
        metric = density.metric.name.replace("_", " ").replace("per dim", "per dimension")
        raise NonFiniteError(
            f"the {metric} of {diverged} of {values.shape[1]} {noun}s are not finite: the model has diverged; "
            "train it again at a smaller optimizer.learning_rate"
        )


def _importance(density: Density, batch: Batch, samples: int) -> Tensor:
    log_probs = torch.stack([density.log_prob(batch.x, batch.context).double() for _ in range(samples)])
    return density.to_metric(torch.logsumexp(log_probs, 0) - math.log(samples))


def _standard_error(values: Tensor) -> float | None:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None


def _round_trip(flow: Flow, examples: Examples, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Return the fields of `Evaluation` about the way through the latent and back."""
    whole = Compose(flow.preprocessing, flow.bijection)
    spread = None if flow.levels else examples.tensor().double().std(0, correction=0).clamp_min(1e-30).to(device)
    log_det_error, worst, changed = 0.0, 0.0, 0
    for batch in _batches(examples, batch_size, device):
        try:
            errors = _errors(flow, batch, spread)
            centered = batch.x if flow.dequantize is None else flow.dequantize.center(batch.x)
            context = flow._embed(batch.context, centered)
            z, log_det = whole(centered, context)
            log_det_errors = (log_det + whole.inverse(z, context)[1]).abs() / flow.dims
        except LayerError:
            errors = log_det_errors = torch.full((len(batch),), math.inf)
        log_det_error = max(log_det_error, float(log_det_errors.nan_to_num(math.inf).max()))
        worst = max(worst, float(errors.max()))
        changed += int((errors > (0 if spread is None else _LOST)).sum())
    error = None if not math.isfinite(worst) else worst if flow.levels is None else int(worst)
    return {
        "log_det_round_trip_error": log_det_error if math.isfinite(log_det_error) else None,
        "max_reconstruction_error": error,
        "changed_examples": changed,
        "round_trip_examples": len(examples),
    }


def _errors(flow: Flow, batch: Batch, spread: Tensor | None) -> Tensor:
    """Return the largest error of each example, in gray levels or in standard deviations."""
    if spread is None:
        return flow.round_trip_error(batch.x, batch.context)
    back = flow.decode(flow.encode(batch.x, batch.context), batch.context)
    return ((back - batch.x).double() / spread).abs().flatten(1).amax(1).nan_to_num(math.inf)


def _sample_ms(density: Density, examples: Examples, device: torch.device) -> dict[int, float]:
    """Return the milliseconds to draw 100 examples, or one of a slow density, by their number; none if that fails."""
    contexts = examples.batch(torch.arange(100) % len(examples)).to(device).context

    def draw(number: int = 100) -> object:
        return density.sample(number, None if contexts is None else contexts[:number])

    try:
        if isinstance(density, Flow):
            return {100: time_in_turn({"": draw}, rounds=3, at_least_ms=0, at_most_ms=0, device=device)[""].median}
        one = time_once(partial(draw, 1), 1, device)  # also the warm-up
        return {1: one} if one > _SLOW_MS else {100: time_once(draw, 1, device)}
    except LayerError:
        return {}
