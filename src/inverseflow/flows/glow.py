"""Glow, for comparison."""

from __future__ import annotations

from inverseflow.bijections import Bijection, Shape
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


@register("glow")
class Glow(Flow):
    r"""The image flow of `InverseFlow` without its k×k layers: ActNorm → 1×1 convolution → affine coupling.

    At each of L scales: squeeze, then K steps, then half of the channels leave under a learned prior (not at the
    last scale).

    With the default spline it is `InverseFlow` without the inverse convolution and nothing else changed, for fair
    comparisons; the flow of the paper is that with ``spline="none"``.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image; H and W are multiples of :math:`2^L`.
        levels: number of grey levels of integer images, None for continuous data.
        scales: number of scales L.
        steps: number of steps K at each scale.
        spline: ``"none"``, or how the knots of a spline before each ActNorm are shared: ``"shared"``, ``"channel"`` or
            ``"element"``.
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
        Kingma & Dhariwal, Glow, 2018.

    Example:
        >>> flow = Glow((3, 8, 8), scales=2, steps=2, width=16)
        >>> flow.sample(2).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        event_shape: Shape,
        *,
        levels: int | None = 256,
        scales: int = 2,
        steps: int = 4,
        spline: SplineSharing = "channel",
        spline_bins: int = 8,
        spline_bound: float = 10.0,
        conv1x1: Conv1x1Form = "lu",
        width: int = 64,
        preprocessing: Preprocessing = "logit",
        alpha: float = 1e-6,
        context_channels: int | None = None,
    ) -> None:
        def step(_: int, shape: Shape) -> Bijection:
            return image_step(
                shape,
                convolution=None,
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
