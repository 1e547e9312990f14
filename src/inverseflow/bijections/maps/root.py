"""Base class of the maps whose inverse has no closed form."""

from abc import abstractmethod

from torch import Tensor

from inverseflow.bijections.maps.base import ElementwiseMap
from inverseflow.errors import ConvergenceError
from inverseflow.ops import Root, monotone_root
from inverseflow.ops.precision import at_least_single

MIN_SLOPE = 0.02
"""The least slope of a map. A flatter one would lose in rounding z what its inverse needs to find x."""
MAX_ERROR = 1e-4
r"""The largest error of an inverse, relative to max(1, \|x\|), that rounding of z may cause."""


class RootMap(ElementwiseMap):
    """Base class of maps with a derivative but no inverse in closed form, which is a root: see `ops.monotone_root`.

    A subclass writes `_prepare`, `_evaluate` and `_bracket`. Computed in at least single precision. The inverse raises
    `ConvergenceError` where rounding z moves x by more than 1e-4.
    """

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the function."""
        z, slope = self._evaluate(at_least_single(x), *self._prepared(parameters))
        return z.to(x.dtype), slope.log().to(x.dtype)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the equation f(x) = z."""
        exact, prepared = at_least_single(z), self._prepared(parameters)
        start, reach = self._bracket(exact.detach(), *(tensor.detach() for tensor in prepared))
        root = monotone_root(self._evaluate, exact, *prepared, start=start, reach=reach)
        x = determined(root, self)
        return x.to(z.dtype), -self._evaluate(x, *prepared)[1].log().to(z.dtype)

    def _prepared(self, parameters: Tensor) -> tuple[Tensor, ...]:
        return self._prepare(at_least_single(parameters).movedim(1, 0).contiguous())  # sums over a first axis are fast

    @abstractmethod
    def _prepare(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """Return what `_evaluate` takes, ``(..., B, *rest)``, of predicted parameters ``(P, B, *rest)``."""

    @abstractmethod
    def _evaluate(self, x: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(x) and f'(x), both of x's shape."""

    @abstractmethod
    def _bracket(self, z: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return where to look for the root first, and how far from there it may be."""


def determined(root: Root, map: object) -> Tensor:
    """Return the value of a root, or raise ConvergenceError if rounding of its equation leaves it undetermined."""
    if root.error > MAX_ERROR:
        raise ConvergenceError(
            f"rounding z in {root.value.dtype} alone moves the inverse of {map} by a share of {root.error:.1g}; "
            "compute in float64, or keep the parameters smaller"
        )
    return root.value
