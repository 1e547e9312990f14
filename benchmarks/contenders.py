"""The methods that solve the triangular system, and the convolution for comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cases import Case
from inverseflow.errors import BackendError
from inverseflow.ops import available_backends, backend, causal_conv2d, explain, inv_conv2d

Function = Callable[[Tensor, Tensor], Tensor]

_LARGEST_DENSE = 1200  # unknowns of one image
_LARGEST_FORCED = 2_000_000  # elements of the image, for a backend that is not the default
_LARGEST_SWEEPS = 1e9  # floating-point operations of all sweeps
_LARGEST_ANTIDIAGONAL = 2e10  # one pixel of all images in sequence, a channel at a time


@dataclass(frozen=True)
class Contender:
    """One method on one case."""

    function: Function
    """From image and kernel to image."""
    image: Tensor
    variant: str
    """Short description of the algorithm."""
    trains: bool
    """Whether its gradient is also timed."""


def contenders(case: Case, y: Tensor, weight: Tensor) -> dict[str, Contender]:
    """Return conv2d and every method that can solve this case in reasonable time, by name.

    Args:
        case: the problem.
        y: its image.
        weight: its kernel.
    """
    methods = {"conv2d": convolution(y, weight)}
    default = explain(y, weight).partition(":")[0]
    for name, reason in available_backends().items():
        fits = case.channels * case.side**2 <= _LARGEST_DENSE if name == "dense" else y.numel() <= _LARGEST_FORCED
        if reason is None and (fits or name == default):
            try:
                with backend(name):
                    variant = explain(y, weight).partition(": ")[2]
            except BackendError:
                continue
            methods[name] = Contender(_forced(name), y, variant, trains=name != "dense")
    if 2 * case.side * case.flops <= _LARGEST_SWEEPS:
        methods["jacobi"] = Contender(_jacobi, y, f"{2 * case.side - 1} sweeps", trains=False)
    if y.is_cuda and find_spec("triton") and case.flops * case.side <= _LARGEST_ANTIDIAGONAL:
        methods["antidiagonal"] = Contender(_antidiagonal, y, f"{2 * case.side - 1} launches", trains=False)
    return methods


def convolution(y: Tensor, weight: Tensor) -> Contender:
    """Return ``torch.nn.functional.conv2d`` from an image to one of the same size.

    For an odd kernel the convolution pads the image. For an even kernel it could do so only by copying the image, so
    the image is padded beforehand.
    """
    padding = weight.shape[-1] // 2
    if weight.shape[-1] % 2:
        return Contender(lambda image, kernel: F.conv2d(image, kernel, padding=padding), y, f"padding={padding}", True)
    return Contender(F.conv2d, F.pad(y, (2 * padding - 1, 0, 2 * padding - 1, 0)), "padded beforehand", True)


def problem(case: Case, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a random image and a random kernel with a well-conditioned inverse."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(case.batch, case.channels, case.side, case.side, generator=generator)
    taps = torch.randn(case.channels, case.channels, case.kernel, case.kernel, generator=generator)
    return y.to(device), (0.2 * taps / math.sqrt(case.channels * case.kernel**2)).to(device)


def residual(x: Tensor, y: Tensor, weight: Tensor) -> float:
    """Return the largest element of A x - y, computed in float64 by conv2d."""
    kernel = unitriangular(weight.double())
    padding = (kernel.shape[-1] - 1, 0, kernel.shape[-2] - 1, 0)
    return float((F.conv2d(F.pad(x.double(), padding), kernel) - y.double()).abs().max())


def unitriangular(weight: Tensor) -> Tensor:
    """Return a copy of the kernel whose last tap is lower triangular with a diagonal of ones."""
    kernel = weight.clone()
    eye = torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
    kernel[:, :, -1, -1] = weight[:, :, -1, -1].tril(-1) + eye
    return kernel


def call(contender: Contender, weight: Tensor) -> Callable[[], Tensor]:
    """Bind a contender to its image and a kernel."""
    return lambda: contender.function(contender.image, weight)


def training_step(contender: Contender, weight: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    """Bind a contender to its image and a kernel: forward, and backward to both of them.

    The kernel changes its sign before each step, so that nothing derived from it can be cached.
    """
    image, kernel = contender.image.clone().requires_grad_(), weight.clone().requires_grad_()
    gradient = torch.ones_like(contender.function(image, kernel))

    def step() -> tuple[Tensor, ...]:
        with torch.no_grad():
            kernel.neg_()
        return torch.autograd.grad(contender.function(image, kernel), (image, kernel), gradient)

    return step


def _forced(name: str) -> Function:
    def solve(y: Tensor, weight: Tensor) -> Tensor:
        with backend(name):
            return inv_conv2d(y, weight, unitriangular=True)

    return solve


def _jacobi(y: Tensor, weight: Tensor) -> Tensor:
    """Iterate with the inverted last tap. The result is exact after as many sweeps as there are anti-diagonals."""
    inverse = torch.linalg.inv(unitriangular(weight)[:, :, -1, -1])
    x = torch.zeros_like(y)
    for _ in range(y.shape[2] + y.shape[3] - 1):
        x = x + torch.einsum("oi,nihw->nohw", inverse, y - causal_conv2d(x, weight, unitriangular=True))
    return x


def _antidiagonal(y: Tensor, weight: Tensor) -> Tensor:
    from benchmarks.antidiagonal import solve_by_antidiagonals

    return solve_by_antidiagonals(y, unitriangular(weight))
