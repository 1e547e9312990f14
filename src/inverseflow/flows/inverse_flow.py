"""Inverse-Flow."""

from __future__ import annotations

from inverseflow.bijections import Bijection, InverseConv2d, Shape
from inverseflow.flows.flow import Flow
from inverseflow.flows.registry import register
from inverseflow.flows.steps import (
    Conv1x1Form,
    Preprocessing,
    SplineSharing,
    image_multiscale,
    image_preprocessing,
    image_step,
)
from inverseflow.ops import CORNERS


@register("inverse-flow")
class InverseFlow(Flow):
    r"""Image flow whose k×k layers solve from image to latent, so that sampling is plain convolutions.

    At each of L scales: squeeze, then K steps of inverse convolution → spline → ActNorm → 1×1 convolution → affine
    coupling, then half of the channels leave under a learned prior (not at the last scale). The corners of the
    inverse convolutions cycle through all four from step to step.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image; H and W are multiples of :math:`2^L`.
        levels: number of grey levels of integer images, None for continuous data.
        scales: number of scales L.
        steps: number of steps K at each scale.
        kernel_size: side k of the inverse convolutions.
        bound: None, or the bound ρ < 1 on the taps' row sums that keeps each inverse below 1 / (1 - ρ).
        spline: ``"none"``, or how the splines' knots are shared: ``"shared"``, ``"channel"`` or ``"element"``.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline.
        conv1x1: ``"none"``, ``"dense"`` or ``"lu"``.
        width: hidden channels of the couplings' networks.
        preprocessing: ``"logit"``, or ``"centre"`` to [-1, 1); continuous data are taken as they are.
        alpha: the squash before the logit.
        context_channels: length of the context vector, None for an unconditional flow.

    Shape:
        x: ``(B, C, H, W)``, grey levels (uint8 up to 256) or, with ``levels=None``, floating-point;
        log_prob: ``(B,)`` in nats; latent: ``(B, C H W)``.

    Raises:
        ValueError: the shape can't be squeezed that often, or an argument is out of its range.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 4.

    Example:
        >>> flow = InverseFlow((1, 8, 8), levels=17, scales=2, steps=2, width=16)
        >>> images = torch.randint(17, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.initialize(images)
        >>> flow.bits_per_dim(images).shape
        torch.Size([4])
        >>> torch.equal(flow.decode(flow.encode(images)), images)
        True
    """

    def __init__(
        self,
        event_shape: Shape,
        *,
        levels: int | None = 256,
        scales: int = 2,
        steps: int = 4,
        kernel_size: int = 3,
        bound: float | None = None,
        spline: SplineSharing = "channel",
        spline_bins: int = 8,
        spline_bound: float = 10.0,
        conv1x1: Conv1x1Form = "lu",
        width: int = 64,
        preprocessing: Preprocessing = "logit",
        alpha: float = 1e-6,
        context_channels: int | None = None,
    ) -> None:
        def step(index: int, shape: Shape) -> Bijection:
            return image_step(
                shape,
                convolution=InverseConv2d(shape[0], kernel_size, corner=CORNERS[index % 4], bound=bound),
                spline=spline,
                spline_bins=spline_bins,
                spline_bound=spline_bound,
                conv1x1=conv1x1,
                width=width,
                context_channels=context_channels,
            )

        super().__init__(
            image_multiscale(event_shape, scales=scales, steps=steps, step=step, context_channels=context_channels),
            event_shape,
            levels=levels,
            preprocessing=image_preprocessing(preprocessing, alpha) if levels is not None else None,
        )
