"""The multi-scale flow of images, sequences and volumes, of which the named flows are special cases."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, ClassVar

from typing_extensions import Unpack

from inverseflow.bijections import Shape
from inverseflow.densities import register
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.layers import complete, layer_defaults
from inverseflow.flows.image.options import LAYER_OPTIONS, Dequantization, Preprocessing, StepKwargs, StepOptions
from inverseflow.flows.image.step import (
    image_dequantization,
    image_multiscale,
    image_preprocessing,
    image_step,
    seen_context,
)
from inverseflow.names import LayerName


@register("image")
class ImageFlow(Flow):
    r"""Multi-scale image flow around a k×k layer of one's choice.

    At each of L scales: squeeze, then K steps of k×k layer → spline → ActNorm → 1×1 convolution → coupling. At the end
    of each scale but the last, half of the channels are factored out under a learned prior. Layers that start at a
    corner of the image cycle through all four corners from step to step.

    Sequences and volumes have the same flow. A squeeze makes 2 channels of one in a sequence and 8 in a volume, which
    have as many corners. They have the layers ``"none"``, ``"inverse"``, ``"cinc"``, ``"finc"``, ``"emerging"`` and
    those of ``"arma"``; the other layers work on images alone.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image, ``(C, T)`` of a sequence or ``(C, D, H, W)`` of a volume; each
            side is a multiple of :math:`2^L`. A gray image has a channel too: ``(1, 28, 28)``, while ``(28, 28)`` is
            a sequence of 28 channels.
        layer: the k×k layer of each step: ``"none"``, ``"inverse"``, ``"cinc"``, ``"finc"``, ``"emerging"``,
            ``"arma"`` (its two parts from opposed corners, ``"arma-adjacent"`` from two of one row, ``"arma-same"``
            from one), ``"periodic"``, ``"exponential"``, ``"exact"``, ``"self-normalizing"``, ``"woodbury"``,
            ``"memory-efficient-woodbury"``, ``"butterfly"``, ``"macow"`` (two units) or ``"mintnet"`` (both orders).
        levels: number of gray levels of integer images, None for continuous data.
        scales: number of scales L.
        steps: number of steps K at each scale.
        preprocessing: ``"logit"``, or ``"center"`` to [-1, 1); continuous data are taken as they are.
        alpha: the squash before the logit.
        dequantization: noise that makes gray levels continuous: ``"uniform"``, or ``"variational"``, a flow that is
            trained with this one (`VariationalDequantize`).
        kernel_size: side k of the layer's kernel, None for 3. ``"macow"`` sees k columns of two rows.
        max_row_sum: None, or the bound ρ < 1 on the taps' row sums of one-sided convolutions, which keeps each inverse
            below 1 / (1 - ρ).
        max_spectral_norm: the largest spectral norm of ``"exponential"``, None for 0.9.
        spline: ``"none"``, or how the splines' knots are shared: ``"shared"``, ``"channel"`` or ``"element"``.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline.
        conv1x1: ``"none"``, ``"dense"``, ``"lu"``, or ``"permutation"`` for a random one in its place. Without a 1×1
            convolution ``"emerging"`` brings one of its own.
        coupling: ``"affine"``, ``"additive"``, ``"spline"``, ``"mixture"`` for the distribution function of a mixture
            of logistics and an affine map after it, as in Flow++, ``"quad"`` for an affine one of four blocks of
            channels, or ``"none"``. In its place ``"autoregressive"`` maps each patch given those before it, by a
            causal transformer as in TarFlow, in orders that alternate from step to step.
        components: logistics in each mixture of a ``"mixture"`` coupling.
        conditioner: network of the couplings: ``"conv"`` (`ConvNet`), ``"resnet"`` (`ResNet`), ``"gated"``
            (`GatedResNet`) or ``"vit"`` (`ViT`).
        width: hidden channels of the couplings' networks, and of ``"mintnet"``.
        depth: blocks of a conditioner, but of ``"conv"``, which has none.
        patch_size: side of the patches of a transformer, after the squeeze.
        heads: heads of the attention of a transformer.
        context_channels: channels K of the context; None for an unconditional flow. A context is a vector ``(B, K)``,
            or spatial ``(B, K, *spatial)`` with the sizes of the images or multiples of them; each scale sees it at
            its own size.
            The couplings, and the priors that every scale then ends with, see it with maps of it (`ContextMaps`), so
            that a label acts on each place differently.

    Raises:
        ValueError: if the shape can't be squeezed that often, an argument is out of its range, or the layer does not
            have the option.

    Reference:
        Kingma and Dhariwal, `Glow <https://arxiv.org/abs/1807.03039>`_, 2018, section 3, for the step and the scales;
        Nagar and Varma, `Inverse-Flow <https://arxiv.org/abs/2410.14634>`_, AISTATS 2025, section 4, for the place of
        the k×k layer and of the spline.

    Example:
        >>> flow = ImageFlow((1, 8, 8), layer="emerging", levels=17, scales=2, steps=2, width=16)
        >>> images = torch.randint(17, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.initialize(images)
        >>> torch.equal(flow.decode(flow.encode(images)), images)
        True
        >>> ImageFlow((2, 16), levels=None, steps=2, width=16).sample(3).shape
        torch.Size([3, 2, 16])
    """

    paper_options: ClassVar[Mapping[str, Any] | None] = None
    """Options that bring a named flow closer to its publication's, None if there is no publication."""

    def __init__(
        self,
        event_shape: Shape,
        *,
        layer: LayerName = "inverse",
        levels: int | None = 256,
        scales: int = 2,
        steps: int = 4,
        preprocessing: Preprocessing = "logit",
        alpha: float = 1e-6,
        dequantization: Dequantization = "uniform",
        **step: Unpack[StepKwargs],
    ) -> None:
        options = complete(StepOptions(layer=layer, **step))
        context_channels = options.context_channels
        build_step = partial(image_step, replace(options, context_channels=seen_context(context_channels)))
        bijection = image_multiscale(
            build_step, event_shape, scales=scales, steps=steps, context_channels=context_channels
        )
        prepared = image_preprocessing(preprocessing, alpha, levels)
        noise = image_dequantization(dequantization, options.width, tuple(event_shape), levels)
        super().__init__(bijection, event_shape, levels=levels, preprocessing=prepared, dequantize=noise)
        absent = {"layer", "actnorm", *LAYER_OPTIONS} - set(layer_defaults(layer))
        self.resolved_options = {
            **{"levels": levels, "scales": scales, "steps": steps, "preprocessing": preprocessing, "alpha": alpha},
            "dequantization": dequantization,
            **{name: value for name, value in asdict(options).items() if name not in absent},
        }
