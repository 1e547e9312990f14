import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from inverseflow.ops import CORNERS
from inverseflow.ops._backends import dense, native
from inverseflow.ops._backends.native import Variant

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=f"native backend: {native.unavailable()}")

INSTRUCTION_SETS = native._native.instruction_sets() if native.unavailable() is None else []
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


def problem(images, channels, rows, columns, kernel_size, groups, dtype):
    per_group = channels // groups
    y = torch.randn(images, channels, rows, columns, dtype=dtype)
    kernel = 0.4 * torch.randn(channels, per_group, *kernel_size, dtype=dtype)
    kernel /= math.sqrt(kernel[0].numel())
    diagonal = torch.eye(per_group, dtype=dtype).repeat(groups, 1)
    kernel[:, :, -1, -1] += torch.sign(torch.randn(channels, 1, dtype=dtype)) * 1.5 * diagonal
    return y, kernel


def assert_close(actual, expected):
    scale = expected.abs().max().clamp_min(1)
    assert (actual - expected).abs().max() <= TOLERANCE[actual.dtype] * scale


def masked(kernel, groups, diagonal):
    """Return a kernel with zeros where none is read."""
    kernel = kernel.clone()
    last = kernel[:, :, -1, -1].unflatten(0, (groups, -1)).tril(0 if diagonal == "free" else -1)
    kernel[:, :, -1, -1] = last.flatten(0, 1)
    return kernel


VECTOR_BYTES = {"avx512": 64, "avx2": 32, "baseline": 16}


def walks(instruction_set, dtype):
    """Return every (walk, lanes, pixels) that an instruction set has."""
    full = VECTOR_BYTES[instruction_set] // dtype.itemsize
    narrower = [
        lanes for lanes in (full, full // 2, full // 4) if lanes >= 2 and (lanes == full or dtype.itemsize == 4)
    ]
    pixels = range(1, 9 if instruction_set == "avx512" else 5)
    return (
        [(0, lanes, 1) for lanes in narrower]
        + [(1, lanes, 1) for lanes in narrower[:2]]
        + [(number, lanes, count) for number in (2, 3) for lanes in narrower[:2] for count in pixels]
    )


@settings(max_examples=120, deadline=None)
@given(
    images=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 33]),
    channels=st.integers(1, 7),
    groups=st.integers(1, 3),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    kernel_size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    corner=st.sampled_from(CORNERS),
    diagonal=st.sampled_from(["free", "unit"]),
    transposed=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
    instruction_set=st.sampled_from(INSTRUCTION_SETS or [""]),
    threads=st.sampled_from([1, 3]),
    layout=st.sampled_from(["contiguous", "channels_last", "expanded", "sliced"]),
    walk=st.none() | st.integers(0, 50),
)
def test_solve_agrees_with_the_dense_matrix(
    images,
    channels,
    groups,
    rows,
    columns,
    kernel_size,
    corner,
    diagonal,
    transposed,
    dtype,
    instruction_set,
    threads,
    layout,
    walk,
):
    y, kernel = problem(images, channels * groups, rows, columns, kernel_size, groups, dtype)
    if layout == "channels_last":
        y = y.contiguous(memory_format=torch.channels_last)
    elif layout == "expanded":
        y = y[:1].expand(images, -1, -1, -1)
    elif layout == "sliced":
        y = torch.randn(images, channels * groups, 2 * rows + 1, 3 * columns, dtype=dtype)[:, :, 1::2, ::3]
    options = corner, groups, diagonal, transposed
    expected = dense.solve(y, kernel, *options)
    all_walks = walks(instruction_set, dtype)
    forced = (0, 0, 0) if walk is None else all_walks[walk % len(all_walks)]
    assert_close(native.solve(y, kernel, *options, Variant(instruction_set, *forced, threads)), expected)


@settings(max_examples=60, deadline=None)
@given(
    images=st.sampled_from([1, 3, 8, 9, 16, 33]),
    channels=st.one_of(st.integers(1, 9), st.sampled_from([16, 23, 65])),
    groups=st.integers(1, 2),
    rows=st.sampled_from([1, 2, 5, 90]),
    columns=st.integers(1, 9),
    kernel_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    corner=st.sampled_from(CORNERS),
    diagonal=st.sampled_from(["free", "unit", "zero"]),
    transposed=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
    instruction_set=st.sampled_from(INSTRUCTION_SETS or [""]),
    channels_last=st.booleans(),
)
def test_convolution_agrees_with_torch(
    images,
    channels,
    groups,
    rows,
    columns,
    kernel_size,
    corner,
    diagonal,
    transposed,
    dtype,
    instruction_set,
    channels_last,
):
    x, kernel = problem(images, channels * groups, rows, columns, kernel_size, groups, dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    options = corner, groups, diagonal, transposed
    y = native.convolve(x, kernel, *options, Variant(instruction_set, threads=2))
    assert_close(y, convolved(x, kernel, *options))
    assert y.is_contiguous()


LARGE = [  # images, channels, rows, columns, kernel, groups: many blocks of channels, bands of rows, tails of the batch
    (1, 18, 17, 40, (3, 3), 1),
    (1, 2, 70, 50, (4, 3), 1),
    (2, 3, 33, 35, (2, 5), 1),
    (50, 5, 6, 18, (3, 3), 1),
    (21, 33, 4, 4, (3, 3), 1),
    (3, 8, 40, 20, (3, 2), 4),
    (5, 98, 5, 6, (3, 3), 1),
    (2, 80, 19, 3, (2, 3), 2),
    (2, 2, 40, 9, (23, 2), 1),
]


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("corner", ["top_left", "bottom_right"])
def test_every_variant_of_the_walk_gives_the_same_answer_at_any_number_of_threads(shape, corner, instruction_set):
    images, channels, rows, columns, kernel_size, groups = shape
    y, kernel = problem(images, channels, rows, columns, kernel_size, groups, torch.float64)
    options = corner, groups, "free", corner == "bottom_right"
    alone = native.solve(y, kernel, *options, Variant(instruction_set, threads=1))
    together = [native.solve(y, kernel, *options, Variant(instruction_set, threads=5)) for _ in range(3)]
    assert_close(convolved(alone, kernel, *options), y)
    for answer in together:
        assert_close(answer, alone)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_every_walk_gives_the_same_bits(shape, instruction_set):
    images, channels, rows, columns, kernel_size, groups = shape
    y, kernel = problem(images, channels, rows, columns, kernel_size, groups, torch.float32)
    answers = [
        native.solve(y, kernel, "bottom_left", groups, "free", True, Variant(instruction_set, *walk, threads=2))
        for walk in walks(instruction_set, torch.float32)
    ]
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize("where", ["image", "kernel", "growth"])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_walk_has_the_same_finite_values(where, instruction_set):
    y, kernel = problem(9, 18, 9, 11, (3, 3), 1, torch.float32)
    if where == "image":
        y[4, 17, 3, 5] = math.inf
    elif where == "kernel":
        kernel[7, 3, 0, 0] = math.nan  # reaches from the third row and column on
    else:
        kernel[:, :, :2] *= 1e20
    answers = [
        native.solve(y, kernel, "top_left", 1, "free", False, Variant(instruction_set, *walk)).isfinite()
        for walk in walks(instruction_set, torch.float32)
    ]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert not answers[0].all()
    finite = answers[0]
    if where == "image":  # later channels of the pixel, and the pixels that see it
        assert finite[4, :17, 3, 5].all() and not finite[4, 17, 3, 5]
        assert finite[:4].all() and finite[5:].all() and finite[4, :, :3].all() and finite[4, :, :, :5].all()
    if where == "kernel":
        assert finite[:, :, :2].all() and finite[:, :, :, :2].all()
        assert finite[:, :7, 2, 2].all() and not finite[:, 7, 2, 2].any()


def test_a_diagonal_too_small_to_have_an_inverse_still_divides():
    y, kernel = torch.full((8, 2, 3, 3), 1e-39), torch.zeros(2, 2, 2, 2)
    kernel[:, :, -1, -1] = torch.tensor([[1e-39, 0.0], [0.0, 1e-39]])
    for walk in walks(native._native.instruction_sets()[0], torch.float32):
        x = native.solve(y, kernel, "top_left", 1, "free", False, Variant("", *walk))
        torch.testing.assert_close(x, torch.ones_like(y))


def test_a_zero_on_the_diagonal_harms_only_what_sees_it_whatever_the_walk():
    y, kernel = torch.randn(1, 2, 20, 20), torch.zeros(2, 2, 1, 2)
    kernel[0, 0, 0, 1], kernel[0, 1, 0, 0] = 1, 0.5  # and zero for the second channel
    for walk in walks(native._native.instruction_sets()[0], torch.float32):
        finite = native.solve(y, kernel, "top_left", 1, "free", False, Variant("", *walk)).isfinite()
        assert finite[:, 0, :, 0].all() and not finite[:, 0, :, 1:].any() and not finite[:, 1].any()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda y, w: y.untyped_storage().resize_(0), RuntimeError, "no memory"),
        (lambda y, w: w.untyped_storage().resize_(0), RuntimeError, "no memory"),
        (lambda y, w: w.set_(torch.ones(3, 3, 1, 1)), ValueError, "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_read(change, error, words):
    y, kernel = problem(2, 2, 3, 3, (2, 2), 1, torch.float32)
    change(y, kernel)
    with pytest.raises(error, match=words):
        native.solve(y, kernel, "top_left", 1, "free", False)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize(("channels", "known"), [(5, 2), (9, 6), (24, 16), (40, 8)])
@pytest.mark.parametrize("transposed", [False, True])
def test_channels_that_are_known_are_read_and_left_alone_by_every_walk(instruction_set, channels, known, transposed):
    for dtype in TOLERANCE:
        y, kernel = problem(5, channels, 6, 7, (3, 2), 1, dtype)
        solution = native.solve(y, kernel, "top_right", 1, "free", transposed)
        part = slice(channels - known, None) if transposed else slice(known)
        partly = y.clone()
        partly[:, part] = solution[:, part]
        for walk, lanes, pixels in walks(instruction_set, dtype):
            if walk > 1 and known % lanes:
                continue  # a vector of output channels starts at a whole vector
            x, variant = partly.clone(), Variant(instruction_set, walk, lanes, pixels)
            native._write(False, x, x, kernel, "top_right", 1, "free", transposed, known, variant)
            assert_close(x, solution)
            assert torch.equal(x[:, part], solution[:, part])


def test_a_kernel_of_another_precision_is_refused():
    y, kernel = problem(2, 2, 3, 3, (2, 2), 1, torch.float32)
    with pytest.raises(TypeError, match="float64"):
        native.solve(y, kernel.double(), "top_left", 1, "free", False)


def test_packed_kernels_are_kept_but_never_stale():
    y, kernel = problem(3, 6, 5, 5, (3, 3), 1, torch.float64)
    weight = torch.nn.Parameter(kernel)
    for change in (lambda: None, lambda: weight.data.mul_(0.5), lambda: weight.data.numpy().__imul__(0.5)):
        change()  # behind autograd's back, and at the same address
        for diagonal in ("free", "unit"):
            for transposed in (False, True):
                options = "top_left", 1, diagonal, transposed
                expected = dense.solve(y, weight.detach(), *options)
                for _ in range(2):
                    assert_close(native.solve(y, weight.detach(), *options), expected)


def test_threads_may_solve_at_once():
    problems = [problem(2, 4, 6, 6, (3, 3), 1, torch.float64) for _ in range(4)]
    expected = [dense.solve(y, kernel, "top_left", 1, "free", False) for y, kernel in problems]

    def work(number):
        y, kernel = problems[number % 4]
        if number % 8 >= 4:
            kernel = kernel.clone()
        return native.solve(y, kernel, "top_left", 1, "free", False)

    with ThreadPoolExecutor(4) as pool:
        for number, x in enumerate(pool.map(work, range(200))):
            assert_close(x, expected[number % 4])


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_answers_are_the_same_to_the_bit_from_run_to_run_and_at_any_number_of_threads(shape):
    images, channels, rows, columns, kernel_size, groups = shape
    y, kernel = problem(images, channels, rows, columns, kernel_size, groups, torch.float32)
    answers, gradients = [], []
    for threads in (1, 1, 2, 3, 7):
        variant = Variant(threads=threads)
        answers.append(native.solve(y, kernel, "top_left", groups, "free", False, variant))
        gradients.append(native.weight_gradient(y, answers[0], kernel, "top_left", groups, "free", variant))
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def convolved(x, kernel, corner, groups, diagonal, transposed):
    """Convolve by torch; the transpose is the derivative of the convolution."""
    kernel = masked(kernel, groups, diagonal)
    if diagonal == "unit":
        kernel[:, :, -1, -1] += torch.eye(kernel.shape[1], dtype=kernel.dtype).repeat(groups, 1)
    mirror = [axis for axis, word in ((2, "bottom"), (3, "right")) if word in corner]

    def convolve(x):
        padded = F.pad(x.flip(mirror), (kernel.shape[3] - 1, 0, kernel.shape[2] - 1, 0))
        return F.conv2d(padded, kernel, groups=groups).flip(mirror)

    return torch.func.vjp(convolve, x)[1](x)[0] if transposed else convolve(x)


@settings(max_examples=60, deadline=None)
@given(
    images=st.sampled_from([1, 3, 17]),
    channels=st.one_of(st.integers(1, 9), st.sampled_from([16, 23, 50])),
    groups=st.integers(1, 2),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    kernel_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    corner=st.sampled_from(CORNERS),
    diagonal=st.sampled_from(["free", "unit", "zero"]),
    dtype=st.sampled_from(list(TOLERANCE)),
    instruction_set=st.sampled_from(INSTRUCTION_SETS or [""]),
    channels_last=st.booleans(),
)
def test_weight_gradient_agrees_with_torch(
    images, channels, groups, rows, columns, kernel_size, corner, diagonal, dtype, instruction_set, channels_last
):
    x, kernel = problem(images, channels * groups, rows, columns, kernel_size, groups, dtype)
    grad = torch.randn_like(x)
    if channels_last:
        grad = grad.contiguous(memory_format=torch.channels_last)
    mirror = [axis for axis, word in ((2, "bottom"), (3, "right")) if word in corner]
    padded = F.pad(x.flip(mirror), (kernel_size[1] - 1, 0, kernel_size[0] - 1, 0))
    expected = masked(conv2d_weight(padded, kernel.shape, grad.flip(mirror), groups=groups), groups, diagonal)
    variant = Variant(instruction_set, threads=2)
    assert_close(native.weight_gradient(x, grad, kernel, corner, groups, diagonal, variant), expected)


def test_weight_gradient_of_a_large_image_is_summed_over_its_bands():
    x, grad = torch.randn(2, 3, 150, 140, dtype=torch.float64), torch.randn(2, 3, 150, 140, dtype=torch.float64)
    kernel = torch.empty(3, 3, 4, 3, dtype=torch.float64)
    expected = masked(conv2d_weight(F.pad(x, (2, 0, 3, 0)), kernel.shape, grad), 1, "free")
    assert_close(native.weight_gradient(x, grad, kernel, "top_left", 1, "free"), expected)


@pytest.mark.parametrize(("images", "size"), [(20, 5), (1, 40), (3, 40)])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_value_that_is_not_finite_stays_in_its_image(images, size, poison):
    y, kernel = problem(images, 2, size, size, (3, 3), 1, torch.float32)
    clean = native.solve(y, kernel, "top_left", 1, "free", False)
    poisoned = y.clone()
    poisoned[-1, 0, 1, 1] = poison
    x = native.solve(poisoned, kernel, "top_left", 1, "free", False)
    torch.testing.assert_close(x[:-1], clean[:-1], rtol=0, atol=0)
    assert not x[-1].isfinite().all()
    torch.testing.assert_close(x[-1, :, 0], clean[-1, :, 0], rtol=0, atol=0)  # rows before it, too


def test_growth_beyond_the_numbers_ends_as_it_does_in_the_dense_solve():
    y, kernel = torch.ones(1, 1, 1, 200), torch.tensor([[[[-100.0, 1.0]]]])
    x, expected = (
        native.solve(y, kernel, "top_left", 1, "free", False),
        dense.solve(y, kernel, "top_left", 1, "free", False),
    )
    assert torch.equal(x.isfinite(), expected.isfinite())
    assert x[..., -1].isinf().all()


def test_a_forked_worker_can_solve_as_torch_lets_it_with_one_thread():
    y, kernel = problem(64, 4, 8, 8, (3, 3), 1, torch.float32)
    expected = native.solve(y, kernel, "top_left", 1, "free", False, Variant(threads=2))
    context = torch.multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def work():
        torch.set_num_threads(1)
        queue.put(native.solve(y, kernel, "top_left", 1, "free", False).numpy().tobytes())

    process = context.Process(target=work)
    process.start()
    assert queue.get() == expected.numpy().tobytes()
    process.join()


CONVOLUTIONS = [  # channels, rows, columns, kernel, groups
    (1, 1, 1, (1, 2), 1),
    (2, 5, 7, (3, 3), 1),
    (12, 8, 8, (3, 3), 2),
    (18, 4, 3, (2, 5), 1),
    (70, 6, 5, (3, 2), 1),
]


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_an_image_is_convolved_to_the_same_bits_in_any_batch_and_at_any_number_of_threads(
    shape, transposed, instruction_set
):
    channels, rows, columns, kernel_size, groups = shape
    x, kernel = problem(33, channels, rows, columns, kernel_size, groups, torch.float32)
    options = "bottom_left", groups, "free", transposed
    whole = native.convolve(x, kernel, *options, Variant(instruction_set, threads=1))
    for images in (1, 7, 8, 9, 33):
        for threads in (1, 2, 5):
            part = native.convolve(x[:images], kernel, *options, Variant(instruction_set, threads=threads))
            assert torch.equal(part, whole[:images])
