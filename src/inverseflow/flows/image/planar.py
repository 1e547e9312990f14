"""A flow of linear layers and splines alone, for comparing linear layers."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from typing_extensions import Unpack

from inverseflow.bijections import Bijection, Compose, Shape, Squeeze
from inverseflow.densities import register
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.layers import complete, layer_defaults
from inverseflow.flows.image.options import PlanarKwargs, Preprocessing, StepOptions
from inverseflow.flows.image.step import image_preprocessing, image_shape, image_step
from inverseflow.names import LayerName


@register("planar")
class PlanarFlow(Flow):
    r"""L blocks of K layers with a squeeze between blocks and a spline after every layer but the last.

    The default is the model of nine linear layers that compares them where nothing else mixes pixels or channels: there
    is no 1×1 convolution (``"emerging"`` brings its own), no ActNorm and no coupling, and no channels are factored out.
    The first block works on the image at its own size, so ``"finc"`` needs images of 4 channels.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image, or that of a sequence or a volume, as in `ImageFlow`; each
            side is a multiple of :math:`2^{L-1}`.
        scales: number of blocks L, each at its own scale.
        steps: number of layers K in each block.
        step: ``kernel_size``, ``max_row_sum``, ``max_spectral_norm``, ``spline`` (``"element"`` by default),
            ``spline_bins`` (5), ``spline_bound``, and ``width``, which only ``"mintnet"`` has; `ImageFlow` explains
            these, the layers, the other arguments and the errors.

    Reference:
        Keller et al., `Self Normalizing Flows <https://arxiv.org/abs/2011.07248>`_, 2021, section 4.2; Nagar and Varma,
        `Inverse-Flow <https://arxiv.org/abs/2410.14634>`_, AISTATS 2025, table 4.

    Example:
        >>> flow = PlanarFlow((1, 28, 28), layer="exact")
        >>> sum(parameter.numel() for parameter in flow.parameters())
        95242
    """

    paper_options = MappingProxyType[str, Any]({})

    def __init__(
        self,
        event_shape: Shape,
        *,
        layer: LayerName = "inverse",
        levels: int | None = 256,
        scales: int = 3,
        steps: int = 3,
        preprocessing: Preprocessing = "logit",
        alpha: float = 1e-6,
        **step: Unpack[PlanarKwargs],
    ) -> None:
        shape = image_shape(event_shape, scales, steps)
        given: PlanarKwargs = {"spline": "element", "spline_bins": 5, **step}
        options = complete(StepOptions(layer=layer, actnorm=False, conv1x1="none", coupling="none", **given))
        layers: list[Bijection] = []
        for index in range(scales * steps):
            if index and index % steps == 0:
                layers.append(Squeeze(spatial_axes=len(shape) - 1))
                shape = layers[-1].output_shape(shape)
            last = index == scales * steps - 1
            layers.append(image_step(replace(options, spline="none") if last else options, shape, index))
        prepared = image_preprocessing(preprocessing, alpha, levels)
        super().__init__(Compose(*layers), event_shape, levels=levels, preprocessing=prepared)
        saved = ("spline", "spline_bins", "spline_bound", "width", *layer_defaults(layer))
        self.resolved_options = {name: getattr(options, name) for name in saved}
