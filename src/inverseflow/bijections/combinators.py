"""Bijections made of bijections."""

from __future__ import annotations

from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape


class Compose(Bijection):
    r"""Apply bijections one after the other.

    .. math:: z = f_n(\dots f_2(f_1(x))), \qquad \log|\det| = \sum_j \log|\det J_{f_j}|

    Args:
        layers: the bijections, first applied first.

    Shape:
        x: whatever the first layer takes; z: whatever the last one returns.

    Example:
        >>> flow = Compose(ActNorm(4), Permute.reverse(4))
        >>> z, log_det = flow(torch.randn(2, 4))
        >>> x, _ = flow.inverse(z)
    """

    def __init__(self, *layers: Bijection) -> None:
        super().__init__()
        for layer in layers:
            if not isinstance(layer, Bijection):
                raise TypeError(f"Compose takes bijections, got {layer!r}; pass several as Compose(*layers)")
        self.layers = nn.ModuleList(layers)
        self.accepts_integers = bool(layers) and layers[0].accepts_integers

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        total: LogDet = 0.0
        for layer in self.layers:
            x, log_det = layer(x, context)
            total = total + log_det
        return x, total

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        total: LogDet = 0.0
        for layer in reversed(self.layers):
            assert isinstance(layer, Bijection)
            z, log_det = layer.inverse(z, context)
            total = total + log_det
        return z, total

    def output_shape(self, shape: Shape) -> Shape:
        """Return the latent's shape for an event of this shape, or raise if a layer can't take it."""
        for layer in self.layers:
            assert isinstance(layer, Bijection)
            shape = layer.output_shape(shape)
        return shape

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape of the event whose latent has this shape, or raise if a layer can't take it."""
        for layer in reversed(self.layers):
            assert isinstance(layer, Bijection)
            shape = layer.input_shape(shape)
        return shape


class Inverse(Bijection):
    r"""The same bijection, the other way round.

    .. math:: z = f^{-1}(x)

    Args:
        bijection: the bijection f whose directions are swapped. Its parameters are shared, not copied.

    Shape:
        x: whatever f returns; z: whatever f takes.

    Example:
        >>> layer = ActNorm(3)
        >>> x = torch.randn(2, 3, 4, 4)
        >>> torch.equal(Inverse(layer)(x)[0], layer.inverse(x)[0])
        True
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        if not isinstance(bijection, Bijection):
            raise TypeError(f"Inverse takes a bijection, got {bijection!r}")
        self.bijection = bijection

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.bijection.inverse(x, context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z, log_det = self.bijection(z, context)
        return z, log_det

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape that the inner bijection takes to return this one."""
        return self.bijection.input_shape(shape)

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape that the inner bijection returns for this one."""
        return self.bijection.output_shape(shape)
