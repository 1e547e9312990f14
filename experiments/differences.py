"""The numbers in docs/differences.md that no publication prints, computed."""

from __future__ import annotations

import inspect

import torch

from experiments.audit import (
    cosine,
    coupling_parameters,
    published_gradients,
    published_wide_solve,
    relative_error,
)
from experiments.trained.paper import TABLE_4, TABLES
from inverseflow.bijections import ExponentialConv2d, MaskedConvFlow
from inverseflow.data.named import CIFAR10, MNIST
from inverseflow.nets import ConvNet
from inverseflow.ops.fixed_point import default_tolerance

_SHAPES = {"mnist": MNIST.shape, "cifar10": CIFAR10.shape}
_CHANNELS, _WIDTH = 12, 512
"""Size of the compared couplings: the first scale of CIFAR-10 and the width of the publications."""
_WIDE = 8
"""Number of channels of the wide public solve."""


def numbers() -> dict[str, str]:
    """Return each number as it stands in the document, by the name in the comment before it.

    Example:
        >>> numbers()["macow_low"]
        '0.5'
    """
    gradients, wide = published_gradients(), published_wide_solve(_WIDE)
    exponential = ExponentialConv2d(1)
    spread = float(inspect.signature(MaskedConvFlow).parameters["max_raw_scale"].default)
    ours = sum(parameter.numel() for parameter in ConvNet(_CHANNELS // 2, _CHANNELS, _WIDTH).parameters())
    return {
        "image_error": f"{relative_error(gradients.published_image, gradients.image):.2f}",
        "image_cosine": f"{cosine(gradients.published_image, gradients.image):.2f}",
        "kernel_error": f"{relative_error(gradients.published_kernel, gradients.kernel):.2f}",
        "kernel_cosine": f"{cosine(gradients.published_kernel, gradients.kernel):.2f}",
        "wide": str(_WIDE),
        "wide_error": f"{wide.round_trip_error:.2f}",
        "wide_log_det": f"{wide.log_det:.2f}".replace("-", "−"),
        "coupling": f"{_CHANNELS} channels and width {_WIDTH}",
        "public_coupling": f"{coupling_parameters(_CHANNELS, _WIDTH):,}",
        "our_coupling": f"{ours:,}",
        "disagreements": _disagreements(),
        "copied": ", ".join(
            line.name for line in TABLE_4.lines if line.published is not None and "copied" in line.published.notes
        ),
        "norm": f"{exponential.max_spectral_norm:g}",
        "terms_float32": str(exponential.terms(torch.float32)),
        "terms_float64": str(exponential.terms(torch.float64)),
        "macow_low": _sigmoid(2 - spread),
        "macow_high": _sigmoid(2 + spread),
        "tolerance_float32": _exponent(default_tolerance(torch.float32)),
        "tolerance_float64": _exponent(default_tolerance(torch.float64)),
    }


def _disagreements() -> str:
    """Return the table rows whose nats and bits disagree, with both numbers."""
    found = []
    for table in TABLES:
        for line in table.lines:
            sentence = None if line.published is None else line.published.disagreement(_SHAPES[table.data])
            if sentence is not None:
                says = sentence.removesuffix(".").replace("The printed", "the printed", 1)
                found.append(f"{line.name} in {table.name.replace('table', 'table ')} ({says})")
    return "; ".join(found)


def _sigmoid(x: float) -> str:
    return f"{torch.tensor(x, dtype=torch.float64).sigmoid().item():.3g}"


def _exponent(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")
