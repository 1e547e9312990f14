"""The invertible k×k convolution and its exact inverse."""

from __future__ import annotations

import torch
from torch import Tensor

from inverseflow.ops import _operators
from inverseflow.ops._corner import CORNERS, Corner
from inverseflow.ops.dispatch import description
from inverseflow.ops.torch_internals import dispatch_mode_active, unwrap_functorch
from inverseflow.utils.arguments import one_of, whole_number


def causal_conv2d(
    x: Tensor, weight: Tensor, *, corner: Corner = "top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Convolve with one-sided padding, so that the map is triangular and its inverse is `inv_conv2d`.

    .. math:: y_{o,h,w} = \sum_{i,a,b} K_{o,i,\,k_H-1-a,\,k_W-1-b}\; x_{i,\,h-a,\,w-b}

    for ``corner="top_left"``; the other corners mirror the image, apply the same map, and mirror back. In raster
    order with channels innermost the map is lower triangular when the last tap ``weight[:, :, -1, -1]`` is, and its
    log-determinant is H·W·Σ log|diagonal of the last tap|.

    Taps outside of the image contribute nothing, even if a weight is not finite (except on a GPU, where such a weight
    may harm more pixels). With the C++ backend an image has the same result, to the bit, in any batch and at any number
    of threads.

    It can be differentiated any number of times in both modes, by autograd and by every transform of `torch.func` but
    `functionalize`. A compiled function that contains a transform runs it uncompiled; ``fullgraph=True`` makes that an
    error.

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
        ValueError: if a rank, channel count, group count or corner does not fit.
        TypeError: if an input is no tensor or of an integer dtype, or the dtypes differ.

    Reference:
        `Nagar et al., CInC Flow, 2021 <https://arxiv.org/abs/2107.01358>`_, section 3;
        `Nagar and Varma, Inverse-Flow, 2025 <https://arxiv.org/abs/2410.14634>`_, section 3.

    Example:
        >>> x, weight = torch.randn(2, 3, 8, 8), 0.1 * torch.randn(3, 3, 3, 3)
        >>> y = causal_conv2d(x, weight, unitriangular=True)
        >>> torch.allclose(inv_conv2d(y, weight, unitriangular=True), x, atol=1e-5)
        True
    """
    groups = _check("causal_conv2d", x, weight, corner, groups)
    diagonal = "unit" if unitriangular else "free"
    y = _operators.convolve(*_in_full_precision(x, weight), corner, groups, diagonal, False)
    return _in_precision_of(x, y)


def inv_conv2d(
    y: Tensor, weight: Tensor, *, corner: Corner = "top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Invert `causal_conv2d` exactly: return the x whose convolution is y.

    .. math:: x = A^{-1} y, \qquad
        x_{h,w} = T^{-1}\Big(y_{h,w} - \sum_{(a,b) \neq 0} K_{a,b}\, x_{h-a,w-b}\Big)

    with T the last tap. The gradient is exact too: with :math:`S = A^{-T} g`, the gradient of y is S, and the gradient
    of the kernel is minus the correlation of x with S. It needs x and the weight only. It can be differentiated as
    `causal_conv2d` can.

    A unit determinant does not bound the inverse, which can grow geometrically with H + W. With a unit diagonal, it
    stays below 1/(1-ρ) in the maximum norm if the absolute off-diagonal weights of every output channel sum to at most
    ρ < 1.

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
        ValueError: if a rank, channel count, group count or corner does not fit. On a CPU, outside of compilation and
            tracing, also if the diagonal of the last tap has a zero, in any of the kernels under `torch.vmap`;
            elsewhere a zero gives inf or nan, as in `torch.linalg.solve_triangular`.
        TypeError: if an input is no tensor or of an integer dtype, or the dtypes differ.

    Reference:
        `Nagar and Varma, Inverse-Flow, 2025 <https://arxiv.org/abs/2410.14634>`_, section 3. The gradient is ours: the
        printed one is not the gradient of this map.

    Example:
        >>> y = torch.zeros(1, 1, 3, 3)
        >>> y[0, 0, 0, 0] = 1.0
        >>> inv_conv2d(y, torch.tensor([[[[0.5, 1.0]]]]))[0, 0, 0]
        tensor([ 1.0000, -0.5000,  0.2500])
        >>> jacobian = torch.func.jacfwd(inv_conv2d)(y, torch.tensor([[[[0.5, 2.0]]]])).view(9, 9)
        >>> jacobian.logdet() / torch.tensor(2.0).log()
        tensor(-9.)
    """
    groups = _check("inv_conv2d", y, weight, corner, groups)
    if not unitriangular:
        _check_diagonal(weight, groups)
    diagonal = "unit" if unitriangular else "free"
    x = _operators.solve(*_in_full_precision(y, weight), corner, groups, diagonal, False)
    return _in_precision_of(y, x)


def explain(image: Tensor, weight: Tensor, *, groups: int = 1) -> str:
    """Say which backend would serve `inv_conv2d` on this image and kernel, and how.

    Args:
        image: ``(N, C, H, W)``.
        weight: ``(C, C / groups, kH, kW)``.
        groups: number of channel groups.

    Raises:
        ValueError, TypeError: as by `inv_conv2d`.
        BackendError: if the backend that was asked for cannot serve the call.

    Example:
        >>> with backend("blocked"):
        ...     explain(torch.randn(8, 4, 14, 14), torch.randn(4, 4, 3, 3))
        'blocked: tiles of 4×4'
    """
    groups = _check("explain", image, weight, "top_left", groups)
    if image.numel() == 0:
        return "nothing to solve"
    return description(*_in_full_precision(image, weight), groups)


def _check(name: str, image: Tensor, weight: Tensor, corner: str, groups: int) -> int:
    """Check the arguments and return the number of groups as an `int`."""
    for tensor in (image, weight):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} expects tensors, got {type(tensor).__name__}; convert with torch.as_tensor()")
    if type(groups) is not int:
        groups = whole_number("groups", groups)
    if image.ndim != 4:
        raise ValueError(f"{name} expects an image (N, C, H, W), got shape {tuple(image.shape)}; add the missing axes")
    if weight.ndim != 4:
        raise ValueError(f"{name} expects a kernel (C, C / groups, kH, kW), got shape {tuple(weight.shape)}")
    if not image.is_floating_point() or not weight.is_floating_point():
        raise TypeError(
            f"{name} expects floating-point tensors, got {image.dtype} and {weight.dtype}; convert with .float() first"
        )
    one_of("corner", corner, CORNERS)
    channels = image.shape[1]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups={groups} does not divide the {channels} channels of shape {tuple(image.shape)}")
    if weight.shape[:2] != (channels, channels // groups) or 0 in weight.shape[2:]:
        raise ValueError(
            f"a kernel for {channels} channels in {groups} group(s) has shape "
            f"({channels}, {channels // groups}, kH, kW) with at least one tap, got {tuple(weight.shape)}"
        )
    if image.device != weight.device:
        raise ValueError(f"{name} got an image on {image.device} and a kernel on {weight.device}; move one with .to()")
    if image.dtype != weight.dtype and not torch.is_autocast_enabled(image.device.type):
        raise TypeError(f"{name} got an image of {image.dtype} and a kernel of {weight.dtype}; convert one with .to()")
    return groups


def _check_diagonal(weight: Tensor, groups: int) -> None:
    if weight.device.type != "cpu" or torch.compiler.is_compiling() or dispatch_mode_active():
        return
    weight = unwrap_functorch(weight.detach())
    *mapped, _, per_group, rows, columns = weight.shape
    *between, along_out, along_in, along_rows, along_columns = weight.stride()
    diagonal = weight.as_strided(
        (*mapped, groups, per_group),
        (*between, per_group * along_out, along_out + along_in),
        weight.storage_offset() + (rows - 1) * along_rows + (columns - 1) * along_columns,
    )
    if diagonal.count_nonzero().item() < diagonal.numel():
        channel = int((diagonal.flatten(-2) == 0).nonzero()[0, -1])
        raise ValueError(
            f"the last tap's diagonal is zero at channel {channel}, so the convolution has no inverse; "
            "make it nonzero or pass unitriangular=True"
        )


def _in_full_precision(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    if image.dtype == weight.dtype and image.dtype in (torch.float32, torch.float64):
        return image, weight
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    return image.to(dtype), weight.to(dtype)


def _in_precision_of(image: Tensor, result: Tensor) -> Tensor:
    if result.dtype == image.dtype or torch.is_autocast_enabled(image.device.type):
        return result
    return result.to(image.dtype)
