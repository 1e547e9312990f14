"""The invertible k×k convolution, its exact inverse, and how much the inverse amplifies."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverseflow.ops import _operators
from inverseflow.ops._corner import MIRRORS, Corner, corners
from inverseflow.ops.dispatch import chosen, chosen_name
from inverseflow.ops.torch_internals import dispatch_mode_active, unwrap_functorch
from inverseflow.utils.arguments import one_of, whole_number, whole_shape


def causal_conv2d(
    x: Tensor, weight: Tensor, *, corner: Corner = "top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Convolve with one-sided padding, so that the map is triangular and its inverse is `inv_conv2d`.

    .. math:: y_{o,h,w} = \sum_{i,a,b} K_{o,i,\,k_H-1-a,\,k_W-1-b}\; x_{i,\,h-a,\,w-b}

    for ``corner="top_left"``; the other corners mirror the image, apply the same map, and mirror back. In raster
    order with channels innermost the map is lower triangular when the last tap ``weight[:, :, -1, -1]`` is, and its
    log-determinant is H·W·Σ log|diagonal of the last tap|.

    Taps outside of the image contribute nothing, even if a weight is not finite (except on a GPU). With the C++ backend
    an image has the same result, to the bit, in any batch and at any number of threads. It can be differentiated any
    number of times in both modes, by autograd and by every transform of `torch.func` but `functionalize`. A compiled
    function that contains a transform runs it uncompiled; ``fullgraph=True`` makes that an error.

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
    return _convolve("causal_conv2d", 2, x, weight, corner, unitriangular, groups)


def inv_conv2d(
    y: Tensor, weight: Tensor, *, corner: Corner = "top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Invert `causal_conv2d` exactly: return the x whose convolution is y.

    .. math:: x = A^{-1} y, \qquad
        x_{h,w} = T^{-1}\Big(y_{h,w} - \sum_{(a,b) \neq 0} K_{a,b}\, x_{h-a,w-b}\Big)

    with T the last tap. The gradient is exact too: with :math:`S = A^{-T} g`, the gradient of y is S, and the gradient
    of the kernel is minus the correlation of x with S. It needs x and the weight only. It can be differentiated as
    `causal_conv2d` can.

    The inverse can grow geometrically with H + W (see `growth`). With a unit diagonal, it stays below 1/(1-ρ) in the
    maximum norm if the absolute off-diagonal weights of every output channel sum to at most ρ < 1.

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
    return _solve("inv_conv2d", 2, y, weight, corner, unitriangular, groups)


def causal_conv1d(
    x: Tensor, weight: Tensor, *, corner: str = "left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Convolve a sequence with one-sided padding: `causal_conv2d` with one axis, by the same kernels.

    Dtypes, derivatives and errors are those of `causal_conv2d`.

    .. math:: y_{o,t} = \sum_{i,a} K_{o,i,\,k-1-a}\; x_{i,\,t-a}

    Args:
        x: sequence, ``(N, C, T)``.
        weight: kernel, ``(C, C / groups, k)``; of the last tap only the lower triangle is read.
        corner: end at which the walk starts: ``"left"``, or ``"right"`` for a map that reads later elements.
        unitriangular: take the diagonal of the last tap as ones instead of reading it.
        groups: number of channel groups that do not see each other.

    Returns:
        ``(N, C, T)``.

    Example:
        >>> causal_conv1d(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[10.0, 1.0]]]))
        tensor([[[ 1., 12., 23.]]])
    """
    return _convolve("causal_conv1d", 1, x, weight, corner, unitriangular, groups)


def inv_conv1d(
    y: Tensor, weight: Tensor, *, corner: str = "left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Invert `causal_conv1d` exactly, as `inv_conv2d` inverts `causal_conv2d`.

    Dtypes, derivatives and errors are those of `inv_conv2d`, and so is the growth of the inverse with T.

    .. math:: x_t = T^{-1}\Big(y_t - \sum_{a > 0} K_a\, x_{t-a}\Big)

    Args:
        y: sequence, ``(N, C, T)``.
        weight: kernel, ``(C, C / groups, k)``; read as by `causal_conv1d`.
        corner: end at which the walk starts: ``"left"``, or ``"right"`` for a map that reads later elements.
        unitriangular: take the diagonal of the last tap as ones instead of reading it.
        groups: number of channel groups that do not see each other.

    Returns:
        ``(N, C, T)``.

    Example:
        >>> inv_conv1d(torch.tensor([[[1.0, 12.0, 23.0]]]), torch.tensor([[[10.0, 1.0]]]))
        tensor([[[1., 2., 3.]]])
    """
    return _solve("inv_conv1d", 1, y, weight, corner, unitriangular, groups)


def causal_conv3d(
    x: Tensor, weight: Tensor, *, corner: str = "front_top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    r"""Convolve a volume with one-sided padding: `causal_conv2d` with one axis more, by torch's convolution.

    Dtypes, derivatives and errors are those of `causal_conv2d`.

    .. math:: y_{o,d,h,w} = \sum_{i,c,a,b} K_{o,i,\,k_D-1-c,\,k_H-1-a,\,k_W-1-b}\; x_{i,\,d-c,\,h-a,\,w-b}

    Args:
        x: volume, ``(N, C, D, H, W)``.
        weight: kernel, ``(C, C / groups, kD, kH, kW)``; of the last tap only the lower triangle is read.
        corner: where the walk starts, one of the eight names ``corners(3)``, such as ``"back_top_left"``.
        unitriangular: take the diagonal of the last tap as ones instead of reading it.
        groups: number of channel groups that do not see each other.

    Returns:
        ``(N, C, D, H, W)``. The bits may depend on the batch and the number of threads.

    Example:
        >>> x, weight = torch.randn(1, 2, 4, 4, 4), 0.1 * torch.randn(2, 2, 3, 3, 3)
        >>> y = causal_conv3d(x, weight, unitriangular=True)
        >>> torch.allclose(inv_conv3d(y, weight, unitriangular=True), x, atol=1e-5)
        True
    """
    return _convolve("causal_conv3d", 3, x, weight, corner, unitriangular, groups)


def inv_conv3d(
    y: Tensor, weight: Tensor, *, corner: str = "front_top_left", unitriangular: bool = False, groups: int = 1
) -> Tensor:
    """Invert `causal_conv3d` exactly, as `inv_conv2d` inverts `causal_conv2d`: slice after slice along the depth.

    Dtypes, derivatives and errors are those of `inv_conv2d`, and so is the growth of the inverse with D + H + W. With
    the C++ backend a volume has the same result, to the bit, in any batch and at any number of threads.

    Args:
        y: volume, ``(N, C, D, H, W)``.
        weight: kernel, ``(C, C / groups, kD, kH, kW)``; read as by `causal_conv3d`.
        corner: where the walk starts, one of the eight names ``corners(3)``, such as ``"back_top_left"``.
        unitriangular: take the diagonal of the last tap as ones instead of reading it.
        groups: number of channel groups that do not see each other.

    Returns:
        ``(N, C, D, H, W)``.

    Example:
        >>> y, weight = torch.zeros(1, 1, 4, 1, 1), torch.tensor([0.5, 1.0]).view(1, 1, 2, 1, 1)
        >>> y[:, :, 0] = 1.0
        >>> inv_conv3d(y, weight).flatten()
        tensor([ 1.0000, -0.5000,  0.2500, -0.1250])
    """
    return _solve("inv_conv3d", 3, y, weight, corner, unitriangular, groups)


@dataclass(frozen=True)
class Growth:
    r"""Largest ratio of the solution of an inverse convolution to its right-hand side, in the maximum norm."""

    actual: float
    r""":math:`\lVert A^{-1} \rVert_\infty`: the largest value of x over all y with values in [-1, 1], attained."""
    bound: float
    r""":math:`\lVert T^{-1} \rVert_\infty / (1 - \rho)`, which holds for any size; infinite unless ρ < 1.

    ρ is the largest sum of absolute weights of an output channel, after dividing by the last tap T.
    """


@torch.no_grad()
def growth(weight: Tensor, size: tuple[int, ...], *, unitriangular: bool = False, groups: int = 1) -> Growth:
    r"""Measure the growth of the inverse convolution on events of a size, and bound it for all sizes.

    The inverse is again shift-invariant, so its norm is the sum of the absolute impulse responses that reach the last
    pixel. A growth above about 1e5 leaves few correct digits in float32.

    Args:
        weight: kernel, ``(C, C / groups, *sides)``, read as by `inv_conv1d`, `inv_conv2d` or `inv_conv3d`.
        size: the spatial shape: length, or height and width, or depth, height and width.
        unitriangular: take the diagonal of the last tap as ones.
        groups: number of channel groups.

    Returns:
        The actual growth, computed in float64, and the bound.

    Raises:
        ValueError: if the size is empty or has another number of axes than the kernel, or the kernel does not fit.

    Reference:
        Ahlberg and Nilson, 1963, for the bound, which holds for any diagonally dominant matrix.

    Example:
        >>> growth(torch.tensor([[[[-0.5, 1.0]]]]), (1, 50))
        Growth(actual=2.0, bound=2.0)
        >>> growth(torch.tensor([[[[-2.0, 1.0]]]]), (1, 50)).actual > 1e15
        True
    """
    axes = len(whole_shape("size", size))
    if weight.ndim - 2 != axes or axes not in _EVENTS:
        raise ValueError(
            f"size must have one number for each of the 1, 2 or 3 spatial axes of a kernel, got {tuple(size)} and "
            f"a kernel of shape {tuple(weight.shape)}"
        )
    channels, per_group = weight.shape[:2]
    kernel = weight.detach().to(torch.float64)
    eye = torch.eye(per_group, dtype=kernel.dtype, device=kernel.device)
    impulses = kernel.new_zeros(per_group, channels, *size)
    impulses.flatten(2)[..., :1] = eye.repeat(1, groups).unsqueeze(-1)
    start = corners(axes)[0]
    responses = _solve("growth", axes, impulses, kernel, start, unitriangular, groups)  # (C / groups, C, *size)
    actual = float(responses.abs().flatten(2).sum((0, 2)).max()) if responses.numel() else 0.0

    others = kernel.flatten(2).unflatten(0, (groups, per_group)).clone()  # (G, C / groups, C / groups, taps)
    last = others[..., -1].tril()
    others[..., -1] = 0
    inverse = torch.linalg.solve_triangular(last, eye.expand_as(last), upper=False, unitriangular=unitriangular)
    divided = torch.einsum("gpo,goit->gpit", inverse, others)
    rho = float(divided.abs().sum((2, 3)).max())
    bound = float(inverse.abs().sum(2).max()) / (1 - rho) if rho < 1 else math.inf
    return Growth(actual=actual, bound=bound)


def explain(image: Tensor, weight: Tensor, *, groups: int = 1) -> str:
    """Say which backend would serve `inv_conv1d`, `inv_conv2d` or `inv_conv3d` on this event and kernel, and how.

    Args:
        image: ``(N, C, H, W)``, or a sequence or a volume.
        weight: ``(C, C / groups, kH, kW)``, or the kernel of a sequence or a volume.
        groups: number of channel groups.

    Raises:
        ValueError, TypeError: as by `inv_conv2d`.
        BackendError: if the backend that was asked for cannot serve the call.

    Example:
        >>> with backend("blocked"):
        ...     explain(torch.randn(8, 4, 14, 14), torch.randn(4, 4, 3, 3))
        'blocked: tiles of 4×4'
    """
    axes = image.ndim - 2 if isinstance(image, Tensor) and image.ndim - 2 in _EVENTS else 2
    groups = _check("explain", axes, image, weight, corners(axes)[0], groups)
    if image.numel() == 0:
        return "nothing to solve"
    image, weight = _in_full_precision(image, weight)
    if axes == 1:
        image, weight = image.unsqueeze(2), weight.unsqueeze(2)
    return f"{chosen_name(image)}: {chosen(image).variant(image, weight, groups)}"


_EVENTS = {
    1: ("a sequence (N, C, T)", "k"),
    2: ("an image (N, C, H, W)", "kH, kW"),
    3: ("a volume (N, C, D, H, W)", "kD, kH, kW"),
}
"""How errors call events and kernels, by the number of spatial axes."""


def _convolve(name: str, axes: int, x: Tensor, weight: Tensor, corner: str, unitriangular: bool, groups: int) -> Tensor:
    groups = _check(name, axes, x, weight, corner, groups)
    return _apply(_operators.convolve, x, weight, corner, unitriangular, groups)


def _solve(name: str, axes: int, y: Tensor, weight: Tensor, corner: str, unitriangular: bool, groups: int) -> Tensor:
    groups = _check(name, axes, y, weight, corner, groups)
    if not unitriangular:
        _check_diagonal(weight, groups)
    return _apply(_operators.solve, y, weight, corner, unitriangular, groups)


def _check(name: str, axes: int, image: Tensor, weight: Tensor, corner: str, groups: int) -> int:
    """Check the arguments and return the number of groups as an `int`."""
    for tensor in (image, weight):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} expects tensors, got {type(tensor).__name__}; convert with torch.as_tensor()")
    if type(groups) is not int:
        groups = whole_number("groups", groups)
    event, sides = _EVENTS[axes]
    if image.ndim != 2 + axes:
        raise ValueError(f"{name} expects {event}, got shape {tuple(image.shape)}; add the missing axes")
    if weight.ndim != 2 + axes:
        raise ValueError(f"{name} expects a kernel (C, C / groups, {sides}), got shape {tuple(weight.shape)}")
    if not image.is_floating_point() or not weight.is_floating_point():
        raise TypeError(
            f"{name} needs floating-point tensors, got {image.dtype} and {weight.dtype}; convert with .float()"
        )
    if corner not in MIRRORS or len(MIRRORS[corner]) != axes:
        one_of("corner", corner, corners(axes))
    channels = image.shape[1]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups={groups} does not divide the {channels} channels of shape {tuple(image.shape)}")
    if weight.shape[:2] != (channels, channels // groups) or 0 in weight.shape[2:]:
        needed = f"({channels}, {channels // groups}, {sides}) with at least one tap"
        got = tuple(weight.shape)
        raise ValueError(f"a kernel for {channels} channels in {groups} group(s) has shape {needed}, got {got}")
    if image.device != weight.device:
        raise ValueError(f"{name} got an image on {image.device} and a kernel on {weight.device}; move one with .to()")
    if image.dtype != weight.dtype and not torch.is_autocast_enabled(image.device.type):
        raise TypeError(f"{name} got an image of {image.dtype} and a kernel of {weight.dtype}; convert one with .to()")
    return groups


def _check_diagonal(weight: Tensor, groups: int) -> None:
    if weight.device.type != "cpu" or torch.compiler.is_compiling() or dispatch_mode_active():
        return
    spatial_axes = weight.ndim - 2
    weight = unwrap_functorch(weight.detach())
    first = weight.ndim - spatial_axes - 2
    mapped, (_, per_group, *sides) = weight.shape[:first], weight.shape[first:]
    between, (along_out, along_in, *along) = weight.stride()[:first], weight.stride()[first:]
    last_tap = sum((side - 1) * step for side, step in zip(sides, along, strict=True))
    diagonal = weight.as_strided(
        (*mapped, groups, per_group),
        (*between, per_group * along_out, along_out + along_in),
        weight.storage_offset() + last_tap,
    )
    if diagonal.count_nonzero().item() < diagonal.numel():
        channel = int((diagonal.flatten(-2) == 0).nonzero()[0, -1])
        message = f"the last tap's diagonal is zero at channel {channel}, so the convolution has no inverse; "
        raise ValueError(message + "make it nonzero or pass unitriangular=True")


def _in_full_precision(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    if image.dtype == weight.dtype and image.dtype in (torch.float32, torch.float64):
        return image, weight
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    return image.to(dtype), weight.to(dtype)


def _apply(operator: Any, image: Tensor, weight: Tensor, corner: str, unitriangular: bool, groups: int) -> Tensor:
    if image.ndim == 3:  # an image of one row
        image, weight, corner = image.unsqueeze(2), weight.unsqueeze(2), f"top_{corner}"
        return _apply(operator, image, weight, corner, unitriangular, groups).squeeze(2)
    diagonal = "unit" if unitriangular else "free"
    result: Tensor = operator(*_in_full_precision(image, weight), corner, groups, diagonal, False)
    if result.dtype == image.dtype or torch.is_autocast_enabled(image.device.type):
        return result
    return result.to(image.dtype)
