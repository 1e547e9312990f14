"""The residual layer: the identity plus a contraction."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.nets import LipschitzNet
from inverseflow.nets.conditioner import Builder, build_network, call_network, takes_context
from inverseflow.nets.lipschitz import BoundNet, lipschitz_constant
from inverseflow.ops import invert_residual
from inverseflow.ops.torch_internals import transforms_active
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Push = Callable[[Tensor], Tensor]
ResidualLogDet = Literal["auto", "exact", "series", "roulette"]
_SURE_TERMS = 2
_CHUNK = 64  # columns of a large Jacobian that are computed at once


_log_det_is_wanted = ContextVar("_log_det_is_wanted", default=True)


@contextmanager
def without_log_det() -> Iterator[None]:
    """Let the inverses of residual layers return log-determinants of zero, because they take most of the time."""
    token = _log_det_is_wanted.set(False)
    try:
        yield
    finally:
        _log_det_is_wanted.reset(token)


class Residual(Bijection):
    r"""Add a contraction to the identity: invertible for every network g with a Lipschitz constant L below 1.

    .. math:: z = x + g(x, c), \qquad \log\det(I + J) = \sum_{k=1}^\infty \frac{(-1)^{k+1}}{k} \operatorname{tr} J^k,
        \qquad J = \partial g / \partial x

    The inverse iterates :math:`x \leftarrow z - g(x)` until only rounding is left, or raises; its gradients are those
    of the implicit function. The log-determinant of either direction is computed in one of three ways:

    ``"exact"``
        The determinant of the dense Jacobian: deterministic. It takes D derivatives of g along a direction, where D is
        the number of elements of an event.
    ``"series"``
        The first n terms, each trace estimated with random signs v: :math:`\operatorname{tr} J^k = \mathbb{E}\,
        v^\top J^k v`. A stochastic estimate whose bias is at most `truncation_bound`.
    ``"roulette"``
        A random number of terms, with weights that make up for those left out: a stochastic estimate without bias.
        The gradient has none either. Every further term is taken with probability L, so that the variance is finite.

    The stochastic ways store one derivative of g for the backward pass, whatever the number of terms. Their estimates
    of a likelihood are neither exact nor bounds of it. They draw from PyTorch's default generator. In evaluation mode,
    events of up to `max_exact` elements are computed exactly, and larger ones by a series whose bias is at most
    `tolerance` per element.

    Args:
        channels: number of channels C.
        conditioner: the network g, or a builder of it, such as ``partial(LipschitzNet, width=64)``: a function of the
            numbers of input and output channels. Its Lipschitz constant must be guaranteed by its construction; see
            `inverseflow.nets.lipschitz.lipschitz_constant`. See `Coupling` for the context.
        log_det: how the log-determinant is computed in training: ``"exact"``, ``"series"``, ``"roulette"``, or
            ``"auto"``, which is exact for events of up to `max_exact` elements and the roulette for larger ones.
        terms: number of terms n of the series, None for as few as meet the tolerance; number of the roulette's first
            terms, which are always taken, None for 2.
        probes: number of vectors v of an estimate, over which it is averaged.
        tolerance: largest bias of a series, in nats per element.
        max_exact: largest number of elements D whose Jacobian is computed densely.
        context_channels: channels of the context c, None for an unconditional layer.
        max_iterations: most evaluations of g in the inverse.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        TypeError: if the Lipschitz constant of g is not known.
        ValueError: if it is 1 or more, if a series may have more bias than the tolerance, or if an event has too many
            elements for ``"exact"``.
        ConvergenceError: if the inverse does not converge.
        RuntimeError: if the gradient of a stochastic log-determinant is differentiated.

    Reference:
        Behrmann et al., Invertible Residual Networks, 2019, sections 2 and 3, https://arxiv.org/abs/1811.00995; the
        roulette: Chen et al., Residual Flows for Invertible Generative Modeling, 2019, section 3,
        https://arxiv.org/abs/1906.02735.

    Example:
        >>> layer = Residual(3, partial(LipschitzNet, width=16, max_lipschitz=0.9))
        >>> z, log_det = layer(torch.randn(5, 3))
        >>> round(layer.truncation_bound(3, terms=10), 3)
        0.552
    """

    full_precision = True

    def __init__(
        self,
        channels: int,
        conditioner: nn.Module | Builder,
        *,
        log_det: ResidualLogDet = "auto",
        terms: int | None = None,
        probes: int = 1,
        tolerance: float = 1e-3,
        max_exact: int = 64,
        context_channels: int | None = None,
        max_iterations: int = 1000,
    ) -> None:
        super().__init__(channels=channels, context_channels=context_channels)
        self.log_det: ResidualLogDet = one_of("log_det", log_det, get_args(ResidualLogDet))
        self.terms = None if terms is None else whole_number("terms", terms, at_least=1)
        self.probes = whole_number("probes", probes, at_least=1)
        self.tolerance = finite_number("tolerance", tolerance, above=0)
        self.max_exact = whole_number("max_exact", max_exact, at_least=0)
        self.max_iterations = whole_number("max_iterations", max_iterations, at_least=1)
        self.net = build_network(conditioner, channels, channels, self.context_channels)
        self.spatial_axes = getattr(self.net, "spatial_axes", None)
        self._context_apart = self.context_channels is not None and takes_context(self.net)
        self.max_lipschitz = lipschitz_constant(self.net)
        if self.max_lipschitz >= 1:
            raise ValueError(
                f"the network of a residual layer must have a Lipschitz constant below 1, got {self.max_lipschitz:g}; "
                "lower max_lipschitz: those of the layers multiply"
            )
        self._terms_needed = _terms_needed(self.max_lipschitz, self.tolerance)
        if self.log_det == "series" and self.terms is not None and self.terms < self._terms_needed:
            raise ValueError(
                f"a series of {self.terms} terms may err by {self.truncation_bound(1, terms=self.terms):.2g} nats per "
                f"element, above its tolerance of {self.tolerance:g}; take {self._terms_needed} terms, lower "
                "max_lipschitz, loosen tolerance, or take log_det='roulette'"
            )

    def truncation_bound(self, dims: int, *, terms: int | None = None) -> float:
        r"""Return the largest error of a truncated series in nats, :math:`-D [\ln(1 - L) + \sum_{k \le n} L^k / k]`.

        Args:
            dims: number of elements D of an event.
            terms: number of terms n, None for those of a series in evaluation mode.
        """
        return dims * _remainder(self.max_lipschitz, self._terms_needed if terms is None else terms)

    def estimates(self, dims: int) -> bool:
        """Return whether log-determinants of events of so many elements are stochastic, even in evaluation mode."""
        return self.log_det != "exact" and dims > self.max_exact

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of an event, or raise if the layer can't take it."""
        self._check_shape(shape)
        dims = math.prod(shape)
        if self.log_det == "exact" and dims > self.max_exact:
            raise ValueError(
                f"log_det='exact' takes events of up to max_exact={self.max_exact} elements, got {shape} of {dims}; "
                "take 'roulette' or 'series', or raise max_exact"
            )
        return shape

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape of an event, or raise if the layer can't take it."""
        return self.output_shape(shape)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        g = self._bind(x, context)
        value, log_det = self._evaluate(g, x)
        return x + value, log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        g = self._bind(z, context)
        if transforms_active():
            x = z
            for _ in range(_iterations_needed(self.max_lipschitz, z.dtype)):
                x = z - g(x)
        else:
            x = invert_residual(g, z, max_iterations=self.max_iterations).value
        if not (torch.compiler.is_compiling() or _log_det_is_wanted.get()):
            return x, 0.0
        return x, -self._evaluate(g, x)[1]

    def _bind(self, x: Tensor, context: Tensor | None) -> "BoundNet | _Differentiated":
        """Return g as a function of x alone."""
        context = None if self.context_channels is None else context
        if isinstance(self.net, LipschitzNet):
            return self.net.bind(x.shape[2:], context)
        return _Differentiated(self.net, context, self._context_apart, self._typical_parameter())

    def _evaluate(self, g: "BoundNet | _Differentiated", x: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(x) and the log-determinant of the layer at x, ``(B,)``."""
        value, push = g.linearize(x)
        small = math.prod(x.shape[1:]) <= self.max_exact
        if self.log_det == "exact" or (small and (self.log_det == "auto" or not self.training)):
            return value, exact_log_det(push, x)
        if not self.training:
            weights = [1.0] * self._terms_needed
        elif self.log_det == "series":
            weights = [1.0] * (self.terms or self._terms_needed)
        else:
            weights = _roulette(self.terms or _SURE_TERMS, self.max_lipschitz)
        return value, estimated_log_det(push, x, weights, self.probes)


class _Differentiated:
    """Any network for one context as a function of x, linearized by forward-mode differentiation."""

    def __init__(self, net: nn.Module, context: Tensor | None, context_apart: bool, like: Tensor | None) -> None:
        self._net, self._context, self._context_apart = net, context, context_apart
        self._dtype = None if like is None else like.dtype

    def __call__(self, x: Tensor) -> Tensor:
        """Return the value at x."""
        inner = x.to(self._dtype or x.dtype)
        return call_network(self._net, inner, self._context, context_apart=self._context_apart).to(x.dtype)

    def linearize(self, x: Tensor) -> tuple[Tensor, Push]:
        """Return the value at x, and the function from tangents to their products with the Jacobian."""
        x = x.contiguous()  # of an expanded tensor torch takes no tangents
        return self(x), vmap(lambda tangent: jvp(self, (x,), (tangent,))[1])


def exact_log_det(push: Push, x: Tensor) -> Tensor:
    """Return log|det(I + J)| at each x from the function that multiplies tangents ``(P, *x.shape)`` by J."""
    dims = math.prod(x.shape[1:])
    basis = torch.eye(dims, dtype=x.dtype, device=x.device)
    directions = basis.reshape(dims, 1, *x.shape[1:]).expand(dims, *x.shape)
    columns = torch.cat([push(part) for part in directions.split(_CHUNK)])
    jacobian = columns.reshape(dims, x.shape[0], dims).permute(1, 2, 0)
    log_det: Tensor = torch.linalg.slogdet(basis + jacobian).logabsdet
    return log_det


def estimated_log_det(push: Push, x: Tensor, weights: list[float], probes: int = 1) -> Tensor:
    r"""Return an estimate of the log-determinant with weights w of the terms of its series.

    .. math:: \sum_{k=1}^n \frac{(-1)^{k+1} w_k}{k} v^\top J^k v, \qquad
        \text{with the gradient of} \quad v^\top J \sum_{k=0}^{n-1} (-1)^k w_{k+1} J^k v

    in which only the first J is differentiated. Both have the right mean over v.

    Args:
        push: multiplies tangents ``(P, *x.shape)`` by J.
        x: the points, ``(B, ...)``.
        weights: the weight of each term.
        probes: number of vectors v.
    """
    v = torch.randint(2, (probes, *x.shape), device=x.device).to(x.dtype) * 2 - 1
    with torch.no_grad():
        estimate, u, combined = x.new_zeros(probes, x.shape[0]), v, torch.zeros_like(v)
        for k, weight in enumerate(weights, start=1):
            sign = 1 if k % 2 else -1
            combined = combined + sign * weight * u
            u = push(u)
            estimate = estimate + sign * weight / k * (v * u).flatten(2).sum(2)
    if torch.is_grad_enabled():
        surrogate = (v * push(combined)).flatten(2).sum(2)
        estimate = _WithGradientOf.apply(estimate, surrogate)  # type: ignore[no-untyped-call]
    return estimate.mean(0)


class _WithGradientOf(torch.autograd.Function):
    """The first argument with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, surrogate: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the gradient of a stochastic log-determinant can't be differentiated; take log_det='exact', or leave "
                "out create_graph"
            )
        return None, gradient


def _roulette(sure: int, probability: float) -> list[float]:
    """Draw the weights of the roulette: after the sure terms, each further one is taken with this probability."""
    uniform = 1 - float(torch.rand((), dtype=torch.float64, device="cpu"))
    further = int(math.log(uniform) / math.log(probability))
    return [1.0] * sure + [probability**-k for k in range(1, further + 1)]


def _remainder(lipschitz: float, terms: int) -> float:
    """Return the sum of L^k / k over all k above n."""
    difference = -math.log1p(-lipschitz) - math.fsum(lipschitz**k / k for k in range(1, terms + 1))
    return _above_rounding(difference, lipschitz, terms)


def _terms_needed(lipschitz: float, tolerance: float) -> int:
    difference, terms = -math.log1p(-lipschitz), 0
    while _above_rounding(difference, lipschitz, terms) > tolerance:
        terms += 1
        difference -= lipschitz**terms / terms
    return max(terms, 1)


def _above_rounding(difference: float, lipschitz: float, terms: int) -> float:
    """Return a remainder computed as a difference, or a bound of it by a geometric series where that is rounding."""
    return difference if difference > 1e-12 else lipschitz ** (terms + 1) / ((terms + 1) * (1 - lipschitz))


def _iterations_needed(lipschitz: float, dtype: torch.dtype) -> int:
    """Return after how many iterations the error of an inverse is below the rounding of the first step."""
    return math.ceil(math.log(torch.finfo(dtype).eps * (1 - lipschitz)) / math.log(lipschitz))
