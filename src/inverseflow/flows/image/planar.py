"""A flow of linear layers and splines alone, for comparing linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from inverseflow.bijections import Bijection, Compose, Shape, Squeeze
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.step import (
    Preprocessing,
    SplineSharing,
    check_architecture,
    image_preprocessing,
    image_step,
)
from inverseflow.flows.registry import register


@register("planar")
class PlanarFlow(Flow):
    r"""L blocks of K layers with a squeeze between blocks and a spline after every layer but the last.

    By default the model of nine linear layers by which they are compared where nothing else mixes pixels or channels:
    no 1×1 convolution (``"emerging"`` brings its own), no ActNorm, no coupling, and no channels that leave early. The
    first block works on the image as it is, so ``"finc"`` needs images of 4 channels.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image; H and W are multiples of :math:`2^{L-1}`.
        layer: name of the layer, as for `ImageFlow`.
        levels: number of grey levels of integer images, None for continuous data.
        scales: number of blocks L, each at its own scale.
        steps: number of layers K in each block.
        kernel_size: side of the layer's kernel, None for 3.
        bound: the layer's bound, as for `ImageFlow`.
        spline: ``"none"``, or how the splines' knots are shared: ``"shared"``, ``"channel"`` or ``"element"``.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline.
        width: hidden channels of ``"mintnet"``; the other layers have none.
        preprocessing: ``"logit"``, or ``"centre"`` to [-1, 1); continuous data are taken as they are.
        alpha: the squash before the logit.

    Shape:
        x: ``(B, C, H, W)``, grey levels (uint8 up to 256) or, with ``levels=None``, floating-point;
        log_prob: ``(B,)`` in nats; latent: ``(B, C H W)``.

    Raises:
        ValueError: the shape can't be squeezed that often, an argument is out of its range, or the layer does not
            have the option.

    Reference:
        Keller et al., Self Normalizing Flows, 2021, section 4.2; Nagar and Varma, Inverse-Flow, AISTATS 2025, table 4.

    Example:
        >>> flow = PlanarFlow((1, 28, 28), layer="exact")
        >>> sum(parameter.numel() for parameter in flow.parameters())
        95242
    """

    paper_architecture: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(
        self,
        event_shape: Shape,
        *,
        layer: str = "inverse",
        levels: int | None = 256,
        scales: int = 3,
        steps: int = 3,
        kernel_size: int | None = None,
        bound: float | None = None,
        spline: SplineSharing = "element",
        spline_bins: int = 5,
        spline_bound: float = 10.0,
        width: int = 64,
        preprocessing: Preprocessing = "logit",
        alpha: float = 1e-6,
    ) -> None:
        check_architecture(event_shape, scales, steps)
        if len(event_shape) != 3:
            raise ValueError(f"an image has the shape (C, H, W), got {tuple(event_shape)}")
        step = partial(
            image_step,
            layer=layer,
            kernel_size=kernel_size,
            bound=bound,
            spline_bins=spline_bins,
            spline_bound=spline_bound,
            actnorm=False,
            width=width,
        )
        layers: list[Bijection] = []
        shape = tuple(event_shape)
        count = scales * steps
        for index in range(count):
            if index and index % steps == 0:
                layers.append(Squeeze())
                shape = layers[-1].output_shape(shape)
            layers.append(step(index, shape, spline=spline if index < count - 1 else "none"))
        super().__init__(
            Compose(*layers),
            event_shape,
            levels=levels,
            preprocessing=image_preprocessing(preprocessing, alpha) if levels is not None else None,
        )
