"""Where parameters can lie, and the exact map from there to unbounded numbers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, StickBreakingTransform, constraints
from torch.distributions.constraints import Constraint

from inverseflow.errors import NonFiniteError, OptionError
from inverseflow.utils.arguments import finite_number, whole_number

_LEAST = 1e-15  # of an interval, by which a value at its very end is moved inside


@dataclass(frozen=True)
class Part(ABC):
    """One parameter, or several that are constrained together, such as the shares of a mixture.

    `to_real` and `from_real` compute in float64; the map is one-to-one but for the whole numbers of `Integer`.
    """

    kind: ClassVar[str]

    @property
    def columns(self) -> int:
        """Number of parameters."""
        return 1

    @property
    def dims(self) -> int:
        """Number of unbounded numbers that stand for them."""
        return 1

    @abstractmethod
    def contains(self, x: Tensor) -> Tensor:
        """Return whether each row ``(B, columns)`` lies in the part, ends included."""

    @abstractmethod
    def to_real(self, x: Tensor) -> Tensor:
        """Return the unbounded numbers ``(B, dims)`` of rows."""

    @abstractmethod
    def log_det(self, u: Tensor) -> Tensor:
        """Return the log-determinant ``(B,)`` of `to_real` where it leads to u."""

    @abstractmethod
    def from_real(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the rows ``(B, columns)`` of unbounded numbers, which lie in the part whatever they are."""


@dataclass(frozen=True)
class Real(Part):
    """A parameter without bounds."""

    kind = "real"

    def contains(self, x: Tensor) -> Tensor:
        """Return whether the values are finite."""
        return x.isfinite().all(1)

    def to_real(self, x: Tensor) -> Tensor:
        """Return the values themselves."""
        return x

    def log_det(self, u: Tensor) -> Tensor:
        """Return zero."""
        return u.new_zeros(len(u))

    def from_real(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the values themselves, or the largest finite ones."""
        return u.clamp(torch.finfo(dtype).min, torch.finfo(dtype).max).to(dtype)


@dataclass(frozen=True)
class Interval(Part):
    r"""A parameter between two bounds: :math:`x = l + (h - l)\,\Phi(u)`, so that a uniform prior becomes normal.

    Raises:
        ValueError: if the bounds are not finite, or the upper one is not above the lower one.
    """

    low: float
    high: float
    kind = "interval"

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", finite_number("low", self.low))
        object.__setattr__(self, "high", finite_number("high", self.high, above=self.low))

    def contains(self, x: Tensor) -> Tensor:
        """Return whether the values lie between the bounds."""
        return ((x >= self.low) & (x <= self.high)).all(1)

    def to_real(self, x: Tensor) -> Tensor:
        """Return Φ⁻¹ of the share of the interval below the value."""
        width = self.high - self.low
        below, above = (x - self.low) / width, (self.high - x) / width  # each is exact near its own end
        return torch.where(
            below < above,
            torch.special.ndtri(below.clamp_min(_LEAST)),
            -torch.special.ndtri(above.clamp_min(_LEAST)),
        )

    def log_det(self, u: Tensor) -> Tensor:
        """Return minus the logarithm of the width times φ(u)."""
        constant = 0.5 * math.log(2 * math.pi) - math.log(self.high - self.low)
        return (0.5 * u.square() + constant).sum(1)

    def from_real(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the values strictly between the bounds."""
        width = self.high - self.low
        x = torch.where(u < 0, self.low + width * torch.special.ndtr(u), self.high - width * torch.special.ndtr(-u))
        return _inside(x.to(dtype), self.low, self.high)


@dataclass(frozen=True)
class Above(Part):
    r"""A parameter above a bound, such as a scale: :math:`x = l + e^u`.

    Raises:
        ValueError: if the bound is not finite.
    """

    low: float = 0.0
    kind = "above"

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", finite_number("low", self.low))

    def contains(self, x: Tensor) -> Tensor:
        """Return whether the values are finite and not below the bound."""
        return ((x >= self.low) & x.isfinite()).all(1)

    def to_real(self, x: Tensor) -> Tensor:
        """Return the logarithms of the distances from the bound."""
        return (x - self.low).clamp_min(torch.finfo(torch.float32).tiny).log()

    def log_det(self, u: Tensor) -> Tensor:
        """Return −u."""
        return -u.sum(1)

    def from_real(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the values strictly above the bound."""
        return _inside((self.low + u.exp()).clamp_max(torch.finfo(dtype).max).to(dtype), self.low, math.inf)


@dataclass(frozen=True)
class Integer(Part):
    """A whole number, dequantized by the middle of its unit interval, or by noise in training.

    Args:
        low: the least value.
        high: the largest value; None for none.

    Raises:
        TypeError: if a bound is no whole number.
        ValueError: if the largest value is below the least.
    """

    low: int
    high: int | None = None
    kind = "integer"

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", whole_number("low", self.low))
        if self.high is not None:
            object.__setattr__(self, "high", whole_number("high", self.high, at_least=self.low))

    def contains(self, x: Tensor) -> Tensor:
        """Return whether the values are whole numbers in the range."""
        high = math.inf if self.high is None else self.high
        return ((x == x.floor()) & (x >= self.low) & (x <= high) & x.isfinite()).all(1)

    def to_real(self, x: Tensor) -> Tensor:
        """Return the unbounded numbers of dequantized values, each in the unit interval above its whole number."""
        return self._interval.to_real(x)

    def log_det(self, u: Tensor) -> Tensor:
        """Return the log-determinant of the interval, or of the half-line."""
        return self._interval.log_det(u)

    def from_real(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        """Return whole numbers in the range."""
        most = torch.finfo(dtype).max if self.high is None else self.high
        return self._interval.from_real(u, torch.float64).floor().clamp(self.low, most).to(dtype)

    @property
    def _interval(self) -> "Interval | Above":
        return Above(self.low) if self.high is None else Interval(self.low, self.high + 1)


@dataclass(frozen=True)
class Simplex(Part):
    """Several positive parameters that add up to 1, mapped by stick-breaking to one unbounded number less.

    Densities are with respect to all parameters but the last, as `torch.distributions.Dirichlet` has them.

    Raises:
        ValueError: if there are fewer than two.
    """

    size: int
    kind = "simplex"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", whole_number("size", self.size, at_least=2))

    @property
    def columns(self) -> int:
        """Number of parameters."""
        return self.size

    @property
    def dims(self) -> int:
        """One less, as they add up to 1."""
        return self.size - 1

    def contains(self, x: Tensor) -> Tensor:
        """Return whether no value is negative and their sum is 1 up to rounding."""
        return (x >= 0).all(1) & ((x.sum(1) - 1).abs() < 1e-5)

    def to_real(self, x: Tensor) -> Tensor:
        """Return the breaks of the stick."""
        x = x.clamp_min(_LEAST)
        breaks: Tensor = StickBreakingTransform().inv(x / x.sum(1, keepdim=True))
        return breaks

    def log_det(self, u: Tensor) -> Tensor:
        """Return minus the log-determinant of stick-breaking."""
        break_stick = StickBreakingTransform()
        log_det: Tensor = break_stick.log_abs_det_jacobian(u, break_stick(u))
        return -log_det

    def from_real(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        """Return positive shares of the stick."""
        x: Tensor = StickBreakingTransform()(u).clamp_min(_LEAST)
        return (x / x.sum(1, keepdim=True)).to(dtype)


_PARTS: dict[str, type[Part]] = {part.kind: part for part in (Real, Interval, Above, Integer, Simplex)}


class Support:
    r"""The support of parameters x ``(B, D)``, and the map onto unbounded numbers u with its log-determinant.

    No point that `from_real` returns lies outside, whatever the numbers: this is why a posterior never leaks out of its
    prior. Two whole posteriors of one support can be compared: densities are in the units of x.

    Args:
        parts: one for each parameter, or for several, in the order of the columns.

    Raises:
        TypeError: if a part is none.
        ValueError: if there are none.

    Example:
        >>> support = Support([Real(), Interval(0, 2), Simplex(3)])
        >>> support.columns, support.dims
        (5, 4)
        >>> support.from_real(torch.full((1, 4), 1e9))
        tensor([[1.0000e+09, 2.0000e+00, 1.0000e+00, 1.0000e-15, 1.0000e-15]])
        >>> bool(support.contains(support.from_real(torch.full((1, 4), 1e9))))
        True
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        if wrong := [part for part in self.parts if not isinstance(part, Part)]:
            raise TypeError(f"a part of a support is a Real(), Interval(low, high), ..., got {wrong[0]!r}")
        if not self.parts:
            raise ValueError("a support needs at least one part")

    @property
    def columns(self) -> int:
        """Number of parameters D."""
        return sum(part.columns for part in self.parts)

    @property
    def dims(self) -> int:
        """Number of unbounded numbers: D, and one less for each simplex."""
        return sum(part.dims for part in self.parts)

    @property
    def whole_columns(self) -> tuple[int, ...]:
        """The columns that hold whole numbers."""
        places, column = [], 0
        for part in self.parts:
            if isinstance(part, Integer):
                places.append(column)
            column += part.columns
        return tuple(places)

    def contains(self, x: Tensor) -> Tensor:
        """Return whether each row ``(B, D)`` lies in the support, its ends included."""
        return torch.stack([part.contains(piece) for part, piece in self._pieces(x)]).all(0)

    def to_real(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unbounded numbers ``(B, dims)`` of rows ``(B, D)`` and the log-determinant ``(B,)``, in float64.

        Rows outside are moved to the nearest end, and whole numbers are taken as they are: see `dequantize`.
        """
        u = torch.cat([part.to_real(piece) for part, piece in self._pieces(x.double())], 1)
        return u, self.log_det(u)

    def log_det(self, u: Tensor) -> Tensor:
        """Return the log-determinant ``(B,)`` of `to_real` where it leads to u ``(B, dims)``, differentiable."""
        return torch.stack([part.log_det(piece) for part, piece in self._real_pieces(u)]).sum(0)

    def from_real(self, u: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return the rows ``(B, D)`` of unbounded numbers ``(B, dims)``, all inside of the support.

        Args:
            u: the unbounded numbers.
            dtype: of the rows; None for that of u.

        Raises:
            NonFiniteError: if a number is NaN.
        """
        if bool(u.isnan().any()):
            raise NonFiniteError(f"{int(u.isnan().any(1).sum())} of {len(u)} samples are NaN; train the model anew")
        dtype = dtype or u.dtype
        return torch.cat([part.from_real(piece, dtype) for part, piece in self._real_pieces(u.double())], 1)

    def dequantize(self, x: Tensor, noise: Tensor | float | None = None) -> Tensor:
        """Add noise in [0, 1) to the whole numbers, by default uniform from torch's global generator."""
        if not (whole := list(self.whole_columns)):
            return x
        x = x.clone()
        x[:, whole] += torch.rand_like(x[:, whole]) if noise is None else noise
        return x

    def to_json(self) -> list[dict[str, Any]]:
        """Return the parts as plain values."""
        return [{"kind": part.kind, **asdict(part)} for part in self.parts]

    @classmethod
    def from_json(cls, content: Sequence[dict[str, Any]]) -> "Support":
        """Return the support that `to_json` wrote; raises KeyError, TypeError or ValueError if it is damaged."""
        return cls([_PARTS[item["kind"]](**{k: v for k, v in item.items() if k != "kind"}) for item in content])

    @classmethod
    def of(cls, prior: Distribution) -> "Support":
        """Read the support off a prior with events ``(D,)``.

        Raises:
            TypeError: if it is no distribution.
            OptionError: if its events are no vectors, or its support has another shape than boxes, half-lines, whole
                numbers and simplices.

        Example:
            >>> from torch.distributions import Independent, Uniform
            >>> Support.of(Independent(Uniform(torch.zeros(2), torch.tensor([1.0, 5.0])), 1))
            Support([Interval(low=0.0, high=1.0), Interval(low=0.0, high=5.0)])
        """
        if not isinstance(prior, Distribution):
            raise TypeError(f"a prior is a torch.distributions.Distribution, got {type(prior).__name__}")
        if len(prior.event_shape) != 1 or prior.batch_shape:
            raise OptionError(
                f"a prior has events (D,) and no batch, got {tuple(prior.event_shape)} and {tuple(prior.batch_shape)}; "
                "use torch.distributions.Independent(prior, 1), or inference.independent(...) of several"
            )
        return cls(_parts_of(prior.support, prior.event_shape[0]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Support) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __repr__(self) -> str:
        return f"Support({list(self.parts)})"

    def _pieces(self, x: Tensor) -> list[tuple[Part, Tensor]]:
        return list(zip(self.parts, x.split([part.columns for part in self.parts], 1), strict=True))

    def _real_pieces(self, u: Tensor) -> list[tuple[Part, Tensor]]:
        return list(zip(self.parts, u.split([part.dims for part in self.parts], 1), strict=True))


def _inside(x: Tensor, low: float, high: float) -> Tensor:
    """Return values strictly between two bounds: those at or beyond one become its neighbor."""
    least, most = (torch.tensor(bound, dtype=torch.float64).to(x.dtype) for bound in (low, high))
    if float(least) <= low:
        least = torch.nextafter(least, least.new_tensor(math.inf))
    if float(most) >= high:
        most = torch.nextafter(most, most.new_tensor(-math.inf))
    return x.clamp(least, most)


def _parts_of(support: Constraint | None, dims: int) -> list[Part]:
    """Return the parts of a constraint on a vector."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(support, (constraints.cat, constraints.stack)):
        lengths = getattr(support, "lengths", [1] * len(support.cseq))
        parts = zip(support.cseq, lengths, strict=True)
        return [part for constraint, length in parts for part in _parts_of(constraint, length)]
    if type(support) is type(constraints.simplex):
        return [Simplex(dims)]
    if type(support) is type(constraints.real):
        return [Real()] * dims
    if type(support) is type(constraints.boolean):
        return [Integer(0, 1)] * dims
    low, high = (_bounds(support, name, dims) for name in ("lower_bound", "upper_bound"))
    if low is not None and getattr(support, "is_discrete", False):
        tops = [None] * dims if high is None else [int(value) for value in high]
        return [Integer(int(bottom), top) for bottom, top in zip(low, tops, strict=True)]
    if low is not None and high is not None:
        return [Interval(*bounds) for bounds in zip(low, high, strict=True)]
    if low is not None:
        return [Above(bound) for bound in low]
    raise OptionError(
        f"the support {support} of the prior is not known here; give support=Support([...]) with a Real(), "
        "Interval(low, high), Above(low), Integer(low, high) or Simplex(size) for each parameter"
    )


def _bounds(support: Constraint | None, name: str, dims: int) -> list[float] | None:
    bound = getattr(support, name, None)
    return None if bound is None else torch.as_tensor(bound, dtype=torch.float64).expand(dims).tolist()
