"""Which elements of an event a coupling copies, and which it transforms."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Shape
from inverseflow.utils.arguments import whole_number, whole_numbers


class Split(nn.Module, ABC):
    """Base class of splits: some elements are copied and condition the transform of the others."""

    @abstractmethod
    def bind(self, channels: int) -> tuple[int, int]:
        """Prepare for events of C channels, or raise if they can't be split.

        Returns:
            The number of channels that the network sees, and the number of channels that it predicts parameters for.
        """

    @abstractmethod
    def take(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network sees, and the elements ``(B, *rest)`` that are transformed."""

    @abstractmethod
    def put(self, x: Tensor, changed: Tensor) -> Tensor:
        """Return x with the transformed elements in their places."""

    def select(self, parameters: Tensor) -> Tensor:
        """Return the parameters ``(B, P, *rest)`` of the elements that are transformed."""
        return parameters

    def check_shape(self, shape: Shape) -> None:
        """Raise if an event of this shape can't be split."""

    def same_as(self, other: "Split") -> bool:
        """Return whether another split transforms the same elements."""
        pairs = zip(self.buffers(), other.buffers(), strict=False)
        return repr(self) == repr(other) and all(first.is_meta or torch.equal(first, second) for first, second in pairs)


class Halves(Split):
    """Condition on the first channels and transform the rest.

    Args:
        num_conditioning: number of channels that condition; None for C // 2.
        swap: condition on the last channels and transform the first C // 2.

    Example:
        >>> Halves().take(torch.tensor([[1.0, 2.0, 3.0]]))
        (tensor([[1.]]), tensor([[2., 3.]]))
    """

    def __init__(self, num_conditioning: int | None = None, *, swap: bool = False) -> None:
        super().__init__()
        self.num_conditioning = None if num_conditioning is None else whole_number("num_conditioning", num_conditioning)
        self.swap = swap

    def bind(self, channels: int) -> tuple[int, int]:
        """Return the numbers of conditioning and of transformed channels."""
        _check_divisible(channels)
        conditioning = self._conditioning(channels)
        whole_number("num_conditioning", conditioning, at_least=1, at_most=channels - 1)
        return conditioning, channels - conditioning

    def take(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the conditioning and the other channels."""
        channels = x.shape[1]
        conditioning = self._conditioning(channels)
        first, second = x.tensor_split([channels - conditioning if self.swap else conditioning], dim=1)
        return (second, first) if self.swap else (first, second)

    def put(self, x: Tensor, changed: Tensor) -> Tensor:
        """Put the conditioning and the transformed channels side by side."""
        copied, _ = self.take(x)
        return torch.cat([changed, copied] if self.swap else [copied, changed], dim=1)

    def _conditioning(self, channels: int) -> int:
        if self.num_conditioning is not None:
            return self.num_conditioning
        return channels - channels // 2 if self.swap else channels // 2

    def extra_repr(self) -> str:
        """Show what is not the default."""
        number = [] if self.num_conditioning is None else [f"num_conditioning={self.num_conditioning}"]
        return ", ".join([*number, *["swap=True"] * self.swap])


class Channels(Split):
    """Condition on chosen channels and transform the others.

    Args:
        conditioning: numbers of the channels that condition.

    Example:
        >>> layer = Coupling(3, partial(MLP, width=8), split=Channels([0, 2]))
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> layer.split.take(x)
        (tensor([[1., 3.]]), tensor([[2.]]))
    """

    conditioning: Tensor
    transformed: Tensor

    def __init__(self, conditioning: Sequence[int]) -> None:
        super().__init__()
        self.numbers = sorted(set(whole_numbers("conditioning", conditioning, at_least=0)))
        self._channels: int | None = None

    def bind(self, channels: int) -> tuple[int, int]:
        """Return the numbers of conditioning and of transformed channels."""
        _check_divisible(channels)
        others = [number for number in range(channels) if number not in self.numbers]
        if not others or len(others) + len(self.numbers) != channels or not self.numbers:
            raise ValueError(
                f"the conditioning channels must be some, but not all, of 0 … {channels - 1}, got {self.numbers}"
            )
        if self._channels not in (None, channels):
            raise ValueError(
                f"this split already belongs to a coupling of {self._channels} channels, not {channels}; make another"
            )
        self._channels = channels
        for name, numbers in (("conditioning", self.numbers), ("transformed", others)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.int64))
        return len(self.numbers), len(others)

    def take(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the conditioning and the other channels."""
        return x.index_select(1, self.conditioning), x.index_select(1, self.transformed)

    def put(self, x: Tensor, changed: Tensor) -> Tensor:
        """Put the transformed channels in their places."""
        return x.index_copy(1, self.transformed, changed)

    def extra_repr(self) -> str:
        """Show the conditioning channels."""
        return str(self.numbers)


class _Masked(Split):
    """Base class of splits of single elements: the network sees the event with zeros in place of the others."""

    @abstractmethod
    def _transformed(self, x: Tensor) -> Tensor:
        """Return the places of the transformed elements in the flattened events of x."""

    def bind(self, channels: int) -> tuple[int, int]:
        """Return the number of channels twice: the network sees and predicts whole events."""
        return channels, channels

    def take(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the event with zeros, and the others ``(B, M)``."""
        flat, index = x.flatten(1), self._transformed(x)
        return flat.index_fill(1, index, 0.0).view(x.shape), flat.index_select(1, index)

    def put(self, x: Tensor, changed: Tensor) -> Tensor:
        """Put the transformed elements in their places."""
        return x.flatten(1).index_copy(1, self._transformed(x), changed).view(x.shape)

    def select(self, parameters: Tensor) -> Tensor:
        """Return the parameters of the transformed elements."""
        return parameters.flatten(2).index_select(2, self._transformed(parameters[:, 0]))


class Checkerboard(_Masked):
    """Condition on the pixels of one color of a checkerboard and transform the pixels of the other.

    Args:
        parity: 0 to condition on pixels whose coordinates have an even sum, 1 for an odd sum.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.4, https://arxiv.org/abs/1605.08803.

    Example:
        >>> Checkerboard().take(torch.ones(1, 1, 2, 3))[0]
        tensor([[[[1., 0., 1.],
                  [0., 1., 0.]]]])
    """

    def __init__(self, parity: int = 0) -> None:
        super().__init__()
        self.parity = whole_number("parity", parity, at_least=0, at_most=1)

    def check_shape(self, shape: Shape) -> None:
        """Raise unless there are two pixels."""
        if all(size < 2 for size in shape[1:]):
            raise ValueError(f"a checkerboard needs at least 2 pixels, got an event of shape {shape}; split channels")

    def _transformed(self, x: Tensor) -> Tensor:
        channels, *sizes = x.shape[1:]
        coordinates = torch.zeros((), dtype=torch.int64, device=x.device)
        for size in sizes:
            coordinates = coordinates[..., None] + torch.arange(size, device=x.device)
        odd = coordinates.flatten() % 2
        pixels = odd.numel()
        # Sorting takes the place of `nonzero`, whose size depends on values, which no graph can hold.
        order = odd.argsort(stable=True, descending=self.parity == 0)
        index = order[: pixels // 2 if self.parity == 0 else pixels - pixels // 2]
        return (pixels * torch.arange(channels, device=x.device)[:, None] + index).flatten()

    def extra_repr(self) -> str:
        """Show the parity."""
        return f"parity={self.parity}"


class Mask(_Masked):
    """Condition on any elements of an event of fixed shape and transform the others.

    Args:
        mask: boolean tensor of the event's shape, True where an element conditions.

    Example:
        >>> Mask(torch.tensor([True, False, True])).take(torch.tensor([[1.0, 2.0, 3.0]]))
        (tensor([[1., 0., 3.]]), tensor([[2.]]))
    """

    index: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim == 0:
            raise TypeError(f"mask must be a boolean tensor of the shape of an event, got {mask!r}")
        if mask.is_meta:
            raise ValueError("mask must hold values, and a meta tensor has none; make it with device='cpu'")
        copied = int(mask.sum())
        if copied in (0, mask.numel()):
            raise ValueError(
                f"mask must be True where an element conditions and False where it is transformed, and is {copied > 0} "
                "everywhere; a coupling needs both"
            )
        self.shape: Shape = tuple(mask.shape)
        self.register_buffer("index", (~mask).flatten().nonzero()[:, 0])

    def bind(self, channels: int) -> tuple[int, int]:
        """Return the number of channels twice, or raise if it is not the mask's."""
        if channels != self.shape[0]:
            raise ValueError(f"a mask of shape {self.shape} splits events of {self.shape[0]} channels, not {channels}")
        return super().bind(channels)

    def check_shape(self, shape: Shape) -> None:
        """Raise unless the event has the mask's shape."""
        if shape != self.shape:
            raise ValueError(f"the mask splits events of shape {self.shape}, got {shape}; make it of the event's shape")

    def _transformed(self, x: Tensor) -> Tensor:
        return self.index

    def extra_repr(self) -> str:
        """Show the shape."""
        return f"shape={self.shape}"


def _check_divisible(channels: int) -> None:
    if channels < 2:
        raise ValueError(
            f"a coupling needs at least 2 channels, got {channels}; use SplineActivation or an autoregressive layer"
        )
