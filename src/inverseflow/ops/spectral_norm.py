"""The spectral norm of an ordinary convolution: measured, and bounded from above."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.errors import ConvergenceError
from inverseflow.ops.precision import at_least_single
from inverseflow.ops.same_conv import same_conv2d, same_conv2d_transposed
from inverseflow.utils.arguments import finite_number


@dataclass(frozen=True)
class SpectralNorm:
    r"""The largest singular value of a convolution on images of a size, as power iteration found it."""

    value: float
    r""":math:`\sigma = \lVert A v \rVert` for the last unit vector v; never above the norm."""
    residual: float
    r""":math:`\lVert A^T A v - \sigma^2 v \rVert / \sigma^2`: some singular value is this close to σ, relatively."""
    iterations: int
    """How many convolutions and transposed convolutions it took."""


@torch.no_grad()
def conv2d_spectral_norm(
    weight: Tensor, size: tuple[int, int], *, tolerance: float = 1e-3, max_iterations: int = 10_000
) -> SpectralNorm:
    r"""Measure the spectral norm of `same_conv2d` on images of a size by power iteration, in float64.

    .. math:: v \leftarrow A^T A v / \lVert A^T A v \rVert, \qquad \sigma = \lVert A v \rVert

    The norm of the operator with zeros at the borders is not the norm of a reshaped kernel. The start is always the
    same. The value is a lower bound of the norm; `conv_spectral_norm_bound` is an upper one.

    Args:
        weight: kernel, ``(C', C, kH, kW)``.
        size: height and width of the image.
        tolerance: residual at which to stop.
        max_iterations: number of iterations after which to give up.

    Returns:
        The norm, the residual and the number of iterations.

    Raises:
        ValueError: if the tolerance is not positive and finite.
        ConvergenceError: if the residual is above the tolerance after the last iteration.

    Reference:
        `Gouk et al., Regularisation of Neural Networks by Enforcing Lipschitz Continuity, 2021
        <https://arxiv.org/abs/1804.04368>`_, section 4.

    Example:
        >>> conv2d_spectral_norm(torch.full((1, 1, 1, 3), 1.0), (1, 3)).value  # 1 + √2
        2.414
    """
    tolerance = finite_number("tolerance", tolerance, above=0)
    kernel = weight.detach().to(torch.float64)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(1, kernel.shape[1], *size, generator=generator, dtype=torch.float64).to(kernel.device)
    residual = float("inf")
    for iteration in range(1, max_iterations + 1):
        v = v / torch.linalg.vector_norm(v)
        image = same_conv2d(v, kernel)
        square = image.square().sum()
        if square == 0:
            return SpectralNorm(value=0.0, residual=0.0, iterations=iteration)
        back = same_conv2d_transposed(image, kernel)
        residual = float(torch.linalg.vector_norm(back - square * v) / square)
        if residual <= tolerance:
            return SpectralNorm(value=float(square.sqrt()), residual=residual, iterations=iteration)
        v = back
    raise ConvergenceError(
        f"a power iteration stopped at a residual of {residual:.2g}, above its tolerance of {tolerance:.2g}, after "
        f"{max_iterations} iterations; allow more with max_iterations, loosen it, or take conv_spectral_norm_bound"
    )


def conv_spectral_norm_bound(weight: Tensor, size: Sequence[int], *, squarings: int = 5) -> Tensor:
    r"""Bound the spectral norm of a same-padded convolution on events of a size, differentiably, with no iteration.

    .. math:: \lVert A \rVert_2 \le \max_\theta \lVert \hat K(\theta) \rVert_2
        \le \max_\theta \lVert G_n(\theta) \rVert_F^{2^{-n}}, \qquad G_0 = \hat K, \quad G_{j+1} = G_j^* G_j

    with θ the frequencies of a torus of (H + kH - 1)×(W + kW - 1) pixels. On this torus nothing wraps around onto the
    image, so A embeds the image, convolves circularly, and crops. A circular convolution is block diagonal in the
    Fourier basis. The norm of a matrix is at most its Frobenius norm, and squaring the matrix squares the norm. The
    second inequality loses a factor of at most :math:`\min(C, C')^{2^{-n-1}}`; the loss of the first vanishes for large
    images. A convolution is `same_conv2d`, its like on sequences and volumes, or, without spatial axes, a matrix.

    Args:
        weight: kernel, ``(C', C, *kernel)`` with no to three spatial axes.
        size: lengths of the spatial axes of the event, such as ``(H, W)``.
        squarings: n, the number of squarings.

    Returns:
        A scalar in the dtype of the weight, or float32 if that is half precision. No value is read on the way, so it
        can be compiled.

    Reference:
        Delattre et al., Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration, 2023.

    Example:
        >>> conv_spectral_norm_bound(torch.full((1, 1, 1, 3), 1.0), (1, 3))
        tensor(3.)
        >>> conv_spectral_norm_bound(torch.tensor([[3.0, 0.0], [4.0, 0.0]]), ())
        tensor(5.)
    """
    weight = at_least_single(weight)
    taps = weight.shape[2:]
    # Along an axis of one tap all frequencies are alike.
    torus = [1 if tap == 1 else side + tap - 1 for side, tap in zip(size, taps, strict=True)]
    tiny = torch.finfo(weight.dtype).tiny
    largest = weight.detach().abs().flatten().amax(0).clamp_min(tiny)  # divided out, so that no square overflows
    matrix = weight / largest
    if max(torus, default=1) == 1:
        matrix = matrix.flatten(1)  # real
    else:
        axes = tuple(range(2, weight.ndim))
        matrix = torch.fft.rfftn(matrix, s=torus, dim=axes).permute(*axes, 0, 1)  # (*frequencies, C', C)
    if weight.shape[0] < weight.shape[1]:
        matrix = matrix.mH  # its Gram matrix is the smaller one
    norms, powers = [], []
    for step in range(squarings + 1):
        if step % 4 == 0 or step == squarings:  # of rank r, four squarings take a norm of 1 to at least r⁻⁸
            norms.append(torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True).clamp_min(tiny))
            powers.append(0.5**step)
            matrix = matrix / norms[-1]
        if step < squarings:
            matrix = matrix.mH @ matrix
    log_bounds = (torch.cat(norms, -1).log() * weight.new_tensor(powers)).sum(-1)
    bound: Tensor = largest * log_bounds.flatten().amax(0).exp()
    return bound
