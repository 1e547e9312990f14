"""The multi-scale image flow that the named flows are presets of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from inverseflow.bijections import Shape
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.layers import KERNEL_SIZE, layer_kind
from inverseflow.flows.image.step import (
    Conv1x1Form,
    CouplingForm,
    Preprocessing,
    SplineSharing,
    image_multiscale,
    image_preprocessing,
    image_step,
)
from inverseflow.flows.registry import register

ImageFlowClass = TypeVar("ImageFlowClass", bound="type[ImageFlow]")


@register("image")
class ImageFlow(Flow):
    r"""Multi-scale image flow around a k×k layer of one's choice.

    At each of L scales: squeeze, then K steps of k×k layer → spline → ActNorm → 1×1 convolution → coupling, then half
    of the channels leave under a learned prior (not at the last scale). Layers that start at a corner of the image
    cycle through all four corners from step to step. The flows with names are presets of this one.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image; H and W are multiples of :math:`2^L`.
        layer: the k×k layer of each step: ``"none"``, ``"inverse"``, ``"cinc"``, ``"finc"``, ``"emerging"``,
            ``"arma"`` (its two parts from opposed corners, ``"arma-adjacent"`` from two of one row, ``"arma-same"``
            from one), ``"periodic"``, ``"exponential"``, ``"exact"``, ``"self-normalizing"``, ``"woodbury"``,
            ``"memory-efficient-woodbury"``, ``"butterfly"``, ``"macow"`` (two units) or ``"mintnet"`` (both orders).
        levels: number of grey levels of integer images, None for continuous data.
        scales: number of scales L.
        steps: number of steps K at each scale.
        kernel_size: side k of the layer's kernel, None for 3. ``"macow"`` sees k columns of two rows.
        bound: None, or the bound ρ < 1 on the taps' row sums that keeps the inverse of each one-sided convolution below
            1 / (1 - ρ); of ``"exponential"`` the largest spectral norm, 0.9 by default.
        spline: ``"none"``, or how the splines' knots are shared: ``"shared"``, ``"channel"`` or ``"element"``.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline.
        conv1x1: ``"none"``, ``"dense"`` or ``"lu"``. Without it ``"emerging"`` brings one of its own.
        coupling: ``"affine"``, ``"quad"`` for four blocks of channels, or ``"none"``.
        width: hidden channels of the couplings' networks, and of ``"mintnet"``.
        preprocessing: ``"logit"``, or ``"centre"`` to [-1, 1); continuous data are taken as they are.
        alpha: the squash before the logit.
        context_channels: length of the context vector, None for an unconditional flow.

    Shape:
        x: ``(B, C, H, W)``, grey levels (uint8 up to 256) or, with ``levels=None``, floating-point;
        log_prob: ``(B,)`` in nats; latent: ``(B, C H W)``.

    Raises:
        ValueError: the shape can't be squeezed that often, an argument is out of its range, or the layer does not
            have the option.

    Reference:
        Kingma & Dhariwal, Glow, 2018, section 3, for the step and the scales; Nagar and Varma, Inverse-Flow, AISTATS
        2025, section 4, for the place of the k×k layer and of the spline.

    Example:
        >>> flow = ImageFlow((1, 8, 8), layer="emerging", levels=17, scales=2, steps=2, width=16)
        >>> images = torch.randint(17, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.initialize(images)
        >>> torch.equal(flow.decode(flow.encode(images)), images)
        True
    """

    def __init__(
        self,
        event_shape: Shape,
        *,
        layer: str = "inverse",
        levels: int | None = 256,
        scales: int = 2,
        steps: int = 4,
        kernel_size: int | None = None,
        bound: float | None = None,
        spline: SplineSharing = "channel",
        spline_bins: int = 8,
        spline_bound: float = 10.0,
        conv1x1: Conv1x1Form = "lu",
        coupling: CouplingForm = "affine",
        width: int = 64,
        preprocessing: Preprocessing = "logit",
        alpha: float = 1e-6,
        context_channels: int | None = None,
    ) -> None:
        if context_channels is not None and coupling == "none" and scales == 1:
            raise ValueError(
                f"context_channels={context_channels} conditions the couplings and the priors between scales, and with "
                "coupling='none' and scales=1 there are none; take a coupling or more scales"
            )
        step = partial(
            image_step,
            layer=layer,
            kernel_size=kernel_size,
            bound=bound,
            spline=spline,
            spline_bins=spline_bins,
            spline_bound=spline_bound,
            conv1x1=conv1x1,
            coupling=coupling,
            width=width,
            context_channels=context_channels,
        )
        super().__init__(
            image_multiscale(event_shape, scales=scales, steps=steps, step=step, context_channels=context_channels),
            event_shape,
            levels=levels,
            preprocessing=image_preprocessing(preprocessing, alpha) if levels is not None else None,
        )


def preset(
    name: str, *, layer: str, paper: Mapping[str, Any] | None = None, **defaults: Any
) -> Callable[[ImageFlowClass], ImageFlowClass]:
    """Register a subclass of `ImageFlow` that has its layer, the options that go with it, and its own defaults.

    Args:
        name: what the registry calls the flow.
        layer: the k×k layer of each step, which is no option any more.
        paper: options that bring the step closer to that of the flow's publication, None where there is none.
        defaults: defaults that differ from those of `ImageFlow`.

    Example:
        >>> @preset("plain", layer="none", spline="none", steps=2)
        ... class Plain(ImageFlow):
        ...     '''Affine couplings and nothing else that bends.'''
        >>> Plain((1, 4, 4), levels=None, scales=1).config["options"]["steps"]
        2
    """
    kind = layer_kind(layer)
    defaults = {"kernel_size": KERNEL_SIZE, **defaults}
    left_out = {"layer"} | {option for option in ("kernel_size", "bound") if not getattr(kind, option)}
    full = inspect.signature(ImageFlow.__init__)
    own = full.replace(
        parameters=[
            parameter.replace(default=defaults.get(option, parameter.default))
            for option, parameter in full.parameters.items()
            if option not in left_out
        ]
    )

    def enter(cls: ImageFlowClass) -> ImageFlowClass:
        def build(*args: Any, **kwargs: Any) -> None:
            bound = own.bind(*args, **kwargs)
            bound.apply_defaults()
            ImageFlow.__init__(**bound.arguments, layer=layer)

        build.__signature__ = own  # type: ignore[attr-defined]
        cls.__init__ = build  # type: ignore[method-assign]
        cls.paper_architecture = paper
        return register(name)(cls)

    return enter
