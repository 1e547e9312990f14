r"""The invertible k×k convolution, its exact inverse, and their gradients.

Let A be the one-sided convolution. Its transpose is again one, started at the opposite corner with the kernel's
channel axes swapped, so three operators closed under differentiation are enough: the convolution, the solve, and the
correlation that gives weight gradients.

=============  ================================================  ===========================================
operator       gradient of the image                             gradient of the kernel
=============  ================================================  ===========================================
y = A x        :math:`A^T g`                                     :math:`\mathrm{corr}(x, g)`
x = A⁻¹ y      :math:`S = A^{-T} g`                              :math:`-\mathrm{corr}(x, S)`
corr(x, g)     :math:`A_V^T g` for x, :math:`A_V x` for g         (V is the incoming gradient, a kernel)
=============  ================================================  ===========================================
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.ops._backends._torch import full_precision, pad
from inverseflow.ops._corner import CORNERS, Corner, mirrored_axes, opposite
from inverseflow.ops.dispatch import chosen


def causal_conv2d(
    x: Tensor, weight: Tensor, *, corner: Corner = "top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Convolve with one-sided zero padding, so that the map is triangular and its inverse is `inv_conv2d`.

    .. math:: y_{o,h,w} = \sum_{i,a,b} K_{o,i,\,k_H-1-a,\,k_W-1-b}\; x_{i,\,h-a,\,w-b}

    for ``corner="top_left"``; the other corners mirror the image, apply the same map, and mirror back. In raster
    order with channels innermost the map is lower triangular when the last tap ``weight[:, :, -1, -1]`` is, and its
    log-determinant is H·W·Σ log|diagonal of the last tap|.

    Args:
        x: image, ``(N, C, H, W)``, any strides. float32 and float64 keep their precision; float16 and bfloat16 are
            computed in float32 and returned in their own dtype. Under autocast the result is float32.
        weight: kernel, ``(C, C / groups, kH, kW)``, in top-left orientation for every corner. Of the last tap only
            the lower triangle (within each group) is read; unread entries receive exactly zero gradient.
        corner: where the walk over the image starts: ``"top_left"``, ``"top_right"``, ``"bottom_left"`` or
            ``"bottom_right"``.
        unitriangular: take the diagonal of the last tap as ones instead of reading it.
        groups: number of channel groups that do not see each other.

    Returns:
        ``(N, C, H, W)``.

    Raises:
        ValueError: a rank, channel count, group count or corner does not fit.
        TypeError: an integer input, or two different dtypes.

    Reference:
        Nagar et al., CInC Flow, 2021, section 3; Nagar and Varma, Inverse-Flow, AISTATS 2025, section 3.

    Example:
        >>> x, weight = torch.randn(2, 3, 8, 8), 0.1 * torch.randn(3, 3, 3, 3)
        >>> y = causal_conv2d(x, weight, unitriangular=True)
        >>> torch.allclose(inv_conv2d(y, weight, unitriangular=True), x, atol=1e-5)
        True
    """
    _check("causal_conv2d", x, weight, corner, groups)
    image, kernel = _in_full_precision(x, weight)
    y: Tensor = _causal_conv2d(image, _triangular(kernel, unitriangular, groups), corner, groups)
    return y if torch.is_autocast_enabled(x.device.type) else y.to(x.dtype)


def inv_conv2d(
    y: Tensor, weight: Tensor, *, corner: Corner = "top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Invert `causal_conv2d` exactly: return the x whose convolution is y.

    .. math:: x = A^{-1} y, \qquad
        x_{h,w} = T^{-1}\Big(y_{h,w} - \sum_{(a,b) \neq 0} K_{a,b}\, x_{h-a,w-b}\Big)

    with T the last tap. The gradient is exact too: with :math:`S = A^{-T} g`, the gradient of y is S and that of the
    kernel is minus the correlation of x with S. Only x and the kernel are kept for it. Differentiable twice.

    A unit determinant does not bound the inverse: it can grow geometrically with H + W. It stays below 1/(1-ρ) in
    the maximum norm when the off-diagonal weights of every output channel sum to at most ρ < 1 in absolute value
    (for a unit diagonal).

    Args:
        y: image, ``(N, C, H, W)``, any strides and the dtypes of `causal_conv2d`.
        weight: kernel, ``(C, C / groups, kH, kW)``, in top-left orientation for every corner; read as by
            `causal_conv2d`.
        corner: where the walk over the image starts: ``"top_left"``, ``"top_right"``, ``"bottom_left"`` or
            ``"bottom_right"``.
        unitriangular: take the diagonal of the last tap as ones instead of reading it.
        groups: number of channel groups that do not see each other.

    Returns:
        ``(N, C, H, W)``.

    Raises:
        ValueError: a rank, channel count, group count or corner does not fit; on a CPU, outside of compilation, also
            a zero on the diagonal of the last tap (elsewhere it gives inf or nan, like
            `torch.linalg.solve_triangular`).
        TypeError: an integer input, or two different dtypes.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 3. The gradient is ours: the printed one is not the
        gradient of this map.

    Example:
        >>> y = torch.zeros(1, 1, 3, 3)
        >>> y[0, 0, 0, 0] = 1.0
        >>> inv_conv2d(y, torch.tensor([[[[0.5, 1.0]]]]))[0, 0, 0]
        tensor([ 1.0000, -0.5000,  0.2500])
    """
    _check("inv_conv2d", y, weight, corner, groups)
    if not unitriangular:
        _check_diagonal(weight, groups)
    image, kernel = _in_full_precision(y, weight)
    x: Tensor = _inv_conv2d(image, _triangular(kernel, unitriangular, groups), corner, groups, False)
    return x if torch.is_autocast_enabled(y.device.type) else x.to(y.dtype)


def _check(name: str, image: Tensor, weight: Tensor, corner: str, groups: int) -> None:
    if image.ndim != 4:
        raise ValueError(f"{name} expects an image (N, C, H, W), got shape {tuple(image.shape)}; add the missing axes")
    if weight.ndim != 4:
        raise ValueError(f"{name} expects a kernel (C, C / groups, kH, kW), got shape {tuple(weight.shape)}")
    if not image.is_floating_point() or not weight.is_floating_point():
        raise TypeError(
            f"{name} expects floating-point tensors, got {image.dtype} and {weight.dtype}; convert with .float() first"
        )
    if corner not in CORNERS:
        raise ValueError(f"unknown corner {corner!r}: choose one of {', '.join(map(repr, CORNERS))}")
    channels = image.shape[1]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups={groups} does not divide the {channels} channels of shape {tuple(image.shape)}")
    if weight.shape[:2] != (channels, channels // groups):
        raise ValueError(
            f"a kernel for {channels} channels in {groups} group(s) has shape "
            f"({channels}, {channels // groups}, kH, kW), got {tuple(weight.shape)}"
        )
    if 0 in weight.shape[2:]:
        raise ValueError(f"a kernel needs at least one tap, got shape {tuple(weight.shape)}")
    if image.device != weight.device:
        raise ValueError(f"{name} got an image on {image.device} and a kernel on {weight.device}; move one with .to()")
    if image.dtype != weight.dtype and not torch.is_autocast_enabled(image.device.type):
        raise TypeError(f"{name} got an image of {image.dtype} and a kernel of {weight.dtype}; convert one with .to()")


def _check_diagonal(weight: Tensor, groups: int) -> None:
    if weight.device.type != "cpu" or torch.compiler.is_compiling():
        return
    blocks = weight.detach()[:, :, -1, -1].unflatten(0, (groups, -1))
    zeros = (blocks.diagonal(dim1=1, dim2=2).flatten() == 0).nonzero()
    if len(zeros):
        raise ValueError(
            f"the last tap's diagonal is zero at channel {zeros[0].item()}, so the convolution has no inverse; "
            "make it nonzero or pass unitriangular=True"
        )


def _in_full_precision(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    return image.to(dtype), weight.to(dtype)


def _triangular(weight: Tensor, unitriangular: bool, groups: int) -> Tensor:
    """Make the last tap lower triangular by selection, so that no gradient reaches what is not read."""
    blocks: Tensor = weight[:, :, -1, -1].unflatten(0, (groups, -1))
    last = blocks.tril(-1 if unitriangular else 0)
    if unitriangular:
        last = last + torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    kernel = weight.clone(memory_format=torch.contiguous_format)
    kernel[:, :, -1, -1] = last.flatten(0, 1)
    return kernel


def _transposed(kernel: Tensor, groups: int) -> Tensor:
    blocks: Tensor = kernel.unflatten(0, (groups, -1))
    return blocks.transpose(1, 2).flatten(0, 1)


@torch.library.custom_op("inverseflow::causal_conv2d", mutates_args=())
def _causal_conv2d(x: Tensor, kernel: Tensor, corner: str, groups: int) -> Tensor:
    if x.numel() == 0:
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    with full_precision(x):
        return F.conv2d(pad(x, kernel, corner), kernel.flip(mirrored_axes(corner)), groups=groups).contiguous()


@torch.library.custom_op("inverseflow::inv_conv2d", mutates_args=())
def _inv_conv2d(y: Tensor, kernel: Tensor, corner: str, groups: int, upper: bool) -> Tensor:
    if y.numel() == 0:
        return torch.empty_like(y, memory_format=torch.contiguous_format)
    return chosen(y).solve(y, kernel, corner, groups, upper)


@torch.library.custom_op("inverseflow::causal_conv2d_weight", mutates_args=())
def _causal_conv2d_weight(x: Tensor, grad: Tensor, kernel: Tensor, corner: str, groups: int) -> Tensor:
    """Return the gradient of <grad, A x> with respect to the kernel, of which only the shape is read."""
    if x.numel() == 0:
        return torch.zeros_like(kernel, memory_format=torch.contiguous_format)
    return chosen(x).weight_gradient(x, grad, kernel, corner, groups)


@_causal_conv2d.register_fake
def _(x: Tensor, kernel: Tensor, corner: str, groups: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_inv_conv2d.register_fake
def _(y: Tensor, kernel: Tensor, corner: str, groups: int, upper: bool) -> Tensor:
    return torch.empty_like(y, memory_format=torch.contiguous_format)


@_causal_conv2d_weight.register_fake
def _(x: Tensor, grad: Tensor, kernel: Tensor, corner: str, groups: int) -> Tensor:
    return torch.empty_like(kernel, memory_format=torch.contiguous_format)


def _save_conv(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, kernel, ctx.corner, ctx.groups = inputs
    ctx.save_for_backward(x, kernel)


def _conv_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, kernel = ctx.saved_tensors
    corner, groups = ctx.corner, ctx.groups
    of_x = of_kernel = None
    if ctx.needs_input_grad[0]:
        of_x = _causal_conv2d(grad, _transposed(kernel, groups), opposite(corner), groups)
    if ctx.needs_input_grad[1]:
        of_kernel = _causal_conv2d_weight(x, grad, kernel, corner, groups)
    return of_x, of_kernel, None, None


def _save_solve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, kernel, ctx.corner, ctx.groups, ctx.upper = inputs
    ctx.save_for_backward(output, kernel)


def _solve_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, kernel = ctx.saved_tensors
    corner, groups = ctx.corner, ctx.groups
    of_y = _inv_conv2d(grad, _transposed(kernel, groups), opposite(corner), groups, not ctx.upper)
    of_kernel = None
    if ctx.needs_input_grad[1]:
        of_kernel = _keep_triangle(-_causal_conv2d_weight(x, of_y, kernel, corner, groups), groups, ctx.upper)
    return of_y, of_kernel, None, None, None


def _save_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, grad, _, ctx.corner, ctx.groups = inputs
    ctx.save_for_backward(x, grad)


def _weight_backward(ctx: Any, grad_kernel: Tensor) -> tuple[Tensor | None, ...]:
    x, grad = ctx.saved_tensors
    corner, groups = ctx.corner, ctx.groups
    of_x = _causal_conv2d(grad, _transposed(grad_kernel, groups), opposite(corner), groups)
    of_grad = _causal_conv2d(x, grad_kernel, corner, groups)
    return of_x, of_grad, None, None, None


def _keep_triangle(kernel: Tensor, groups: int, upper: bool) -> Tensor:
    ones = torch.ones(kernel.shape[1], kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
    mask = torch.ones_like(kernel)
    mask[:, :, -1, -1] = (ones.triu() if upper else ones.tril()).repeat(groups, 1)
    return kernel * mask


_causal_conv2d.register_autograd(_conv_backward, setup_context=_save_conv)
_inv_conv2d.register_autograd(_solve_backward, setup_context=_save_solve)
_causal_conv2d_weight.register_autograd(_weight_backward, setup_context=_save_weight)


def _vmap(op: Any, *, folds: bool) -> Any:
    """Fold the mapped axis of the image into its batch; call once for each slice where a kernel is mapped."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        size = info.batch_size
        tensors = [value if axis is None else value.movedim(axis, 0) for value, axis in zip(args, in_dims, strict=True)]
        if folds and in_dims[1] is None:
            result = op(tensors[0].flatten(0, 1), *tensors[1:])
            return result.unflatten(0, (size, -1)), 0
        slices = [
            op(*(value if axis is None else value[number] for value, axis in zip(tensors, in_dims, strict=True)))
            for number in range(size)
        ]
        return torch.stack(slices), 0

    return rule


_causal_conv2d.register_vmap(_vmap(_causal_conv2d, folds=True))
_inv_conv2d.register_vmap(_vmap(_inv_conv2d, folds=True))
_causal_conv2d_weight.register_vmap(_vmap(_causal_conv2d_weight, folds=False))

for _op in (_causal_conv2d, _inv_conv2d):
    for _device in ("cpu", "cuda"):
        _op.register_autocast(_device, torch.float32)
