"""The invertible graph network: residual blocks of graph filters between node features and node labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from inverseflow.bijections import Bijection, Compose
from inverseflow.bijections.base import LogDet
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.nets import LipSwish
from inverseflow.ops import invert_residual
from inverseflow.training import Loss

_APART = 3.719  # Φ⁻¹(0.9999): clouds of two labels touch at this many deviations
_MOST_ITERATIONS = 200


def chebyshev(adjacency: Tensor, order: int) -> Tensor:
    r"""Return the Chebyshev polynomials of a graph's scaled Laplacian, ``(order + 1, V, V)``.

    .. math:: T_0 = I, \quad T_1 = \tilde L = -D^{-1/2} A D^{-1/2}, \quad T_k = 2 \tilde L T_{k-1} - T_{k-2}

    The eigenvalues of L̃ are in [-1, 1], so no polynomial has a spectral norm above 1.

    Args:
        adjacency: the symmetric matrix A, ``(V, V)``.
        order: largest order; a filter of this order reaches so many edges far.

    Example:
        >>> chebyshev(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 1)[1].tolist()
        [[-0.0, -1.0], [-1.0, -0.0]]
    """
    scale = adjacency.sum(0).clamp(min=1).rsqrt()
    laplacian = -scale[:, None] * adjacency * scale
    polynomials = [torch.eye(len(adjacency), dtype=adjacency.dtype), laplacian]
    while len(polynomials) <= order:
        polynomials.append(2 * laplacian @ polynomials[-1] - polynomials[-2])
    return torch.stack(polynomials[: order + 1])


class GraphFilter(nn.Module):
    r"""A linear map of node features that mixes nodes by polynomials of the Laplacian.

    .. math:: Y = b + \sum_k W_k X T_k, \qquad \lVert \cdot \rVert \le \sum_k \lVert W_k \rVert_2

    Args:
        in_channels: features of a node.
        out_channels: features of a node in the result.
        polynomials: T, from `chebyshev`.
        max_lipschitz: scale W so that the bound is at most this; None leaves W as it is.

    Shape:
        x: ``(B, in_channels, V)``; y: ``(B, out_channels, V)``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, polynomials: Tensor, max_lipschitz: float | None = None
    ) -> None:
        super().__init__()
        self.max_lipschitz = max_lipschitz
        self.polynomials: Tensor
        self.register_buffer("polynomials", polynomials, persistent=False)
        size = 1 / math.sqrt(in_channels * len(polynomials))
        self.weight = nn.Parameter(torch.empty(len(polynomials), out_channels, in_channels).uniform_(-size, size))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def scaled_weight(self) -> Tensor:
        """Return W, scaled to the bound."""
        if self.max_lipschitz is None:
            return self.weight
        bound = torch.linalg.matrix_norm(self.weight, 2).sum()
        scaled: Tensor = self.weight * (self.max_lipschitz / bound.clamp(min=self.max_lipschitz))
        return scaled

    def forward(self, x: Tensor) -> Tensor:
        """Filter a batch."""
        return self.bias[:, None] + torch.einsum("koi,biv,kvw->bow", self.scaled_weight(), x, self.polynomials)

    def matrix(self) -> Tensor:
        """Return the filter as a matrix between flat features, ``(out_channels V, in_channels V)``."""
        return torch.einsum("koi,kvw->owiv", self.scaled_weight(), self.polynomials).flatten(2).flatten(0, 1)


class GraphResidual(Bijection):
    """Add two graph filters, with a smooth activation between them, to the features of all nodes.

    With a bound below 1 it is invertible by construction. Without, nothing makes it so: a transport cost in the
    objective encourages it, and the inverse raises if its fixed point is not found. The log-determinant is exact.

    Args:
        channels: features of a node.
        width: hidden features of a node.
        polynomials: from `chebyshev`.
        max_lipschitz: bound of the Lipschitz constant of what is added, None for none.

    Raises:
        ConvergenceError: if the inverse does not converge.
    """

    def __init__(self, channels: int, width: int, polynomials: Tensor, max_lipschitz: float | None) -> None:
        super().__init__(channels=channels)
        each = None if max_lipschitz is None else math.sqrt(max_lipschitz)
        self.inner = GraphFilter(channels, width, polynomials, each)
        self.activation = LipSwish(2.0)
        self.outer = GraphFilter(width, channels, polynomials, each)
        with torch.no_grad():
            self.outer.weight.mul_(0.1)

    def added(self, x: Tensor) -> Tensor:
        """Return what is added to x."""
        change: Tensor = self.outer(self.activation(self.inner(x)))
        return change

    def jacobian(self, x: Tensor) -> Tensor:
        """Return the Jacobians of what is added, ``(B, D, D)`` with the D features of all nodes."""
        slope = self.activation.with_slope(self.inner(x))[1].flatten(1)
        return (self.outer.matrix() * slope[:, None]) @ self.inner.matrix()

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        jacobian = self.jacobian(x)
        eye = torch.eye(jacobian.shape[1], dtype=x.dtype)
        return x + self.added(x), torch.linalg.slogdet(eye + jacobian).logabsdet

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = invert_residual(self.added, z, max_iterations=_MOST_ITERATIONS).value
        return x, -self._forward(x, None)[1]


class IGNN(Density):
    r"""Density of the features of all nodes given their labels.

    .. math:: H_v \mid Y_v \sim N(\mu_{Y_v}, \sigma^2 I), \qquad H = F(X), \qquad
        \log p(X \mid Y) = \log p(F(X) \mid Y) + \log|\det \partial F / \partial X|

    The likelihood is that of a whole graph. The means μ are learned; the objective keeps them apart.

    Args:
        adjacency: the graph, ``(V, V)``.
        channels: features of a node.
        classes: number of labels.
        blocks: residual blocks.
        width: hidden features of a node.
        order: edges that one filter reaches.
        max_lipschitz: bound of the Lipschitz constant of each block, None for blocks without a guarantee.
        deviation: σ.

    Reference:
        Xu, Cheng and Xie, `Invertible Neural Networks for Graph Prediction <https://arxiv.org/abs/2206.01163>`_, 2022.
    """

    def __init__(
        self,
        adjacency: Tensor,
        *,
        channels: int = 2,
        classes: int = 3,
        blocks: int = 6,
        width: int = 32,
        order: int = 1,
        max_lipschitz: float | None = None,
        deviation: float = 0.25,
    ) -> None:
        nodes = len(adjacency)
        super().__init__((channels, nodes), context_shape=(classes, nodes))
        polynomials = chebyshev(adjacency, order)
        layers = [GraphResidual(channels, width, polynomials, max_lipschitz) for _ in range(blocks)]
        self.flow = Compose(*layers)
        self.deviation = deviation
        self.means = nn.Parameter(3 * torch.randn(classes, channels))
        self.classifier = nn.Linear(channels, classes)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density of each graph's features; contexts are labels, one-hot ``(B, K, V)``."""
        h, log_det = self.flow(x)
        log_prob: Tensor = self._log_prior(h, self._labels(context, x)) + log_det
        return log_prob

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw features of n graphs, given their labels."""
        n, context, temperature = self._sampling_args(n, context, temperature)
        self._check_context(context, self.means.new_empty(n))
        assert context is not None
        noise = torch.randn(n, *self.event_shape, generator=generator)
        h = torch.einsum("kc,bkv->bcv", self.means, context) + temperature * self.deviation * noise
        x: Tensor = self.flow.inverse(h)[0]
        return x

    def predict(self, x: Tensor) -> Tensor:
        """Return the likeliest label of each node, ``(B, V)``."""
        h: Tensor = self.flow(x)[0]
        labels: Tensor = self.classifier(h.mT).argmax(2)
        return labels

    def terms(self, x: Tensor, context: Tensor) -> dict[str, Tensor]:
        """Return the means over a batch of what the objective adds up."""
        h, log_det, cost = x, torch.zeros(len(x)), torch.zeros(())
        for block in self.flow.layers:
            after, own = block(h)
            cost = cost + (after - h).square().flatten(1).sum(1).mean() / 2
            h, log_det = after, log_det + own
        away = torch.pdist(self.means) - 2 * _APART * self.deviation
        return {
            "nats": -(self._log_prior(h, context) + log_det).mean(),
            "cross_entropy": F.cross_entropy(self.classifier(h.mT).mT, context.argmax(1)),
            "transport": cost,
            "barrier": F.softplus(-5 * away).mean(),
        }

    def _log_prior(self, h: Tensor, labels: Tensor) -> Tensor:
        mean = torch.einsum("kc,bkv->bcv", self.means, labels)
        log_prob: Tensor = torch.distributions.Normal(mean, self.deviation).log_prob(h).flatten(1).sum(1)
        return log_prob

    def _labels(self, context: Tensor | None, x: Tensor) -> Tensor:
        self._check_context(context, x)
        assert context is not None
        return context


@dataclass(frozen=True)
class GraphObjective:
    """The likelihood, the cross-entropy of a linear classifier of labels, and the transport cost of the blocks.

    Args:
        classifier: weight of the cross-entropy.
        transport: weight γ of the transport cost.
    """

    classifier: float = 1.0
    transport: float = 0.0

    def __call__(self, model: Any, batch: Batch, /) -> Loss:
        """Return the weighted sum."""
        assert batch.context is not None
        terms = model.terms(batch.x, batch.context)
        total = (
            terms["nats"]
            + self.classifier * terms["cross_entropy"]
            + self.transport * terms["transport"]
            + 10 * terms["barrier"]
        )
        return Loss(total, terms)


@torch.no_grad()
def largest_lipschitz(model: IGNN, x: Tensor) -> float:
    """Return the largest spectral norm of the Jacobian of what any block adds at these points: a lower bound."""
    largest, h = 0.0, x
    for block in model.flow.layers:
        assert isinstance(block, GraphResidual)
        largest = max(largest, float(torch.linalg.matrix_norm(block.jacobian(h), 2).max()))
        h = block(h)[0]
    return largest
