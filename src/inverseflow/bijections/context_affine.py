"""An affine map given by the context."""

from torch import Tensor

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import sum_event
from inverseflow.bijections.maps import Affine
from inverseflow.nets import ZeroConv
from inverseflow.nets.conditioner import append
from inverseflow.utils.arguments import whole_number


class ContextAffine(Bijection):
    r"""Scale and shift every element by functions of the context: last in a flow, a learned prior of each context.

    .. math:: z = x \odot \exp(s(c)) + t(c)

    with s and t one zero-initialized convolution of side 3 over the context, and every scale in :math:`[e^{-1}, e]`.

    Args:
        channels: number of channels C.
        context_channels: channels K of the context.
        spatial_axes: number of spatial axes, from 1 to 3.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Reference:
        Kingma and Dhariwal, Glow, 2018, the public code (the prior given a label), https://arxiv.org/abs/1807.03039.

    Example:
        >>> z, log_det = ContextAffine(4, 10)(torch.randn(2, 4, 7, 7), torch.eye(10)[:2])
    """

    def __init__(self, channels: int, context_channels: int, *, spatial_axes: int = 2) -> None:
        axes = whole_number("spatial_axes", spatial_axes)
        super().__init__(channels=channels, context_channels=context_channels, spatial_axes=axes)
        self.map = Affine(1.0)
        self.net = ZeroConv(context_channels, self.map.num_parameters * channels, spatial_axes=axes)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z, log_derivative = self.map.forward(x, self._predict(x, context))
        return z, sum_event(log_derivative)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x, log_derivative = self.map.inverse(z, self._predict(z, context))
        return x, sum_event(log_derivative)

    def _predict(self, x: Tensor, context: Tensor | None) -> Tensor:
        assert context is not None
        prediction: Tensor = self.net(append(x[:, :0], context))
        parameters: Tensor = prediction.to(x.dtype).unflatten(1, (self.map.num_parameters, -1))
        return parameters
