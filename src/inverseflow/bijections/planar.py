"""Planar and radial layers: vectors moved along one direction, or towards one point."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.nets import MLP
from inverseflow.nets.conditioner import Builder, build_network
from inverseflow.ops.root import monotone_root
from inverseflow.ops.torch_internals import unwrap_functorch
from inverseflow.utils.arguments import whole_number

_SHIFT = 0.541324854612918  # log(e - 1), where the softplus is 1


class _FewParameters(Bijection):
    """Base class of layers of vectors with a few parameters, to which a network of the context adds."""

    def __init__(
        self, channels: int, initial: Tensor, context_channels: int | None, conditioner: nn.Module | Builder | None
    ) -> None:
        super().__init__(channels=channels, spatial_axes=0, context_channels=context_channels)
        self.raw = nn.Parameter(initial)
        self.net: nn.Module | None = None
        if self.context_channels is not None:
            linear = partial(MLP, width=1, depth=0)
            self.net = build_network(conditioner or linear, self.context_channels, len(initial), None)

    def _predicted(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the raw parameters, ``(1, P)`` or ``(B, P)``."""
        if self.net is None or context is None:
            return self.raw[None]
        raw: Tensor = self.raw + self.net(context.to(x.dtype))
        return raw


class Planar(_FewParameters):
    r"""Move vectors along one direction, by as much as their projection on another tells.

    .. math:: z = x + \hat u \tanh(w^T x + b), \qquad
        \log|\det| = \log\big(1 + \hat u^T w\,(1 - \tanh^2(w^T x + b))\big)

    :math:`\hat u = u + (m(w^T u) - w^T u)\, w / \lVert w \rVert^2` with :math:`m(a) = -1 + \log(1 + (e - 1)\, e^a)` has
    :math:`w^T \hat u > -1`, so that the map is increasing along w. It is the identity for u = 0, where it starts. The
    inverse finds the root of an increasing function of one number, with gradients of the implicit function. The layer
    bends space along one direction, and many are needed in high dimensions.

    Published as a map of samples: for variational inference take its `Inverse`, whose samples need no root finding.

    Args:
        channels: length D of the vectors.
        context_channels: length of the context vector, None for an unconditional layer.
        conditioner: what a context adds to w, u and b: a network, or a builder of it from the numbers of inputs and
            outputs, such as ``partial(MLP, width=64)``; None for a linear map.

    Shape:
        x: ``(B, D)``; z: the same; context: ``(B, K)``.

    Raises:
        ValueError: if w is zero.

    Reference:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015, section 4.1 and appendix A,
        https://arxiv.org/abs/1505.05770.

    Example:
        >>> layer, x = Planar(3), torch.randn(5, 3)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(
        self,
        channels: int,
        *,
        context_channels: int | None = None,
        conditioner: nn.Module | Builder | None = None,
    ) -> None:
        channels = whole_number("channels", channels, at_least=1)
        normal = torch.randn(channels) / channels**0.5
        initial = torch.cat([normal, torch.zeros(channels + 1)])
        super().__init__(channels, initial, context_channels, conditioner)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        w, u, b, gain = self._terms(x, context)
        moved, log_det = _bend((w * x).sum(1) + b, gain)
        return x + u * moved[:, None], log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        w, u, b, gain = self._terms(z, context)
        target = (w * z).sum(1) + b
        projection = monotone_root(_stretch, target, gain, start=target, reach=(gain - 1).abs() + 1e-3).value
        moved, log_det = _bend(projection, gain)
        return z - u * moved[:, None], -log_det

    def _terms(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Return w and û, ``(B, D)`` or ``(1, D)``, and b and :math:`1 + w^T û > 0`, one for each vector."""
        w, u, b = self._predicted(x, context).split([x.shape[1], x.shape[1], 1], dim=1)
        squared = w.square().sum(1)
        if not torch.compiler.is_compiling() and bool((unwrap_functorch(squared) == 0).any()):
            raise ValueError("w is zero in a Planar layer and gives no direction; start it away from zero")
        along = (w * u).sum(1)
        gain = F.softplus(along + _SHIFT)
        u = u + ((gain - 1 - along) / squared)[:, None] * w
        return w, u, b[:, 0].expand(x.shape[0]), gain.expand(x.shape[0])


class Radial(_FewParameters):
    r"""Move vectors away from one point or towards it, the more the nearer they are.

    .. math:: z = x + \frac{\hat\beta}{\alpha + r} (x - x_0), \qquad r = \lVert x - x_0 \rVert, \qquad
        \log|\det| = (D - 1) \log\Big(1 + \frac{\hat\beta}{\alpha + r}\Big)
        + \log\Big(1 + \frac{\hat\beta \alpha}{(\alpha + r)^2}\Big)

    with α > 0 and :math:`\hat\beta > -\alpha`. The inverse solves a quadratic equation of r. Starts at the identity,
    around a random point. The arguments, the shapes and what is said about variational inference of `Planar` apply; a
    context changes :math:`x_0`, α and β.

    Reference:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015, section 4.1 and appendix A,
        https://arxiv.org/abs/1505.05770.

    Example:
        >>> layer, x = Radial(3), torch.randn(5, 3)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(
        self,
        channels: int,
        *,
        context_channels: int | None = None,
        conditioner: nn.Module | Builder | None = None,
    ) -> None:
        channels = whole_number("channels", channels, at_least=1)
        initial = torch.cat([torch.randn(channels), torch.zeros(2)])
        super().__init__(channels, initial, context_channels, conditioner)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        center, alpha, total = self._terms(x, context)
        offset = x - center
        radius = _norm(offset)
        stretch, log_det = self._stretch(radius, alpha, total)
        return center + stretch[:, None] * offset, log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        center, alpha, total = self._terms(z, context)
        offset = z - center
        distance = _norm(offset)
        # r² - (R - α - β) r - α R = 0, by the formula of the two that doesn't cancel.
        linear = distance - total
        scale = distance.detach().clamp_min(1)  # squares of far points overflow
        root = scale * ((linear / scale).square() + 4 * (alpha / scale) * (distance / scale)).sqrt()
        half = 0.5 * root + 0.5 * linear.abs()
        radius = torch.where(linear >= 0, half, alpha * distance / half)
        stretch, log_det = self._stretch(radius, alpha, total)
        return center + offset / stretch[:, None], -log_det

    def _terms(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the center ``(B, D)`` or ``(1, D)``, α, and α + β > 0."""
        center, raw_alpha, raw_beta = self._predicted(x, context).split([x.shape[1], 1, 1], dim=1)
        return center, F.softplus(raw_alpha[:, 0]), F.softplus((raw_alpha + raw_beta)[:, 0])

    def _stretch(self, radius: Tensor, alpha: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 + β / (α + r) and the log-determinant, by sums of positive terms."""
        far = alpha + radius
        stretch = (radius + total) / far
        along = (radius / far) * ((radius + 2 * alpha) / far) + (alpha / far) * (total / far)
        return stretch, (self.raw.shape[0] - 3) * stretch.log() + along.log()


def _norm(vectors: Tensor) -> Tensor:
    """Return the lengths of vectors, whose squares may overflow."""
    scale = vectors.detach().abs().amax(1).clamp_min(1)
    lengths: Tensor = torch.linalg.vector_norm(vectors / scale[:, None], dim=1)
    return scale * lengths


def _stretch(projection: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projection of z that belongs to one of x, and its derivative; both increase by the gain around 0."""
    moved = projection.tanh()
    squared = moved.square()
    return projection + (gain - 1) * moved, gain * (1 - squared) + squared


def _bend(projection: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far a vector moves along û, and the log-determinant."""
    return projection.tanh(), _stretch(projection, gain)[1].log()
