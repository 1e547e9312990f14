"""Measure a trained density: its likelihood on images, and how exact the inverse of a flow is."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverseflow.bijections import Compose
from inverseflow.data import Images
from inverseflow.densities import Density
from inverseflow.errors import LayerError, NonFiniteError
from inverseflow.flows import Flow
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import seeded
from inverseflow.utils.timing import time_in_turn


@dataclass(frozen=True)
class Evaluation:
    """Measurements of a density on images.

    All bits are upper bounds on the bits of the discrete images, because noise is drawn to dequantize them.
    """

    bits_per_dim: float
    """Mean over the images of the mean over the draws."""
    bits_per_dim_stderr: float | None
    """Standard deviation over the images of the mean over the draws, divided by √N; None for N = 1."""
    bits_per_dim_draw_std: float | None
    """Standard deviation over the draws of the mean over the images; None for a single draw."""
    images: int
    """Number of images."""
    draws: int
    """Dequantization draws for each image."""
    importance_bits_per_dim: float | None
    """Mean over the images of −log₂ (1/K Σₖ p(x + uₖ)) / D over K draws: a bound that is tighter the larger K is."""
    importance_bits_per_dim_stderr: float | None
    """Its standard error over the images; None for one image."""
    importance_samples: int | None
    """K."""
    log_det_round_trip_error: float | None = None
    """Largest |log-det of the map + log-det of its inverse| of an image, in nats per dimension; None if not finite."""
    max_reconstruction_error: int | None = None
    """Largest difference between a pixel and its reconstruction through the latent, in gray levels, after rounding.

    None if a reconstruction is not finite or the inverse fails."""
    changed_images: int | None = None
    """Number of images whose reconstruction differs in any pixel; None if the density is not a flow."""
    round_trip_images: int = 0
    """Number of images taken through the latent and back for these three; 0 if the density is not a flow."""
    sample_ms_per_100: float | None = None
    """Time to draw 100 images in milliseconds: the median of three, after a warm-up; None if sampling fails."""

    @property
    def round_trip(self) -> str:
        """Whether decoding returns what was encoded, in words."""
        if self.changed_images is None:
            return "there is no inverse"
        if self.changed_images == 0:
            return "pixels come back exactly"
        worst = self.max_reconstruction_error
        error = "some not as finite numbers" if worst is None else f"by up to {worst} gray level{'s' * (worst != 1)}"
        return (
            f"{self.changed_images} of {self.round_trip_images} images come back CHANGED, {error}: decode(encode(x)) "
            "has lost x in this precision; train at a lower optimizer.learning_rate, bound the layers "
            "(model.max_row_sum), or compute in float64"
        )


def evaluate(
    density: Density,
    images: Images,
    *,
    draws: int = 3,
    importance_samples: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    round_trip_images: int = 1000,
    on_batch: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Measure a density on images, on the device of the density.

    Args:
        density: a density of gray levels.
        images: test images.
        draws: dequantization draws for each image.
        importance_samples: draws K of the importance-weighted bound; None omits it.
        batch_size: images at a time.
        seed: seed of the noise.
        round_trip_images: largest number of images that are taken through the latent and back.
        on_batch: called after each batch, for a progress bar.

    Raises:
        ValueError: if a number is below 1.
        NonFiniteError: if the bits per dimension of an image are not finite.

    Example:
        >>> from inverseflow.data import load_images
        >>> from inverseflow.flows import Glow
        >>> flow = Glow((1, 8, 8), levels=17, scales=1, steps=1, width=8)
        >>> evaluate(flow, load_images("digits").test, draws=1).round_trip
        'pixels come back exactly'
    """
    for name, number in {"draws": draws, "batch_size": batch_size, "round_trip_images": round_trip_images}.items():
        whole_number(name, number, at_least=1)
    if importance_samples is not None:
        whole_number("importance_samples", importance_samples, at_least=1)
    device = next(density.parameters()).device
    per_image, weighted = [], []
    round_trip: dict[str, Any] = {}
    with _measuring(density, seed):
        for batch in _batches(images, batch_size, device):
            per_image.append(torch.stack([density.bits_per_dim(batch).double() for _ in range(draws)]))
            if importance_samples is not None:
                weighted.append(_importance_bits(density, batch, importance_samples))
            on_batch()
        bits = torch.cat(per_image, dim=1)  # (draws, N)
        diverged = int((~bits.isfinite()).any(0).sum())
        if diverged:
            raise NonFiniteError(
                f"the bits per dimension of {diverged} of {len(images)} images are not finite: the model has diverged; "
                "train it again at a smaller optimizer.learning_rate"
            )
        if isinstance(density, Flow):
            few = images.select(range(min(round_trip_images, len(images))))
            round_trip = _round_trip(density, few, batch_size, device)
        sample_ms = _sample_ms_per_100(density, device)

    importance = torch.cat(weighted) if weighted else None  # (N,)
    return Evaluation(
        bits_per_dim=float(bits.mean()),
        bits_per_dim_stderr=_standard_error(bits.mean(0)),
        bits_per_dim_draw_std=float(bits.mean(1).std()) if draws > 1 else None,
        images=bits.shape[1],
        draws=draws,
        importance_bits_per_dim=None if importance is None else float(importance.mean()),
        importance_bits_per_dim_stderr=None if importance is None else _standard_error(importance),
        importance_samples=importance_samples,
        sample_ms_per_100=sample_ms,
        **round_trip,
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


def _batches(images: Images, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    for begin in range(0, len(images), batch_size):
        yield images.__getitems__(range(begin, min(begin + batch_size, len(images)))).to(device)


def _importance_bits(density: Density, batch: Tensor, samples: int) -> Tensor:
    log_probs = torch.stack([density.log_prob(batch).double() for _ in range(samples)])
    return density.to_bits_per_dim(torch.logsumexp(log_probs, 0) - math.log(samples))


def _standard_error(values: Tensor) -> float | None:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None


def _round_trip(flow: Flow, images: Images, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Return the fields of `Evaluation` about the way through the latent and back."""
    assert flow.dequantize is not None
    whole = Compose(flow.preprocessing, flow.bijection)
    log_det_error, worst, changed = 0.0, 0.0, 0
    for batch in _batches(images, batch_size, device):
        try:
            errors = flow.round_trip_error(batch)
            z, log_det = whole(flow.dequantize.center(batch))
            log_det_errors = (log_det + whole.inverse(z)[1]).abs() / flow.dims
        except LayerError:
            errors = log_det_errors = torch.full((len(batch),), math.inf)
        log_det_error = max(log_det_error, float(log_det_errors.nan_to_num(math.inf).max()))
        worst = max(worst, float(errors.max()))
        changed += int((errors > 0).sum())
    return {
        "log_det_round_trip_error": log_det_error if math.isfinite(log_det_error) else None,
        "max_reconstruction_error": int(worst) if math.isfinite(worst) else None,
        "changed_images": changed,
        "round_trip_images": len(images),
    }


def _sample_ms_per_100(density: Density, device: torch.device) -> float | None:
    sampling = {"": lambda: density.sample(100)}
    try:
        return time_in_turn(sampling, rounds=3, at_least_ms=0, at_most_ms=0, device=device)[""].median
    except LayerError:
        return None
