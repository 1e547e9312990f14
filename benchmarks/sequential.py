"""The sequential alternative to `InverseFlow`: the same flow with the direction of each k×k layer swapped."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from inverseflow.bijections import Bijection, CausalConv2d, Compose, InverseConv2d
from inverseflow.bijections.base import LogDet
from inverseflow.flows import Flow


class PixelByPixel(CausalConv2d):
    """A convolution whose inverse is plain substitution, pixel by pixel for the whole batch."""

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        mirrored = tuple(axis for axis, side in ((-2, "bottom"), (-1, "right")) if side in self.corner)
        return substitute(z, self.kernel(), mirrored), 0.0


def substitute(y: Tensor, weight: Tensor, mirrored: tuple[int, ...] = ()) -> Tensor:
    """Solve the unitriangular system pixel by pixel, as published code without a solver does.

    It is more generous than that code: one operation handles all images and all earlier channels of a pixel.

    Args:
        y: image, ``(N, C, H, W)``.
        weight: kernel, ``(C, C, k, k)``, read as by `inv_conv2d` with ``unitriangular=True``.
        mirrored: axes along which the pixels are visited in reverse.

    Example:
        >>> y, weight = torch.randn(2, 3, 4, 4), 0.1 * torch.randn(3, 3, 3, 3)
        >>> torch.allclose(substitute(y, weight), inv_conv2d(y, weight, unitriangular=True), atol=1e-5)
        True
    """
    rows, columns = weight.shape[2:]
    y = y.flip(mirrored)
    padded = torch.nn.functional.pad(torch.zeros_like(y), (columns - 1, 0, rows - 1, 0))
    kernel = weight.flatten(1)  # (C, C k k)
    last = weight[:, :, -1, -1]
    for h in range(y.shape[2]):
        for w in range(y.shape[3]):
            window = padded[:, :, h : h + rows, w : w + columns]
            rest = y[:, :, h, w] - window.flatten(1) @ kernel.T  # this pixel is still zero in the window
            padded[:, :, h + rows - 1, w + columns - 1] = torch.linalg.solve_triangular(
                last, rest.T, upper=False, unitriangular=True
            ).T
    return padded[:, :, rows - 1 :, columns - 1 :].flip(mirrored)


def swap_direction(flow: Flow) -> Flow:
    """Return a copy whose k×k layers convolve from image to latent, so that sampling solves.

    Example:
        >>> flow = swap_direction(InverseFlow((1, 8, 8), levels=17, scales=1, steps=1, width=8))
        >>> type(flow.bijection.scales[0].layers[1].layers[0]).__name__
        'CausalConv2d'
    """
    return _with_layers(flow, lambda layer: _rebuilt(CausalConv2d, layer) if type(layer) is InverseConv2d else layer)


def pixel_by_pixel(flow: Flow) -> Flow:
    """Return a copy of a swapped flow that samples by plain substitution."""
    return _with_layers(flow, lambda layer: _rebuilt(PixelByPixel, layer) if type(layer) is CausalConv2d else layer)


def _rebuilt(kind: type[CausalConv2d], layer: CausalConv2d | InverseConv2d) -> CausalConv2d:
    """Build another kind of one-sided convolution with the parameters of this one."""
    assert layer.channels is not None
    other = kind(
        layer.channels,
        layer.kernel_size,
        corner=layer.corner,
        diagonal=layer.diagonal,
        max_row_sum=layer.max_row_sum,
        groups=layer.groups,
    )
    other.load_state_dict(layer.state_dict())
    return other


def _with_layers(flow: Flow, change: Callable[[Bijection], Bijection]) -> Flow:
    flow = copy.deepcopy(flow)
    flow.config = None  # the constructor's arguments no longer describe it
    for module in list(flow.modules()):
        if isinstance(module, Compose):
            for index, layer in enumerate(module.layers):
                assert isinstance(layer, Bijection)
                module.layers[index] = change(layer)
    return flow
