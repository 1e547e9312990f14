"""Code that the backends made of torch's own operators share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight, conv3d_weight

from inverseflow.ops._corner import MIRRORS, mirrored_axes, opposite


def unavailable() -> str | None:
    """Return None: torch is always there."""
    return None


def refuses(image: Tensor) -> str | None:
    """Return None: every device and dtype is served."""
    return None


def triangular(weight: Tensor, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return the kernel of A, or of its transpose at the opposite corner, with zeros and ones in the unread entries.

    The last tap is lower triangular within each group, and upper triangular in the transpose. Entries are selected, not
    multiplied, so that unread ones may be nan.
    """
    kernel = weight.clone(memory_format=torch.contiguous_format)
    last = _read_last_tap(kernel, groups, diagonal)
    if diagonal == "unit":
        last.diagonal(dim1=1, dim2=2).fill_(1)
    if not transposed:
        return kernel
    blocks = kernel.view(groups, -1, *kernel.shape[1:])
    return blocks.transpose(1, 2).reshape(kernel.shape)


def drop_unread(gradient: Tensor, groups: int, diagonal: str) -> Tensor:
    """Zero the entries of a contiguous weight gradient whose weights are not read, in place."""
    _read_last_tap(gradient, groups, diagonal)
    return gradient


def _read_last_tap(kernel: Tensor, groups: int, diagonal: str) -> Tensor:
    """Zero the entries of the last tap that are not read, in place; return the tap, ``(G, C / G, C / G)``."""
    last = kernel.view(groups, -1, *kernel.shape[1:]).flatten(3)[..., -1]
    return last.tril_(0 if diagonal == "free" else -1)


def convolve(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return A x, or its transpose times x, by torch's convolution; of an image or a volume."""
    kernel = triangular(weight, groups, diagonal, transposed)
    corner = opposite(corner) if transposed else corner
    convolution = F.conv2d if x.ndim == 4 else F.conv3d
    with full_precision(x):
        y = convolution(pad(x, kernel, corner), mirrored(kernel, corner), groups=groups).contiguous()
    return y if finite(y) else _convolve_inside(x, kernel, corner, groups, transposed)


def finite(result: Tensor) -> bool:
    """Tell whether a result on a CPU is finite; on a GPU take it to be, because to look would be to wait.

    Torch's convolution multiplies the padding by the taps that fall there, and zero times infinity is not zero. The
    tiles of `blocked` and the matrix of `dense` hold such zeros too. So a result that is not finite is computed again
    by the taps inside the image alone, slowly: then all backends agree on where it is finite.
    """
    # A sum is nan or infinite if a term is, and costs a tenth of looking at each; finite terms rarely overflow it.
    return result.device.type != "cpu" or bool(result.sum().isfinite()) or bool(result.isfinite().all())


def _convolve_inside(x: Tensor, kernel: Tensor, corner: str, groups: int, transposed: bool) -> Tensor:
    mirror = mirrored_axes(corner)
    image = x.flip(mirror).unflatten(1, (groups, -1))  # (N, G, C, *size)
    y = torch.zeros_like(image)
    for behind, tap, read_by_it in taps(kernel.unflatten(0, (groups, -1)), image):
        if any(behind):
            shifted(y, behind).add_(torch.einsum("goi,ngi...->ngo...", tap, read_by_it))
            continue
        for i in range(image.shape[2]):
            read = slice(i + 1) if transposed else slice(i, None)
            y[:, :, read] += tap[:, read, i].reshape(groups, -1, *[1] * len(behind)) * image[:, :, i : i + 1]
    return y.flatten(1, 2).flip(mirror)


def remedied(x: Tensor, y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return the solution x of A x = y, solved again pixel by pixel and channel by channel if it is not finite."""
    if finite(x):
        return x
    kernel = triangular(weight, groups, diagonal, transposed)
    mirror = mirrored_axes(opposite(corner) if transposed else corner)
    x = y.flip(mirror).unflatten(1, (groups, -1)).contiguous()  # (N, G, C, H, W)
    (_, last, _), *others = taps(kernel.unflatten(0, (groups, -1)), x)
    channels = range(x.shape[2])
    for h in range(x.shape[3]):
        for w in range(x.shape[4]):
            pixel = x[..., h, w]
            for (a, b), tap, _ in others:
                if a <= h and b <= w:
                    pixel -= torch.einsum("goi,ngi->ngo", tap, x[..., h - a, w - b])
            for i in reversed(channels) if transposed else channels:
                pixel[..., i] /= last[:, i, i]
                later = slice(i) if transposed else slice(i + 1, None)
                pixel[..., later] -= last[:, later, i] * pixel[..., i : i + 1]
    return x.flatten(1, 2).flip(mirror)


def taps(kernel: Tensor, image: Tensor) -> Iterator[tuple[tuple[int, ...], Tensor, Tensor]]:
    """Yield (behind, tap, pixels): each tap inside of the image, where it reads, and the pixels it reads.

    A tap reads so many pixels behind, along each axis. The kernel is ``(G, C, C, *sides)``, the image
    ``(N, G, C, *size)``.
    """
    sides, size = kernel.shape[3:], image.shape[3:]
    for behind in product(*(range(min(side, length)) for side, length in zip(sides, size, strict=True))):
        tap, pixels = kernel, image
        for axis, back in enumerate(behind, start=3):
            tap = tap.select(3, tap.shape[3] - 1 - back)
            pixels = pixels.narrow(axis, 0, pixels.shape[axis] - back)
        yield behind, tap, pixels


def shifted(image: Tensor, behind: tuple[int, ...]) -> Tensor:
    """Return the pixels that have a pixel so far behind them."""
    for axis, back in enumerate(behind, start=-len(behind)):
        image = image.narrow(axis, back, image.shape[axis] - back)
    return image


def pad(image: Tensor, kernel: Tensor, corner: str) -> Tensor:
    """Pad with zeros on the sides where the walk starts."""
    borders: list[int] = []
    for mirrored, side in zip(reversed(MIRRORS[corner]), reversed(kernel.shape[2:]), strict=True):
        borders += (0, side - 1) if mirrored else (side - 1, 0)
    return F.pad(image, borders)


def mirrored(kernel: Tensor, corner: str) -> Tensor:
    """Mirror a kernel between its top-left orientation and the orientation of the corner."""
    axes = mirrored_axes(corner)
    return kernel.flip(axes) if axes else kernel


@contextmanager
def full_precision(image: Tensor) -> Iterator[None]:
    """Keep cuDNN from rounding float32 to the 11 bits of TF32: the convolution would no longer invert the solve."""
    if not image.is_cuda:
        yield
        return
    now = torch.backends.cudnn
    with now.flags(enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False):
        yield


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Let torch differentiate its own convolution."""
    of_weight: Callable[..., Tensor] = conv2d_weight if x.ndim == 4 else conv3d_weight
    with full_precision(x):
        result = of_weight(pad(x, weight, corner), list(weight.shape), grad, groups=groups)
    result = mirrored(result, corner).contiguous()
    if not finite(result):
        result = _weight_gradient_inside(x, grad, weight, corner, groups)
    return drop_unread(result, groups, diagonal)


def _weight_gradient_inside(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int) -> Tensor:
    image, arriving = (part.flip(mirrored_axes(corner)).unflatten(1, (groups, -1)) for part in (x, grad))
    result = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    for behind, tap, read_by_it in taps(result.unflatten(0, (groups, -1)), image):
        tap.copy_(torch.einsum("ngop,ngip->goi", shifted(arriving, behind).flatten(3), read_by_it.flatten(3)))
    return result
