"""Data near a manifold of fewer dimensions: a flow that charts it, and a density on the chart."""

import torch
from torch import Generator, Tensor

from inverseflow.densities import Density
from inverseflow.errors import LayerError
from inverseflow.flows.flow import Flow


class ManifoldFlow(Density):
    r"""A density on a manifold of d dimensions in D: a flow f of vectors charts it, a density p is on the chart.

    .. math:: u = f(x)_{\le d}, \qquad g(u) = f^{-1}(u, 0), \qquad
        \log p(x) = \log p(u) - \tfrac12 \log\det J^\top J, \quad J = \partial g / \partial u

    `log_prob` is the density by d-dimensional area (length, if d = 1) at the point g(u) of the manifold that x is
    projected to, not a density in D dimensions: `reconstruction_error` tells how far x is from there. Train the chart
    by the error, then the density on the chart by likelihood::

        fit(manifold, x, objective=ReconstructionLoss())
        fit(manifold.density, manifold.encode(x).detach())

    One chart covers what can be flattened without a cut. A circle or a sphere can't: take one dimension more than the
    manifold has, or accept a seam.

    Args:
        chart: a flow of continuous vectors (D,), such as `NSF`, without context; its own base density is not used.
        density: a density of vectors (d,), with d < D.

    Shape:
        x: ``(B, D)``; u: ``(B, d)``.

    Raises:
        TypeError: if the chart is no flow.
        ValueError: if the events do not fit, or the chart is conditional or of whole numbers.

    Reference:
        Brehmer and Cranmer, Flows for simultaneous manifold learning and density estimation, 2020, sections 2 and 3,
        https://arxiv.org/abs/2003.13913.

    Example:
        >>> manifold = ManifoldFlow(NSF((3,)), NSF((2,)))
        >>> x = manifold.sample(5)
        >>> manifold.encode(x).shape, manifold.log_prob(x).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, chart: Flow, density: Density) -> None:
        if not isinstance(chart, Flow):
            raise TypeError(f"chart must be a Flow, got {chart!r}")
        if len(chart.event_shape) != 1 or not chart.continuous or chart.context_shape is not None:
            raise ValueError(
                f"chart must be a flow of continuous vectors (D,) without context, got one of events "
                f"{chart.event_shape}; flatten them"
            )
        if len(density.event_shape) != 1 or not density.continuous or density.dims >= chart.dims:
            raise ValueError(
                f"density must be one of continuous vectors (d,) with d < {chart.dims}, got events "
                f"{density.event_shape}; without a manifold the chart alone is the density"
            )
        super().__init__(chart.event_shape)
        self.chart, self.density = chart, density

    @property
    def latent(self) -> int:
        """Dimensions d of the manifold."""
        return self.density.dims

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the coordinates ``(B, d)`` on the chart; those of points off the manifold are of their projection."""
        return self.chart.encode(x)[:, : self.latent]

    def decode(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the points ``(B, D)`` of the manifold with these coordinates ``(B, d)``."""
        self._check_batch(u, (self.latent,))
        return self.chart.decode(torch.cat([u, u.new_zeros(len(u), self.dims - self.latent)], 1))

    def project(self, x: Tensor) -> Tensor:
        """Return the points ``(B, D)`` of the manifold that stand for x: ``decode(encode(x))``."""
        return self.decode(self.encode(x))

    def reconstruction_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the squared distance ``(B,)`` of each x from its projection."""
        return (x - self.project(x)).square().sum(1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `reconstruction_error`, by which `ReconstructionLoss` trains the chart."""
        return self.reconstruction_error(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` on the manifold, by area, at the projection of each x.

        Raises:
            LayerError: if the chart is singular at a point, where the manifold has no area.
        """
        u = self.encode(x)
        return self.density.log_prob(u) - self.log_area(u)

    def log_area(self, u: Tensor) -> Tensor:
        r"""Return :math:`\tfrac12 \log\det J^\top J` ``(B,)`` at coordinates ``(B, d)``, by d forward derivatives.

        Raises:
            LayerError: if J has not full rank at a point.
        """
        directions = torch.eye(self.latent, dtype=u.dtype, device=u.device)
        columns = [torch.func.jvp(self.decode, (u,), (direction.expand_as(u),))[1] for direction in directions]
        lengths = torch.linalg.qr(torch.stack(columns, -1)).R.diagonal(dim1=-2, dim2=-1).abs()
        if not bool((lengths > 0).all()):
            raise LayerError("the chart is singular: its Jacobian has not full rank at a point, so there is no area")
        area: Tensor = lengths.log().sum(1)
        return area

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the chart from data; training the density initializes that."""
        self.chart.initialize(x)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n points ``(n, D)`` on the manifold; arguments and errors as for `Density.sample`."""
        return self.decode(self.density.sample(n, temperature=temperature, generator=generator))
