"""Networks whose Lipschitz constant is bounded by construction, for residual flows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.nets.conv import check_axes
from inverseflow.ops import conv_spectral_norm_bound
from inverseflow.ops.precision import at_least_single
from inverseflow.utils.arguments import finite_number, whole_number

_SQUARINGS = 8  # the bound of a matrix of 64 rows is then at most 1.01 times its norm


class LipschitzConv(nn.Module):
    r"""Same-padded convolution, or a linear layer if it has no spatial axes, that stretches no distance by more than c.

    .. math:: y = \min(1, c / \hat\sigma(K))\, K * x + b

    σ̂ is an upper bound of the spectral norm of the convolution on events of the size at hand, with its zeros at the
    borders: `inverseflow.ops.conv_spectral_norm_bound`. It is a function of the weight alone. So the constant holds
    in training, evaluation, and after loading, and no vector has to be saved or iterated.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel, odd; without spatial axes, 1.
        max_lipschitz: c, the largest Lipschitz constant in the 2-norm.
        spatial_axes: number of spatial axes, from 0 to 3.

    Shape:
        x: ``(B, in_channels, *spatial)``; y: ``(B, out_channels, *spatial)``.

    Reference:
        Gouk et al., Regularisation of Neural Networks by Enforcing Lipschitz Continuity, 2021,
        https://arxiv.org/abs/1804.04368; the bound: Delattre et al., Efficient Bound of Lipschitz Constant for
        Convolutional Layers by Gram Iteration, 2023, https://arxiv.org/abs/2305.16173.

    Example:
        >>> layer, x = LipschitzConv(2, 8, max_lipschitz=0.5), torch.randn(2, 2, 6, 6)
        >>> y = layer(x)
        >>> bool((y[0] - y[1]).norm() <= 0.5 * (x[0] - x[1]).norm())
        True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        max_lipschitz: float = 0.9,
        spatial_axes: int = 2,
    ) -> None:
        super().__init__()
        self.spatial_axes = whole_number("spatial_axes", spatial_axes, at_least=0, at_most=3)
        self.kernel_size = whole_number("kernel_size", kernel_size, at_least=1)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}; the output has the size of the input")
        self.max_lipschitz = finite_number("max_lipschitz", max_lipschitz, above=0)
        in_channels = whole_number("in_channels", in_channels, at_least=1)
        out_channels = whole_number("out_channels", out_channels, at_least=1)
        kernel = [self.kernel_size] * self.spatial_axes
        bound = 1 / math.sqrt(in_channels * math.prod(kernel))
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the scaled kernel."""
        check_axes(self, x, self.spatial_axes)
        return convolve(x, self.scaled_weight(x.shape[2:]), at_least_single(self.bias)).to(x.dtype)

    def scaled_weight(self, size: tuple[int, ...] = ()) -> Tensor:
        """Return the kernel for events of this size, scaled, in at least single precision."""
        weight = at_least_single(self.weight)
        norm = conv_spectral_norm_bound(weight, size, squarings=_SQUARINGS)
        return weight * (self.max_lipschitz / norm.clamp_min(self.max_lipschitz))

    def extra_repr(self) -> str:
        """Show the channels, the kernel and the Lipschitz constant."""
        outputs, inputs = self.weight.shape[:2]
        kernel = f", kernel_size={self.kernel_size}" if self.spatial_axes else ""
        return f"{inputs}, {outputs}{kernel}, max_lipschitz={self.max_lipschitz:g}"


class LipschitzLinear(LipschitzConv):
    """Linear layer that stretches no distance by more than `max_lipschitz`; see `LipschitzConv`.

    Args:
        in_channels: length of the input.
        out_channels: length of the output.
        max_lipschitz: the largest Lipschitz constant in the 2-norm.

    Shape:
        x: ``(B, in_channels)``; y: ``(B, out_channels)``.

    Example:
        >>> layer = LipschitzLinear(3, 2, max_lipschitz=0.5)
        >>> bool(torch.linalg.matrix_norm(layer.scaled_weight(), 2) <= 0.5)
        True
    """

    def __init__(self, in_channels: int, out_channels: int, *, max_lipschitz: float = 0.9) -> None:
        super().__init__(in_channels, out_channels, 1, max_lipschitz=max_lipschitz, spatial_axes=0)


class LipSwish(nn.Module):
    r"""Smooth activation with a Lipschitz constant of 1 for every β > 0, which is learned.

    .. math:: \phi(x) = \frac{x \, \sigma(\beta x)}{1.1}, \qquad \beta = \operatorname{softplus}(b)

    Its second derivative does not vanish, which the gradient of a log-determinant needs.

    Args:
        beta: β at the start.

    Reference:
        Chen et al., Residual Flows for Invertible Generative Modeling, 2019, section 3.2,
        https://arxiv.org/abs/1906.02735.

    Example:
        >>> LipSwish()(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        beta = finite_number("beta", beta, above=0)
        self.raw_beta = nn.Parameter(torch.tensor(beta + math.log(-math.expm1(-beta))))

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each element."""
        return x * (F.softplus(self.raw_beta) * x).sigmoid() / 1.1

    def with_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return φ(x) and φ'(x)."""
        scaled = F.softplus(self.raw_beta) * x
        gate = scaled.sigmoid() / 1.1
        return x * gate, gate + scaled * gate * (1 - 1.1 * gate)


class LipschitzNet(nn.Module):
    r"""Network with a bounded Lipschitz constant in x, over any number of axes; the last layer starts at zero.

    .. math:: h_0 = x, \quad h_l = \phi(W_l h_{l-1} + C_l c), \quad y = W_{d+1} h_d, \qquad
        \operatorname{Lip} \le \prod_l \lVert W_l \rVert_2 \le \text{max\_lipschitz}

    Each W is a `LipschitzConv` of constant :math:`\text{max\_lipschitz}^{1/(d+1)}`, and φ is `LipSwish`. The first and
    the last have kernels of side `kernel_size`, those between are pointwise. The maps C of the context c are free: the
    inverse of a residual layer needs a contraction in x alone. Hidden layers start orthogonal, and so with flat
    spectra. They keep the norm of x, so that a unit sees numbers in proportion to
    :math:`\sqrt{\text{in\_channels} / \text{width}}`; β starts at 4 divided by that.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        width: hidden channels.
        depth: number of hidden layers d; at least 1 with a context, which nothing else sees.
        max_lipschitz: bound of the Lipschitz constant in x, in the 2-norm.
        kernel_size: side of the outer kernels, odd; without spatial axes it is 1.
        spatial_axes: number of spatial axes, from 0 to 3.
        context_channels: channels of the context, None for none.

    Shape:
        x: ``(B, in_channels, *spatial)``; context: ``(B, K)`` or ``(B, K, *spatial)``;
        y: ``(B, out_channels, *spatial)``.

    Reference:
        Behrmann et al., Invertible Residual Networks, 2019, section 2.1, https://arxiv.org/abs/1811.00995.

    Example:
        >>> net = LipschitzNet(2, 2, width=16, max_lipschitz=0.8, context_channels=3)
        >>> net(torch.randn(5, 2), torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        depth: int = 2,
        *,
        max_lipschitz: float = 0.9,
        kernel_size: int = 3,
        spatial_axes: int = 0,
        context_channels: int | None = None,
    ) -> None:
        super().__init__()
        width = whole_number("width", width, at_least=1)
        depth = whole_number("depth", depth, at_least=0 if context_channels is None else 1)
        self.max_lipschitz = finite_number("max_lipschitz", max_lipschitz, above=0)
        self.spatial_axes = whole_number("spatial_axes", spatial_axes, at_least=0, at_most=3)
        kernel_size = whole_number("kernel_size", kernel_size, at_least=1)
        if context_channels is not None:
            context_channels = whole_number("context_channels", context_channels, at_least=1)
        self.context_channels = context_channels
        inner = [width] * depth
        self.layers = nn.ModuleList(
            LipschitzConv(
                inputs,
                outputs,
                kernel_size if self.spatial_axes and index in (0, depth) else 1,
                max_lipschitz=self.max_lipschitz ** (1 / (depth + 1)),
                spatial_axes=self.spatial_axes,
            )
            for index, (inputs, outputs) in enumerate(pairwise([in_channels, *inner, out_channels]))
        )
        for layer in [*self.layers][:depth]:
            nn.init.orthogonal_(layer.weight)
        for parameter in self.layers[depth].parameters():
            nn.init.zeros_(parameter)
        self.activations = nn.ModuleList(LipSwish(4 * math.sqrt(width / in_channels)) for _ in range(depth))
        self.context = None if context_channels is None else nn.Linear(context_channels, width * depth, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return y; a network that is built with `context_channels` needs a context, and no other takes one."""
        check_axes(self, x, self.spatial_axes)
        return self.bind(x.shape[2:], context)(x)

    def bind(self, size: tuple[int, ...], context: Tensor | None = None) -> "BoundNet":
        """Return the network as a function of x alone, with weights and context prepared once for many evaluations.

        Args:
            size: the spatial shape of x.
            context: the context of the batch.
        """
        if (context is None) != (self.context_channels is None):
            got = "none" if context is None else f"one of shape {tuple(context.shape)}"
            raise ValueError(f"this LipschitzNet is built with context_channels={self.context_channels}, got {got}")
        layers: list[LipschitzConv] = [*self.layers]
        weights = [layer.scaled_weight(size) for layer in layers]
        biases = [at_least_single(layer.bias) for layer in layers]
        return BoundNet(weights, biases, self._context_terms(context, len(size)), [*self.activations])

    def _context_terms(self, context: Tensor | None, axes: int) -> Sequence[Tensor]:
        """Return what the context adds to each hidden layer."""
        if self.context is None or context is None:
            return ()
        weight = at_least_single(self.context.weight)
        terms = F.linear(context.to(weight.dtype).movedim(1, -1), weight).movedim(-1, 1)
        return terms.reshape(*terms.shape, *[1] * (2 + axes - terms.ndim)).chunk(len(self.layers) - 1, dim=1)


@dataclass(frozen=True)
class BoundNet:
    """A `LipschitzNet` for one context, as a function of x."""

    weights: Sequence[Tensor]
    """Scaled kernels."""
    biases: Sequence[Tensor]
    """Biases."""
    terms: Sequence[Tensor]
    """What the context adds to each hidden layer, nothing without a context."""
    activations: Sequence[LipSwish]
    """Activations between the layers."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the value at x."""
        h = self._layer(0, x)
        for index, activation in enumerate(self.activations, start=1):
            h = self._layer(index, activation(h))
        return h

    def linearize(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the value at x, and the function from tangents ``(P, *x.shape)`` to their products with the Jacobian.

        It is in closed form, of operations that can be differentiated, mapped, compiled and recomputed.
        """
        h, slopes = self._layer(0, x), []
        for index, activation in enumerate(self.activations, start=1):
            h, slope = activation.with_slope(h)
            slopes.append(slope)
            h = self._layer(index, h)

        def push(tangents: Tensor) -> Tensor:
            count, batch, *_ = tangents.shape
            for index, weight in enumerate(self.weights):
                tangents = tangents * slopes[index - 1] if index else tangents
                pushed = convolve(tangents.reshape(count * batch, *tangents.shape[2:]), weight)
                tangents = pushed.reshape(count, batch, *pushed.shape[1:])
            return tangents

        return h, push

    def _layer(self, index: int, h: Tensor) -> Tensor:
        h = convolve(h, self.weights[index], self.biases[index])
        return h + self.terms[index] if index < len(self.terms) else h


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a same-padded convolution of an odd kernel over none to three spatial axes."""
    axes = weight.ndim - 2
    if axes == 0:
        return F.linear(x.to(weight.dtype), weight, bias)
    apply: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return apply(x.to(weight.dtype), weight, bias, padding=weight.shape[-1] // 2)


def lipschitz_constant(net: nn.Module) -> float:
    """Return the Lipschitz constant that a network is built with.

    It is the network's own attribute ``max_lipschitz``, as of the networks of this module. The constant of a
    `torch.nn.Sequential` is the product of those of its parts; ELU, softplus, tanh and the identity count as 1.

    Raises:
        TypeError: if a part does not tell its constant.

    Example:
        >>> net = nn.Sequential(LipschitzLinear(2, 8, max_lipschitz=0.9), nn.ELU(), LipschitzLinear(8, 2))
        >>> round(lipschitz_constant(net), 4)
        0.81
    """
    own = getattr(net, "max_lipschitz", None)
    if own is not None:
        return finite_number("max_lipschitz", own, above=0)
    if isinstance(net, nn.Sequential):
        return math.prod(map(lipschitz_constant, net))
    is_tame = (isinstance(net, nn.ELU) and abs(net.alpha) <= 1) or (
        isinstance(net, nn.Softplus) and net.threshold >= 20  # where it jumps to the identity
    )
    if is_tame or isinstance(net, (LipSwish, nn.Tanh, nn.Identity)):
        return 1.0
    raise TypeError(
        f"the Lipschitz constant of {type(net).__name__} is not known; take LipschitzNet, a Sequential of "
        "LipschitzLinear or LipschitzConv with ELU, Softplus, Tanh or LipSwish between them, or a network with an "
        "attribute max_lipschitz that its construction guarantees"
    )
