"""The step and the multi-scale architecture that the image flows share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from inverseflow.bijections import (
    ActNorm,
    AffineCoupling,
    Bijection,
    Compose,
    Conv1x1,
    Logit,
    LUConv1x1,
    Multiscale,
    Scale,
    Shape,
    SplineActivation,
    SplitPrior,
    Squeeze,
)
from inverseflow.nets import ConvNet

SplineSharing = Literal["none", "shared", "channel", "element"]
Conv1x1Form = Literal["none", "dense", "lu"]
Preprocessing = Literal["logit", "centre"]
Builders = dict[str, Callable[[], Bijection | None]]
Built = TypeVar("Built")


class Step(Compose):
    """One step of a flow: a composition that can recompute its activations in the backward pass to save memory."""

    gradient_checkpointing = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            z, log_det = checkpoint(super().forward, x, context, use_reentrant=False, preserve_rng_state=False)
            return z, log_det
        return super().forward(x, context)


def image_step(
    shape: Shape,
    *,
    convolution: Bijection | None,
    spline: SplineSharing,
    spline_bins: int,
    spline_bound: float,
    conv1x1: Conv1x1Form,
    width: int,
    context_channels: int | None,
) -> Step:
    """Build convolution → spline → ActNorm → 1×1 convolution → affine coupling.

    Args:
        shape: the event ``(C, H, W)`` at this step.
        convolution: the step's k×k layer.
        spline: how the spline activation's knots are shared, or ``"none"``.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline.
        conv1x1: the form of the 1×1 convolution, or ``"none"``.
        width: hidden channels of the coupling's network.
        context_channels: length of the context vector, None for an unconditional step.
    """
    channels, *size = shape
    kept = channels // 2
    net = ConvNet(kept + (context_channels or 0), 2 * (channels - kept), width)
    splines: Builders = {
        "none": lambda: None,
        "shared": lambda: SplineActivation(bins=spline_bins, bound=spline_bound),
        "channel": lambda: SplineActivation(channels, bins=spline_bins, bound=spline_bound),
        "element": lambda: SplineActivation(channels, size=tuple(size), bins=spline_bins, bound=spline_bound),
    }
    mixes: Builders = {"none": lambda: None, "dense": lambda: Conv1x1(channels), "lu": lambda: LUConv1x1(channels)}
    layers = [
        convolution,
        _choose("spline", spline, splines),
        ActNorm(channels),
        _choose("conv1x1", conv1x1, mixes),
        AffineCoupling(channels, net, context_channels=context_channels),
    ]
    return Step(*(layer for layer in layers if layer is not None))


def image_multiscale(
    event_shape: Shape,
    *,
    scales: int,
    steps: int,
    step: Callable[[int, Shape], Bijection],
    context_channels: int | None,
) -> Multiscale:
    """Build levels of squeeze, steps and, at every level but the last, a learned prior of the half that leaves.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image.
        scales: number of levels L.
        steps: number of steps K in each level.
        step: builds the step with a given number (from 0) for an event of a given shape.
        context_channels: length of the context vector, None for an unconditional flow.
    """
    if min(event_shape, default=0) < 1:
        raise ValueError(f"an image has at least one channel, row and column, got shape {tuple(event_shape)}")
    for name, value in (("scales", scales), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} is at least 1, got {value}")
    levels: list[Bijection] = []
    shape = tuple(event_shape)
    for number in range(scales):
        squeeze = Squeeze()
        shape = squeeze.output_shape(shape)
        layers = [squeeze, *(step(index, shape) for index in range(steps))]
        if number < scales - 1:
            layers.append(SplitPrior(shape[0], context_channels=context_channels))
        levels.append(Compose(*layers))
        shape = (shape[0] // 2, *shape[1:])
    return Multiscale(levels, event_shape)


def image_preprocessing(kind: Preprocessing, alpha: float) -> Bijection:
    """Build the map from [0, 1) to what the first level sees: the logit, or [-1, 1)."""
    maps: dict[str, Callable[[], Bijection]] = {"logit": lambda: Logit(alpha), "centre": lambda: Scale(2.0, shift=-0.5)}
    return _choose("preprocessing", kind, maps)


def _choose(option: str, value: str, builders: dict[str, Callable[[], Built]]) -> Built:
    if value not in builders:
        raise ValueError(f"unknown {option} {value!r}: choose one of {', '.join(map(repr, builders))}")
    return builders[value]()
