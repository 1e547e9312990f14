"""One map of single elements after another."""

from dataclasses import dataclass

from torch import Tensor

from inverseflow.bijections.maps.base import ElementwiseMap


@dataclass(frozen=True)
class ComposedMap(ElementwiseMap):
    r"""Several maps one after the other: :math:`z = \phi_n(\dots\phi_1(x;\theta_1)\dots;\theta_n)`.

    The parameters are those of the first map, then those of the second, and so on. ``ComposedMap((MixtureCDF(),
    Affine()))`` is the map of Flow++, :math:`z = G^{-1}(F(x))\,e^a + b` with F the distribution function of a mixture
    of logistics.

    Args:
        maps: the maps, at least one.

    Raises:
        TypeError: if one of them is no map.
        ValueError: if there is none.

    Reference:
        Ho et al., Flow++, 2019, section 3.2, https://arxiv.org/abs/1902.00275.

    Example:
        >>> map = ComposedMap((MixtureCDF(components=4), Affine()))
        >>> x, parameters = torch.randn(2, 3), torch.randn(2, map.num_parameters, 3)
        >>> z, log_derivative = map.forward(x, parameters)
        >>> torch.allclose(map.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    maps: tuple[ElementwiseMap, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", tuple(self.maps))
        if not self.maps:
            raise ValueError("maps must hold at least one map, got none")
        for map in self.maps:
            if not isinstance(map, ElementwiseMap):
                raise TypeError(f"maps must hold instances of ElementwiseMap, got {map!r}")

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: the sum over the maps."""
        return sum(map.num_parameters for map in self.maps)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map by the first, then by the second, and so on."""
        return self._apply(x, parameters, inverse=False)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map back by the last, then by the one before it, and so on."""
        return self._apply(z, parameters, inverse=True)

    def _apply(self, x: Tensor, parameters: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        steps = list(zip(self.maps, parameters.split([map.num_parameters for map in self.maps], 1), strict=True))
        log_derivative = 0.0 * x
        for map, own in reversed(steps) if inverse else steps:
            x, term = (map.inverse if inverse else map.forward)(x, own)
            log_derivative = log_derivative + term
        return x, log_derivative
