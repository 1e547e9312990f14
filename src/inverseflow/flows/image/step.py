"""The step and the multi-scale architecture that the image flows share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    QuadCoupling,
    Scale,
    Shape,
    SplineActivation,
    SplitPrior,
    Squeeze,
)
from inverseflow.flows.image.layers import build_layer
from inverseflow.nets import ConvNet

SplineSharing = Literal["none", "shared", "channel", "element"]
Conv1x1Form = Literal["none", "dense", "lu"]
CouplingForm = Literal["affine", "quad", "none"]
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
    index: int,
    shape: Shape,
    *,
    layer: str,
    kernel_size: int | None,
    bound: float | None,
    spline: SplineSharing,
    spline_bins: int,
    spline_bound: float,
    actnorm: bool = True,
    conv1x1: Conv1x1Form = "none",
    coupling: CouplingForm = "none",
    width: int = 64,
    context_channels: int | None = None,
) -> Step:
    """Build k×k layer → spline → ActNorm → 1×1 convolution → coupling, each of which may be left out.

    Args:
        index: number of the step, from 0.
        shape: the event ``(C, H, W)`` at this step.
        layer: name of the k×k layer, a key of `inverseflow.flows.image.layers.LAYERS`.
        kernel_size: side of the layer's kernel, None for its own default.
        bound: the layer's bound, None for its own default.
        spline: how the spline activation's knots are shared, or ``"none"``.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline.
        actnorm: whether there is an ActNorm.
        conv1x1: the form of the 1×1 convolution, or ``"none"``.
        coupling: ``"affine"``, ``"quad"`` (of four blocks) or ``"none"``.
        width: hidden channels of the coupling's network, and of a layer that has any.
        context_channels: length of the context vector, None for an unconditional step.
    """
    channels, *size = shape
    convolution = build_layer(
        layer,
        shape,
        index=index,
        kernel_size=kernel_size,
        bound=bound,
        mixed=conv1x1 != "none",
        width=width,
    )
    couplings: Builders = {
        "affine": lambda: _affine_coupling(channels, width, context_channels),
        "quad": lambda: QuadCoupling(channels, partial(ConvNet, width=width), context_channels=context_channels),
        "none": lambda: None,
    }
    splines: Builders = {
        "none": lambda: None,
        "shared": lambda: SplineActivation(bins=spline_bins, bound=spline_bound),
        "channel": lambda: SplineActivation(channels, bins=spline_bins, bound=spline_bound),
        "element": lambda: SplineActivation(channels, size=tuple(size), bins=spline_bins, bound=spline_bound),
    }
    mixes: Builders = {"none": lambda: None, "dense": lambda: Conv1x1(channels), "lu": lambda: LUConv1x1(channels)}
    last = _choose("coupling", coupling, couplings)  # drawn before the others' weights, as always
    layers = [
        convolution,
        _choose("spline", spline, splines),
        ActNorm(channels) if actnorm else None,
        _choose("conv1x1", conv1x1, mixes),
        last,
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
    check_architecture(event_shape, scales, steps)
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


def check_architecture(event_shape: Shape, scales: int, steps: int) -> None:
    """Raise if an image has no elements, or a flow no steps."""
    if min(event_shape, default=0) < 1:
        raise ValueError(f"an image has at least one channel, row and column, got shape {tuple(event_shape)}")
    for name, value in (("scales", scales), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} is at least 1, got {value}")


def image_preprocessing(kind: Preprocessing, alpha: float) -> Bijection:
    """Build the map from [0, 1) to what the first level sees: the logit, or [-1, 1)."""
    maps: dict[str, Callable[[], Bijection]] = {"logit": lambda: Logit(alpha), "centre": lambda: Scale(2.0, shift=-0.5)}
    return _choose("preprocessing", kind, maps)


def _affine_coupling(channels: int, width: int, context_channels: int | None) -> AffineCoupling:
    kept = channels // 2
    net = ConvNet(kept + (context_channels or 0), 2 * (channels - kept), width)
    return AffineCoupling(channels, net, context_channels=context_channels)


def _choose(option: str, value: str, builders: dict[str, Callable[[], Built]]) -> Built:
    if value not in builders:
        raise ValueError(f"unknown {option} {value!r}: choose one of {', '.join(map(repr, builders))}")
    return builders[value]()
