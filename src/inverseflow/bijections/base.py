"""The contract of every invertible layer, and the list of those that hold others."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor, nn

from inverseflow.bijections.events import at_least_single
from inverseflow.errors import LayerError
from inverseflow.utils.arguments import whole_number

Shape = tuple[int, ...]
Item = TypeVar("Item", bound=nn.Module)
LogDet = Tensor | float
Direction = Callable[[Tensor, Tensor | None], tuple[Tensor, LogDet]]


class Bijection(nn.Module, ABC):
    r"""An invertible map with the log-determinant of its Jacobian, in both directions.

    A subclass writes `_forward` and `_inverse`, pure mathematics on a batch ``(B, C, *spatial)``. Both return the image
    and the log-determinant *of their own direction*, as a number, a scalar or a ``(B,)`` tensor. This class checks
    the input of every layer. It returns contiguous images, and every log-determinant as a ``(B,)`` tensor in the
    input's dtype, but at least in float32. A layer that changes the shape of an event also overrides `output_shape`
    and `input_shape`. The constructor of every layer raises `TypeError` if an argument has another type than it says,
    and `ValueError` if it is out of the range that it says.

    Args:
        channels: number of channels C, None for any.
        spatial_axes: number of spatial axes, None for any.
        context_channels: channels of the context that conditions the layer, None if it ignores the context.
        size: spatial shape, such as ``(H, W)``, of the only events that the layer takes, None for any.

    Raises:
        ValueError: if an input has the wrong rank, channels, spatial axes or device, or its context does not fit.
        TypeError: if an input is not floating-point, or not of the layer's dtype.

    Example:
        >>> import math
        >>> from inverseflow.bijections.events import elements
        >>> class Double(Bijection):
        ...     def _forward(self, x, context):
        ...         return 2 * x, elements(x) * math.log(2)
        ...     def _inverse(self, z, context):
        ...         return z / 2, -elements(z) * math.log(2)
        >>> z, log_det = Double()(torch.ones(2, 3))
        >>> log_det
        tensor([2.0794, 2.0794])
    """

    accepts_integers = False
    """Whether `forward` takes integer tensors: only dequantization does."""

    makes_context = False
    """Whether the context that its parts see is made by this layer, not given from outside."""

    full_precision = False
    """Whether to compute in at least single precision, under autocast too, so that the two directions stay inverses."""

    def __init__(
        self,
        *,
        channels: int | None = None,
        spatial_axes: int | None = None,
        context_channels: int | None = None,
        size: Shape | None = None,
    ) -> None:
        super().__init__()
        self.channels = None if channels is None else whole_number("channels", channels, at_least=1)
        self.context_channels = (
            None if context_channels is None else whole_number("context_channels", context_channels, at_least=1)
        )
        self.size = None if size is None else _checked_size(size, spatial_axes)
        self.spatial_axes = spatial_axes if self.size is None else len(self.size)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Map data to latent.

        Args:
            x: ``(B, C, *spatial)``.
            context: ``(B, K)`` or ``(B, K, *spatial)``; ignored by an unconditional layer. A spatial context whose
                sizes are multiples of those of x is averaged to the size of x, so that each scale of a flow sees it at
                its own size.

        Returns:
            z, and :math:`\log|\det \partial z/\partial x|` of shape ``(B,)`` in nats.
        """
        self._check_forward(x, context)
        return self._run(self._forward, x, self._at_size(context, x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Map latent to data; like `forward`, return x and :math:`\log|\det \partial x/\partial z|`."""
        self._check_inverse(z, context)
        return self._run(self._inverse, z, self._at_size(context, z))

    @abstractmethod
    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        """Map data to latent."""

    @abstractmethod
    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        """Map latent to data."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape ``(C', *spatial')`` of the latent of an event, or raise if the layer can't take it."""
        self._check_shape(shape)
        return shape

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape of the event whose latent has this shape, or raise if the layer can't take it."""
        self._check_shape(shape)
        return shape

    def _run(self, direction: Direction, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        try:
            z, log_det = self._run_precisely(direction, x, context) if self.full_precision else direction(x, context)
        except LayerError as error:
            if error.layer is None:
                error.layer = self
            raise
        return z.contiguous(), _as_batch(log_det, z if z.is_floating_point() else x)

    def _run_precisely(self, direction: Direction, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        parameter = _first_parameter(self)
        dtype = x.dtype if parameter is None else parameter.dtype
        if x.dtype == dtype and dtype.itemsize >= 4 and not torch.is_autocast_enabled(x.device.type):
            return direction(x, context)
        with torch.autocast(x.device.type, enabled=False):
            z, log_det = direction(at_least_single(x.to(dtype)), context)
            return z.to(dtype), log_det

    def _at_size(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """Average a spatial context of a conditional layer to the size of x."""
        if self.context_channels is None or context is None or context.shape[2:] in ((), x.shape[2:]):
            return context
        factors = [size // target for size, target in zip(context.shape[2:], x.shape[2:], strict=True)]
        context = context.to(x.dtype)  # whole numbers have no mean
        for axis, factor in enumerate(factors, start=2):
            context = context.unflatten(axis, (-1, factor)).mean(axis + 1)
        return context

    def extra_repr(self) -> str:
        """Show the constructor's numbers and words, except options that are the default."""
        parts = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, None)
            is_default = parameter.kind is parameter.KEYWORD_ONLY and value == parameter.default
            if not is_default and (isinstance(value, (int, float, str, tuple)) or is_dataclass(value)):
                parts.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}")
        return ", ".join(parts)

    def _check_forward(self, x: Tensor, context: Tensor | None) -> None:
        self._check_input(x, context, integers=self.accepts_integers)
        self.output_shape(tuple(x.shape[1:]))

    def _check_inverse(self, z: Tensor, context: Tensor | None) -> None:
        self._check_input(z, context, integers=False)
        self.input_shape(tuple(z.shape[1:]))

    def _check_shape(self, shape: Shape) -> None:
        name = type(self).__name__
        if self.channels is not None and shape[:1] != (self.channels,):
            raise ValueError(f"{name} is built for {self.channels} channels, got an event of shape {shape}")
        if self.spatial_axes is not None and len(shape) != 1 + self.spatial_axes:
            raise ValueError(
                f"{name} needs {self.spatial_axes} spatial axes (C, *spatial), got an event of shape {shape}"
            )
        if self.size is not None and shape[1:] != self.size:
            raise ValueError(
                f"{name} is tied to the size {self.size} that it was built for, got an event of shape {shape}; "
                f"build one with size={shape[1:]}"
            )

    def _check_input(self, x: Tensor, context: Tensor | None, *, integers: bool) -> None:
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} expects a tensor, got {type(x).__name__}; convert with torch.as_tensor")
        if x.ndim < 2:
            raise ValueError(
                f"{name} expects a batch (B, C, *spatial), got shape {tuple(x.shape)}; add the missing axes"
            )
        if x.is_floating_point():
            self._check_matches(x)
        elif not integers:
            raise TypeError(
                f"{name} expects floating-point input, got {x.dtype}; convert with .float() or put Dequantize first"
            )
        if self.context_channels is not None:
            self._check_context(x, context, self.context_channels)

    def _typical_parameter(self) -> Tensor | None:
        """Return a parameter with the dtype and the device of the layer, None if it has none."""
        return _first_parameter(self)

    def _check_matches(self, x: Tensor) -> None:
        parameter = self._typical_parameter()
        if parameter is None:
            return
        name = type(self).__name__
        if x.device != parameter.device:
            raise ValueError(f"{name} lives on {parameter.device}, got input on {x.device}; move one with .to()")
        if x.dtype != parameter.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"{name} has parameters of {parameter.dtype}, got input of {x.dtype}; convert one with .to()"
            )

    def _check_context(self, x: Tensor, context: Tensor | None, channels: int) -> None:
        name = type(self).__name__
        vector = (x.shape[0], channels)
        if context is None:
            raise ValueError(f"{name} is conditional: pass a context of shape {vector}")
        if not isinstance(context, Tensor):
            raise TypeError(f"a context is a tensor, got {type(context).__name__}; convert with torch.as_tensor(...)")
        shape, sizes = tuple(context.shape), tuple(x.shape[2:])
        if shape[:2] != vector or not (len(shape) == 2 or is_multiple(shape[2:], sizes)):
            spatial = f" or {(*vector, *sizes)}, or of multiples of its sizes" if sizes else ""
            raise ValueError(f"{name} expects a context of shape {vector}{spatial}, got {shape}")
        if context.device != x.device:
            raise ValueError(f"{name} got input on {x.device} and a context on {context.device}; move one with .to()")


class TypedModuleList(nn.ModuleList, Generic[Item]):
    """A `torch.nn.ModuleList` that tells a type checker the type of its items."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Item]: ...

        def __getitem__(self, index: int) -> Item: ...  # type: ignore[override]

    def _get_name(self) -> str:
        return "ModuleList"


def _checked_size(size: Shape, spatial_axes: int | None) -> Shape:
    if not isinstance(size, (tuple, list)) or len(size) != (spatial_axes or len(size)):
        raise ValueError(f"size must be the spatial shape of an event, (H, W) for an image, got {size!r}")
    return tuple(whole_number("a side of size", side, at_least=1) for side in size)


def is_multiple(sizes: Shape, of: Shape) -> bool:
    """Return whether spatial sizes are multiples of others, so that they can be averaged to them."""
    return len(sizes) == len(of) and all(
        size and target and size % target == 0 for size, target in zip(sizes, of, strict=True)
    )


def _first_parameter(module: nn.Module) -> Tensor | None:
    """Return the first of `module.parameters`, without its bookkeeping, which takes longer than a small layer."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for child in module._modules.values():
        first = None if child is None else _first_parameter(child)
        if first is not None:
            return first
    return None


def _as_batch(log_det: LogDet, like: Tensor) -> Tensor:
    """Return a log-determinant for each of a batch, in at least single precision."""
    dtype = torch.promote_types(like.dtype, torch.float32) if like.is_floating_point() else torch.get_default_dtype()
    if not isinstance(log_det, Tensor):
        return torch.full((like.shape[0],), float(log_det), dtype=dtype, device=like.device)
    if log_det.shape == like.shape[:1] and log_det.dtype == dtype and log_det.is_contiguous():
        return log_det
    return log_det.to(dtype).expand(like.shape[0]).contiguous()
