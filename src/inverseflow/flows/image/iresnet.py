"""Residual flow of images."""

from functools import partial

from inverseflow.bijections import ActNorm, Residual, Shape
from inverseflow.bijections.residual import ResidualLogDet
from inverseflow.densities import register
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.options import Preprocessing
from inverseflow.flows.image.step import Step, image_multiscale, image_preprocessing, seen_context
from inverseflow.nets import LipschitzNet
from inverseflow.utils.arguments import whole_number


@register("iresnet-image")
class ImageIResNet(Flow):
    """Invertible residual network of images, sequences and volumes: steps that add a contraction of the whole event.

    At each of L scales: squeeze, then K steps of `ActNorm` and `Residual`, whose network has kernels of side 3, 1 and
    3. At the end of each scale but the last, half of the channels are factored out under a learned prior. `IResNet` is
    the form for vectors.

    Log-determinants of scales of more than 64 elements are stochastic estimates, in evaluation too; see `Residual`. The
    bits per dimension are then neither exact nor a bound, but their mean is a bound up to 0.001 nats per element and
    step.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image, ``(C, T)`` of a sequence or ``(C, D, H, W)`` of a volume; each
            side is a multiple of :math:`2^L`.
        levels: number of gray levels of integer images, None for continuous data.
        scales: number of scales L.
        steps: number of steps K at each scale.
        width: hidden channels of the networks.
        depth: hidden layers of the networks.
        kernel_size: side of the outer kernels of the networks.
        max_lipschitz: bound of the Lipschitz constant of each step's network, below 1; see `IResNet`.
        log_det: how the log-determinant is computed in training; see `Residual`.
        preprocessing: ``"logit"``, or ``"center"`` to [-1, 1); continuous data are taken as they are.
        alpha: the squash before the logit.
        context_channels: channels of the context, None for an unconditional flow; see `ImageFlow`. The networks of all
            steps see it.

    Raises:
        ValueError: if the shape can't be squeezed that often, or an argument is out of its range.

    Reference:
        Behrmann et al., `Invertible Residual Networks <https://arxiv.org/abs/1811.00995>`_, 2019, section 4; Chen et
        al., `Residual Flows <https://arxiv.org/abs/1906.02735>`_, 2019.

    Example:
        >>> flow = ImageIResNet((1, 8, 8), levels=17, steps=2, width=16)
        >>> images = torch.randint(17, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.initialize(images)
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
        width: int = 64,
        depth: int = 2,
        kernel_size: int = 3,
        max_lipschitz: float = 0.9,
        log_det: ResidualLogDet = "auto",
        preprocessing: Preprocessing = "logit",
        alpha: float = 0.05,
        context_channels: int | None = None,
    ) -> None:
        if context_channels is not None:
            whole_number("context_channels", context_channels, at_least=1)
        net = partial(
            LipschitzNet,
            width=width,
            depth=depth,
            max_lipschitz=max_lipschitz,
            kernel_size=kernel_size,
            spatial_axes=len(event_shape) - 1,
        )

        def build(shape: Shape, index: int) -> Step:
            residual = Residual(shape[0], net, log_det=log_det, context_channels=seen_context(context_channels))
            return Step(ActNorm(shape[0]), residual)

        multiscale = image_multiscale(build, event_shape, scales=scales, steps=steps, context_channels=context_channels)
        prepared = image_preprocessing(preprocessing, alpha, levels)
        super().__init__(multiscale, event_shape, levels=levels, preprocessing=prepared)
