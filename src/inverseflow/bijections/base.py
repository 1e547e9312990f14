"""The contract of every invertible layer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]
LogDet = Tensor | float


class Bijection(nn.Module, ABC):
    r"""An invertible map with the log-determinant of its Jacobian, in both directions.

    A subclass writes `_forward` and `_inverse`, pure mathematics on a batch ``(B, C, *spatial)`` that return the
    image and the log-determinant *of their own direction* as a number, a scalar or a ``(B,)`` tensor. This class
    checks the input once for all layers and returns every log-determinant as a ``(B,)`` tensor, in the input's dtype
    but never below float32. A layer that changes the shape of an event also overrides `output_shape` and `input_shape`.

    Args:
        channels: number of channels C that the layer is built for, None for any.
        spatial_axes: number of spatial axes that the layer needs, None for any, none included.
        context_channels: channels of the context that the layer is conditioned on, None if it ignores the context.
        size: spatial shape, say ``(H, W)``, of the only events that the layer takes, None for any.

    Raises:
        ValueError: an input has the wrong rank, channels, spatial axes or device, or its context does not fit.
        TypeError: an input is not floating-point, or not of the layer's dtype.

    Example:
        >>> import math
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
    """Whether `forward` takes integer tensors: only dequantisation does."""

    def __init__(
        self,
        *,
        channels: int | None = None,
        spatial_axes: int | None = None,
        context_channels: int | None = None,
        size: Shape | None = None,
    ) -> None:
        super().__init__()
        if channels is not None and channels < 1:
            raise ValueError(f"{type(self).__name__} needs at least one channel, got channels={channels}")
        if context_channels is not None and context_channels < 1:
            raise ValueError(
                f"a context has at least one channel, got context_channels={context_channels}; pass None for no context"
            )
        if size is not None and (len(size) != (spatial_axes or len(size)) or min(size, default=1) < 1):
            raise ValueError(
                f"{type(self).__name__} takes the size of an event without its channels, (H, W) for an image, each at "
                f"least 1; got size={size}"
            )
        self.channels = channels
        self.spatial_axes = spatial_axes if size is None else len(size)
        self.size = None if size is None else tuple(size)
        self.context_channels = context_channels

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Map data to latent.

        Args:
            x: ``(B, C, *spatial)``.
            context: ``(B, K)`` or ``(B, K, *spatial)``; ignored by an unconditional layer.

        Returns:
            z, and :math:`\log|\det \partial z/\partial x|` of shape ``(B,)`` in nats.
        """
        self._check(x, context, self.accepts_integers)
        self.output_shape(tuple(x.shape[1:]))
        z, log_det = self._forward(x, context)
        return z, _one_each(log_det, z)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Map latent to data.

        Args:
            z: ``(B, C', *spatial')``, of the shape that `forward` returns.
            context: as for `forward`.

        Returns:
            x, and :math:`\log|\det \partial x/\partial z|` of shape ``(B,)`` in nats.
        """
        self._check(z, context, False)
        self.input_shape(tuple(z.shape[1:]))
        x, log_det = self._inverse(z, context)
        return x, _one_each(log_det, z)

    @abstractmethod
    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        """Map data to latent."""

    @abstractmethod
    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        """Map latent to data."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape ``(C', *spatial')`` of the latent of an event, or raise if it can't be taken."""
        self._check_shape(shape)
        return shape

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape of the event whose latent has this shape, or raise if the layer can't take it."""
        self._check_shape(shape)
        return shape

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

    def _check(self, x: Tensor, context: Tensor | None, integers: bool) -> None:
        name = type(self).__name__
        if x.ndim < 2:
            raise ValueError(
                f"{name} expects a batch (B, C, *spatial), got shape {tuple(x.shape)}; add the missing axes"
            )
        if not x.is_floating_point():
            if not integers:
                raise TypeError(
                    f"{name} expects floating-point input, got {x.dtype}; convert with .float() or put Dequantize first"
                )
        else:
            for parameter in self.parameters():
                self._check_matches(x, parameter)
                break
        if self.context_channels is not None:
            self._check_context(x, context, self.context_channels)

    def _check_matches(self, x: Tensor, parameter: Tensor) -> None:
        name = type(self).__name__
        if x.device != parameter.device:
            raise ValueError(f"{name} lives on {parameter.device}, got input on {x.device}; move one with .to()")
        if x.dtype != parameter.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"{name} has parameters of {parameter.dtype}, got input of {x.dtype}; convert one with .to()"
            )

    def _check_context(self, x: Tensor, context: Tensor | None, channels: int) -> None:
        name = type(self).__name__
        batch, spatial = x.shape[0], tuple(x.shape[2:])
        if context is None:
            raise ValueError(f"{name} is conditional: pass a context of shape ({batch}, {channels})")
        if tuple(context.shape) not in {(batch, channels), (batch, channels, *spatial)}:
            raise ValueError(
                f"{name} expects a context of shape {(batch, channels)} or {(batch, channels, *spatial)}, "
                f"got {tuple(context.shape)}"
            )
        if context.device != x.device:
            raise ValueError(f"{name} got input on {x.device} and a context on {context.device}; move one with .to()")


def pixels(x: Tensor) -> int:
    """Return the number of spatial positions of one event: H·W for an image, 1 for a vector."""
    return math.prod(x.shape[2:])


def elements(x: Tensor) -> int:
    """Return the number of elements of one event."""
    return math.prod(x.shape[1:])


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """Reshape a ``(C,)`` parameter so that it broadcasts against ``(B, C, *spatial)``."""
    return parameter.view(-1, *[1] * (x.ndim - 2))


def sum_event(x: Tensor) -> Tensor:
    """Sum all axes but the first, never below float32."""
    return x.flatten(1).sum(1, dtype=torch.promote_types(x.dtype, torch.float32))


def _one_each(log_det: LogDet, z: Tensor) -> Tensor:
    dtype = torch.promote_types(z.dtype, torch.float32) if z.is_floating_point() else torch.get_default_dtype()
    if not isinstance(log_det, Tensor):
        return torch.full((z.shape[0],), float(log_det), dtype=dtype, device=z.device)
    if log_det.shape == z.shape[:1] and log_det.dtype == dtype and log_det.is_contiguous():
        return log_det
    return log_det.to(dtype).expand(z.shape[0]).contiguous()
