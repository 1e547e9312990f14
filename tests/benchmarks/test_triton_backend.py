"""The Triton backend: in Triton's interpreter on a CPU, or on a GPU with ``--device cuda``.

Triton decides at its import whether it interprets, so that without a GPU `test_the_interpreter_passes_every_test_here`
runs this file in a process of its own; there the tests of kernels run, here they are skipped.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from benchmarks.triton_backend import launch as triton
from benchmarks.triton_backend.launch import Plan, choose_plan
from inverseflow.ops import CORNERS, backend, inv_conv2d
from inverseflow.ops._backends import dense

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ELSEWHERE = pytest.mark.skipif(INTERPRETED, reason="not for the interpreter: runs in a process without it")

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)


@pytest.fixture
def place(device):
    """The device that kernels run on."""
    if device.type != "cuda" and not INTERPRETED:
        pytest.skip("no GPU: run by test_the_interpreter_passes_every_test_here")
    return device


def triangular_kernel(channels, kernel_rows, kernel_columns, groups=1, device="cpu"):
    """Return a kernel, and the same with NaN wherever it must not be read."""
    per_group = channels // groups
    kernel = 0.4 * torch.randn(channels, per_group, kernel_rows, kernel_columns)
    kernel /= (per_group * kernel_rows * kernel_columns) ** 0.5
    last = kernel[:, :, -1, -1]
    last += torch.eye(per_group).repeat(groups, 1)
    unread = torch.ones(per_group, per_group, dtype=torch.bool).triu(1).repeat(groups, 1)
    poisoned = kernel.clone()
    last[unread] = 0.0
    poisoned[:, :, -1, -1][unread] = float("nan")
    return kernel.to(device), poisoned.to(device)


def expected_solve(y, kernel, corner, groups, diagonal, transposed):
    return dense.solve(y.double(), kernel.double(), corner, groups, diagonal, transposed)


def padded(x, kernel_rows, kernel_columns, corner):
    rows, columns = kernel_rows - 1, kernel_columns - 1
    left_right = (0, columns) if "right" in corner else (columns, 0)
    top_bottom = (0, rows) if "bottom" in corner else (rows, 0)
    return F.pad(x, (*left_right, *top_bottom))


def expected_weight_gradient(x, grad, shape, corner, groups, diagonal):
    axes = [axis for axis, name in ((-2, "bottom"), (-1, "right")) if name in corner]
    gradient = conv2d_weight(padded(x, *shape[2:], corner), list(shape), grad, groups=groups).flip(axes)
    last = gradient[:, :, -1, -1].unflatten(0, (groups, -1)).tril(0 if diagonal == "free" else -1)
    gradient[:, :, -1, -1] = last.flatten(0, 1)
    return gradient


@pytest.mark.parametrize("diagonal", ["free", "unit"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("corner", CORNERS)
def test_solve_equals_the_dense_one_from_every_corner(place, corner, transposed, diagonal):
    y = torch.randn(2, 3, 5, 4, device=place)
    kernel, poisoned = triangular_kernel(3, 3, 2, device=place)
    x = triton.solve(y, poisoned, corner, 1, diagonal, transposed, Plan(2, 2, 1, 16, 16, 32))
    assert x.is_contiguous()
    expected = expected_solve(y, kernel, corner, 1, diagonal, transposed)
    torch.testing.assert_close(x.double(), expected, atol=1e-5, rtol=1e-5)


SHAPES = [  # (N, C, H, W), kernel, groups, transposed
    pytest.param((1, 1, 9, 7), (3, 3), 1, False, id="one channel, one image"),
    pytest.param((3, 2, 1, 6), (3, 3), 1, False, id="one row"),
    pytest.param((2, 2, 5, 1), (2, 3), 1, True, id="one column"),
    pytest.param((2, 2, 1, 1), (3, 3), 1, False, id="one pixel"),
    pytest.param((2, 4, 2, 3), (5, 4), 1, False, id="kernel larger than the image"),
    pytest.param((1, 4, 3, 3), (2, 3), 2, True, id="groups"),
    pytest.param((2, 3, 3, 3), (3, 1), 3, False, id="as many groups as channels"),
    pytest.param((2, 5, 3, 3), (1, 1), 1, True, id="one tap"),
    pytest.param((1, 17, 2, 2), (2, 2), 1, False, id="more channels than a block"),
    pytest.param((1, 2, 3, 5), (1, 7), 1, False, id="a long kernel"),
]


@pytest.mark.parametrize(("shape", "taps", "groups", "transposed"), SHAPES)
def test_solve_equals_the_dense_one_for_every_shape(place, shape, taps, groups, transposed):
    y = torch.randn(shape, device=place)
    kernel, poisoned = triangular_kernel(shape[1], *taps, groups, device=place)
    x = triton.solve(y, poisoned, "bottom_left", groups, "free", transposed)
    expected = expected_solve(y, kernel, "bottom_left", groups, "free", transposed)
    torch.testing.assert_close(x.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(1, 1, 1, 16, 16, 16), id="pixels"),
        pytest.param(Plan(2, 1, 4, 16, 16, 32), id="images that do not fill a program"),
        pytest.param(Plan(1, 2, 16, 16, 16, 64), id="more tiles than a block"),
        pytest.param(Plan(4, 4, 2, 16, 16, 32), id="more unknowns than a block"),
    ],
)
def test_every_plan_gives_the_same_result(place, plan):
    y = torch.randn(6, 2, 5, 6, device=place)
    kernel, _ = triangular_kernel(2, 2, 2, device=place)
    x = triton.solve(y, kernel, "top_right", 1, "free", False, plan)
    torch.testing.assert_close(
        x.double(), expected_solve(y, kernel, "top_right", 1, "free", False), atol=1e-5, rtol=1e-5
    )


def test_solve_takes_any_strides(place):
    y = torch.randn(2, 3, 4, 2, device=place).transpose(1, 3)
    kernel, _ = triangular_kernel(2, 2, 2, device=place)
    kernel = kernel.transpose(0, 1)
    x = triton.solve(y, kernel, "top_left", 1, "free", True)
    torch.testing.assert_close(x.double(), expected_solve(y, kernel, "top_left", 1, "free", True), atol=1e-5, rtol=1e-5)


def test_transposed_solve_is_the_adjoint(place):
    y, g = torch.randn(2, 2, 2, 4, 3, device=place)
    kernel, _ = triangular_kernel(2, 2, 2, device=place)
    x = triton.solve(y, kernel, "bottom_right", 1, "free", False)
    adjoint = triton.solve(g, kernel, "bottom_right", 1, "free", True)
    torch.testing.assert_close((x * g).sum(), (y * adjoint).sum(), atol=1e-4, rtol=1e-4)


def test_no_image_gives_no_image(place):
    y = torch.randn(0, 2, 4, 3, device=place)
    assert triton.solve(y, triangular_kernel(2, 2, 2, device=place)[0], "top_left", 1, "free", False).shape == y.shape
    gradient = triton.weight_gradient(y, y, torch.empty(2, 2, 3, 3), "top_left", 1, "free")
    assert gradient.shape == (2, 2, 3, 3) and not gradient.any()


def test_nan_stays_in_its_image(place):
    y = torch.randn(4, 2, 4, 3, device=place)
    y[1, 0, 2, 1] = float("nan")
    kernel, _ = triangular_kernel(2, 2, 2, device=place)
    x = triton.solve(y, kernel, "top_left", 1, "free", False, Plan(2, 2, 4, 16, 16, 32))
    assert x.isfinite().flatten(1).all(1).tolist() == [True, False, True, True]


def test_solve_is_close_in_bfloat16(place):
    y = torch.randn(2, 3, 4, 5, device=place).bfloat16()
    kernel, _ = triangular_kernel(3, 3, 3, device=place)
    x = triton.solve(y, kernel, "top_left", 1, "free", False, Plan(2, 2, 1, 16, 16, 32))
    assert x.dtype == torch.bfloat16
    expected = expected_solve(y.float(), kernel, "top_left", 1, "free", False)
    torch.testing.assert_close(x.double(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("shape", "taps", "groups", "corner"),
    [
        *(pytest.param((2, 3, 5, 7), (3, 2), 1, corner, id=corner) for corner in CORNERS),
        pytest.param((3, 6, 2, 3), (2, 4), 2, "top_right", id="groups, kernel larger than the image"),
        pytest.param((1, 1, 1, 9), (1, 1), 1, "top_left", id="one tap"),
        pytest.param((30, 70, 5, 4), (2, 1), 1, "bottom_left", id="several blocks and shares"),
    ],
)
@pytest.mark.parametrize("diagonal", ["free", "unit"])
def test_weight_gradient_equals_that_of_torch(place, shape, taps, groups, corner, diagonal):
    x, grad = torch.randn(2, *shape, device=place)
    kernel_shape = (shape[1], shape[1] // groups, *taps)
    gradient = triton.weight_gradient(x, grad, torch.empty(kernel_shape), corner, groups, diagonal)
    expected = expected_weight_gradient(x.double(), grad.double(), kernel_shape, corner, groups, diagonal)
    torch.testing.assert_close(gradient.double(), expected, atol=1e-4, rtol=1e-4)


def test_weight_gradient_is_close_in_bfloat16(place):
    x, grad = torch.randn(2, 2, 3, 5, 5, device=place).bfloat16()
    gradient = triton.weight_gradient(x, grad, torch.empty(3, 3, 3, 3), "top_left", 1, "free")
    assert gradient.dtype == torch.bfloat16
    expected = expected_weight_gradient(x.double(), grad.double(), (3, 3, 3, 3), "top_left", 1, "free")
    torch.testing.assert_close(gradient.double(), expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("side", [2, 6])
def test_launches_do_not_depend_on_the_image(place, side, monkeypatch):
    from benchmarks.triton_backend import kernels

    launched = []
    for name in ("window_matrix", "solve_tiles", "correlate"):
        monkeypatch.setattr(kernels, name, Counted(name, getattr(kernels, name), launched))
    y = torch.randn(2, 1, side, side, device=place)
    triton.solve(y, triangular_kernel(1, 2, 2, device=place)[0], "top_left", 1, "free", False)
    triton.weight_gradient(y, y, torch.empty(1, 1, 2, 2), "top_left", 1, "free")
    assert launched == ["window_matrix", "solve_tiles", "correlate"]


class Counted:
    def __init__(self, name, kernel, launched):
        self.name, self.kernel, self.launched = name, kernel, launched

    def __getitem__(self, grid):
        self.launched.append(self.name)
        return self.kernel[grid]


def test_published_algorithm_is_exact_here(place):
    from benchmarks.antidiagonal import solve_by_antidiagonals

    y = torch.randn(2, 2, 3, 4, device=place)
    kernel, poisoned = triangular_kernel(2, 2, 3, device=place)
    x = solve_by_antidiagonals(y, poisoned)
    torch.testing.assert_close(
        x.double(), expected_solve(y, kernel, "top_left", 1, "free", False), atol=1e-5, rtol=1e-5
    )


def test_solve_and_its_gradients_on_a_gpu_survive_a_cuda_graph(place):
    if place.type != "cuda":
        pytest.skip("needs a GPU")
    y = torch.randn(64, 12, 16, 16, device=place)
    kernel, _ = triangular_kernel(12, 3, 3, device=place)

    def step():
        x = triton.solve(y, kernel, "top_left", 1, "free", False)
        return x, triton.weight_gradient(x, y, kernel, "top_left", 1, "free")

    expected = step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    graph.replay()
    torch.testing.assert_close(result, expected, atol=0.0, rtol=0.0)
    torch.testing.assert_close(
        result[0].double(), expected_solve(y, kernel, "top_left", 1, "free", False), atol=1e-4, rtol=1e-4
    )


@ELSEWHERE
@pytest.mark.slow
@pytest.mark.parametrize("storage", ["fp32", "bf16"])
def test_kernels_compile_for_a_gpu_and_keep_float32(storage, tmp_path, monkeypatch):
    from benchmarks.antidiagonal import _solve_antidiagonal
    from benchmarks.triton_backend import kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointer, precision = f"*{storage}", "ieee" if storage == "fp32" else "tf32"
    tile = {"C": 3, "ROWS": 2, "COLUMNS": 2, "ABOVE": 2, "LEFT": 1}
    blocks = {"BLOCK_M": 16, "BLOCK_U": 16, "BLOCK_K": 32}
    correlation = {"C": 3, "KERNEL_ROWS": 3, "KERNEL_COLUMNS": 2, "BLOCK_O": 16, "BLOCK_J": 32, "BLOCK_P": 32}
    for kernel, pointers, constants in (
        (kernels.window_matrix, {"kernel": pointer, "matrix": "*fp32"}, {"UPPER": True, "BLOCK_U": 16, "BLOCK_K": 32}),
        (kernels.solve_tiles, {"y": pointer, "x": pointer, "matrix": "*fp32"}, {"IMAGES": 2, **blocks}),
        (kernels.correlate, {"x": pointer, "grad": pointer, "partial": "*fp32"}, correlation),
        (_solve_antidiagonal, {"y": "*fp32", "x": "*fp32", "kernel": "*fp32"}, {"BLOCK": 64}),
    ):
        constants = {
            name: value
            for name, value in ({"PRECISION": precision} | tile | constants).items()
            if name in kernel.arg_names
        }
        compiled = assembly(kernel, pointers, constants)
        assert ("tf32" in compiled["ptx"]) == (storage == "bf16" and "PRECISION" in constants)
        if kernel is kernels.solve_tiles:  # the interpreter needs none, so that no other test would miss it
            assert "barrier" in compiled["ttir"]


def assembly(kernel, pointers, constants):
    """Compile for compute capability 8.0, which needs no GPU; the assembler checks the result."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in kernel.arg_names}
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    return compile(ASTSource(kernel, signature, values), target=GPUTarget("cuda", 80, 32)).asm


@ELSEWHERE
@pytest.mark.slow
def test_the_interpreter_passes_every_test_here(device):
    if device.type == "cuda":
        pytest.skip("the GPU runs them")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert "passed" in run.stdout


@ELSEWHERE
def test_the_benchmarks_register_it_where_triton_is_installed_and_do_not_import_triton():
    program = """
import importlib, importlib.util, sys
from unittest.mock import patch
from inverseflow.ops import available_backends
with patch("importlib.util.find_spec", return_value=None):
    import benchmarks
print("triton" in available_backends())
importlib.reload(benchmarks)
print("triton" in available_backends(), "triton" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "False"]


def test_a_call_by_name_reaches_it(place):
    y, kernel = torch.randn(2, 2, 4, 4, device=place), triangular_kernel(2, 2, 2, device=place)[0]
    with backend("triton"):
        x = inv_conv2d(y, kernel)
    torch.testing.assert_close(
        x.double(), expected_solve(y, kernel, "top_left", 1, "free", False), atol=1e-5, rtol=1e-5
    )


def test_a_machine_without_a_gpu_is_named(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert triton.unavailable() == "no CUDA device"


@pytest.mark.parametrize(
    ("image", "interpret", "reason"),
    [
        (torch.empty(1, 2, 3, 3), "0", "the image is on cpu, not on a CUDA device"),
        (torch.empty(1, 2, 3, 3, dtype=torch.float64), "1", "torch.float64 is not float32 or bfloat16"),
        (torch.empty(1, 2, 2**15, 2**15, device="meta"), "1", "is too large"),
        (torch.empty(1, 2, 3, 3, dtype=torch.bfloat16), "1", None),
    ],
)
def test_a_call_that_cannot_be_served_says_why(image, interpret, reason, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    said = triton.refuses(image)
    assert said is None if reason is None else reason in said


def test_the_variant_names_tiles_and_programs():
    assert triton.variant(torch.empty(8, 12, 7, 9), torch.empty(12, 6, 3, 3), 2) == "tiles of 2×4, 16 programs"


@pytest.mark.parametrize("batch", [1, 100, 5000])
@pytest.mark.parametrize("channels", [1, 3, 4, 12, 48, 512])
@pytest.mark.parametrize("side", [1, 7, 256])
def test_plans_stay_within_what_a_program_holds(batch, channels, side):
    plan = choose_plan(batch, channels, 1, side, side)
    assert plan.rows * plan.columns * channels <= max(64, channels)
    assert max(plan.rows, plan.columns) <= side
    assert plan.images <= 16
    for size in (plan.block_tiles, plan.block_unknowns):
        assert 16 <= size <= 64 and size & (size - 1) == 0
