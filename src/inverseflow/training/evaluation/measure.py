"""What a trained flow is worth: its likelihood on test images, and whether it is the exact map it claims to be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.bijections import Compose
from inverseflow.data import Images
from inverseflow.flows import Flow
from inverseflow.utils.seeding import seeded


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured. All bits are upper bounds on those of the discrete images, for noise was drawn."""

    bits_per_dim: float
    """Mean over the images of the mean over the draws."""
    bits_per_dim_stderr: float
    """Standard deviation over the images of the mean over the draws, divided by the square root of their number."""
    bits_per_dim_draw_std: float | None
    """Standard deviation over the draws of the mean over the images; None for a single draw."""
    images: int
    """Number of images."""
    draws: int
    """Dequantisation draws for each image."""
    importance_bits_per_dim: float | None
    """Mean over the images of −log₂ (1/K Σₖ p(x + uₖ)) / D over K draws: a bound that is tighter the larger K is."""
    importance_bits_per_dim_stderr: float | None
    """Its standard error over the images."""
    importance_samples: int | None
    """K."""
    log_det_round_trip_error: float
    """Largest |log-det of the map + log-det of its inverse| of an image, in nats per dimension."""
    max_reconstruction_error: int
    """Largest difference between a pixel and its reconstruction through the latent, in grey levels, after rounding."""
    round_trip_images: int
    """Number of images that the two errors above were looked for in."""
    sample_ms_per_100: float
    """Time to draw 100 images, in milliseconds: the median of three times, after one to warm up."""


def evaluate(
    flow: Flow,
    images: Images,
    *,
    draws: int = 3,
    importance_samples: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    round_trip_images: int = 1000,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Measures a flow on images, on the device where it is.

    Args:
        flow: The flow.
        images: Test images.
        draws: Dequantisation draws for each image.
        importance_samples: Draws K of the importance-weighted bound; None leaves it out.
        batch_size: Images at a time.
        seed: Decides the noise.
        round_trip_images: How many of the images are taken through the latent and back.
        on_batch: Called after each batch, for a progress bar.
    """
    device = next(flow.parameters()).device
    was_training = flow.training
    flow.eval()
    per_image, weighted = [], []
    with torch.inference_mode(), seeded(seed, "evaluation"), _full_precision():
        for batch in _batches(images, batch_size, device):
            per_image.append(torch.stack([flow.bits_per_dim(batch).double() for _ in range(draws)]))
            if importance_samples is not None:
                weighted.append(_importance_bits(flow, batch, importance_samples))
            on_batch()
        round_trips = images.select(range(min(round_trip_images, len(images))))
        log_det_error, worst = _round_trip(flow, round_trips, batch_size, device)
        sample_ms = _sample_ms_per_100(flow, device)
    flow.train(was_training)

    bits = torch.cat(per_image, dim=1)  # (draws, N)
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
        log_det_round_trip_error=log_det_error,
        max_reconstruction_error=worst,
        round_trip_images=len(round_trips),
        sample_ms_per_100=sample_ms,
    )


def bits_of_images(flow: Flow, images: Images, *, seed: int = 0, batch_size: int = 250) -> Tensor:
    """Returns the bits per dimension of each image at one draw of the noise, which is the same draw for every flow.

    So two flows can be compared image by image: the error of the mean difference is smaller than that of either mean.

    Args:
        flow: The flow, on any device.
        images: Test images.
        seed: Decides the noise.
        batch_size: Images at a time; another size, other noise.

    Returns:
        ``(N,)`` in float64, on the CPU.
    """
    device = next(flow.parameters()).device
    was_training = flow.training
    flow.eval()
    with torch.inference_mode(), seeded(seed, "evaluation"), _full_precision():
        bits = [flow.bits_per_dim(batch).double().cpu() for batch in _batches(images, batch_size, device)]
    flow.train(was_training)
    return torch.cat(bits)


def _batches(images: Images, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    for begin in range(0, len(images), batch_size):
        yield images.__getitems__(range(begin, min(begin + batch_size, len(images)))).to(device)


def _importance_bits(flow: Flow, batch: Tensor, samples: int) -> Tensor:
    log_probs = torch.stack([flow.log_prob(batch).double() for _ in range(samples)])
    return flow.to_bits_per_dim(torch.logsumexp(log_probs, 0) - math.log(samples))


def _standard_error(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _full_precision() -> AbstractContextManager[None]:
    """Convolutions in float32 itself: on CUDA the default is the coarser TF32."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return flags


def _round_trip(flow: Flow, images: Images, batch_size: int, device: torch.device) -> tuple[float, int]:
    """Largest error of the log-dets, in nats per dimension, and of a pixel, in grey levels."""
    assert flow.dequantize is not None
    whole = Compose(flow.preprocessing, flow.bijection)
    log_det_error, worst = 0.0, 0
    for batch in _batches(images, batch_size, device):
        z, log_det = whole(flow.dequantize.center(batch))
        _, inverse_log_det = whole.inverse(z)
        log_det_error = max(log_det_error, float((log_det + inverse_log_det).abs().max()) / flow.dims)
        back = flow.decode(flow.encode(batch))
        worst = max(worst, int((back.int() - batch.int()).abs().max()))
    return log_det_error, worst


def _sample_ms_per_100(flow: Flow, device: torch.device) -> float:
    times = []
    for _ in range(4):
        began = time.perf_counter()
        flow.sample(100)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return 1e3 * sorted(times[1:])[1]
