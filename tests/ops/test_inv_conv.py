"""The pair of operators against the definition, on whatever shapes hypothesis draws, by every backend for a CPU."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverseflow import ops
from inverseflow.ops import CORNERS, available_backends, backend, causal_conv2d, corners, inv_conv2d
from tests.ops import oracle

BACKENDS = [name for name in ("native", "blocked") if available_backends()[name] is None]
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.fixture(params=BACKENDS, autouse=True, scope="module")
def forced_backend(request):
    with backend(request.param):
        yield


def causal_conv(x, weight, **options):
    """Convolve a sequence, an image or a volume."""
    return getattr(ops, f"causal_conv{x.ndim - 2}d")(x, weight, **options)


def inv_conv(y, weight, **options):
    """Solve for a sequence, an image or a volume."""
    return getattr(ops, f"inv_conv{y.ndim - 2}d")(y, weight, **options)


OPERATORS = [causal_conv, inv_conv]
REFERENCES = {causal_conv: oracle.convolve, inv_conv: oracle.solve}
LIMITS = {1: (12, 5), 2: (6, 4), 3: (3, 3)}  # the longest side of an event and of a kernel


@st.composite
def problems(draw, most_channels=3):
    """Draw a number of axes, sizes, options and numbers: an event (float64), a kernel, and keyword arguments."""
    axes = draw(st.sampled_from([2, 1, 3]))
    longest, widest = LIMITS[axes]
    groups = draw(st.integers(1, 3))
    per_group = draw(st.integers(1, most_channels))
    channels = groups * per_group
    batch = draw(st.integers(0, 3))
    size = [draw(st.integers(1, longest)) for _ in range(axes)]
    kernel_size = [draw(st.integers(1, widest)) for _ in range(axes)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    image = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    weight = 0.4 * torch.randn(channels, per_group, *kernel_size, generator=generator, dtype=torch.float64)
    unitriangular = draw(st.booleans())
    if not unitriangular:
        diagonal = weight.flatten(2)[..., -1].unflatten(0, (groups, per_group)).diagonal(dim1=1, dim2=2)
        diagonal.copy_(diagonal.sign() * (0.5 + diagonal.abs()))
    corner = draw(st.sampled_from(corners(axes)))
    return image, weight, {"corner": corner, "unitriangular": unitriangular, "groups": groups}


def contiguous(x):
    return x


def channels_last(x):
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def sliced(x):
    larger = x.new_full([2 * size + 1 for size in x.shape], torch.nan)
    view = larger[tuple(slice(1, None, 2) for _ in x.shape)]
    return view.copy_(x)


def mirrored_axes(x):
    axes = range(x.ndim)[::-1]
    return x.permute(*axes).contiguous().permute(*axes)


LAYOUTS = st.sampled_from([contiguous, channels_last, sliced, mirrored_axes])


@EXAMPLES
@given(problems(), LAYOUTS, LAYOUTS)
def test_the_convolution_is_that_of_its_definition(problem, layout_of_image, layout_of_weight):
    x, weight, options = problem
    y = causal_conv(layout_of_image(x), layout_of_weight(weight), **options)
    torch.testing.assert_close(y, oracle.convolve(x, weight, **options), rtol=1e-12, atol=1e-12)


@EXAMPLES
@given(problems(), LAYOUTS, LAYOUTS)
def test_the_solve_inverts_the_matrix_of_the_definition(problem, layout_of_image, layout_of_weight):
    y, weight, options = problem
    x = inv_conv(layout_of_image(y), layout_of_weight(weight), **options)
    torch.testing.assert_close(x, oracle.solve(y, weight, **options), rtol=1e-9, atol=1e-9)


@EXAMPLES
@given(problems())
def test_single_precision_is_as_good_as_its_roundings(problem):
    x, weight, options = problem
    matrix = oracle.dense_matrix(weight, *x.shape[2:], **options)
    condition = torch.linalg.cond(matrix).item()
    for operator, reference in REFERENCES.items():
        result = operator(x.float(), weight.float(), **options)
        expected = reference(x, weight, **options)
        assert result.dtype == torch.float32
        scale = expected.abs().max().item() if expected.numel() else 0.0
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=2e-6 * condition * (scale + 1))


@EXAMPLES
@given(problems(), st.sampled_from(OPERATORS))
def test_gradients_are_those_of_autograd_through_the_dense_matrix(problem, operator):
    image, weight, options = problem
    leaves = image.clone().requires_grad_(), weight.clone().requires_grad_()
    upstream = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    of_operator = torch.autograd.grad(operator(*leaves, **options), leaves, upstream)
    of_oracle = torch.autograd.grad(REFERENCES[operator](*leaves, **options), leaves, upstream)
    torch.testing.assert_close(of_operator, of_oracle, rtol=1e-8, atol=1e-8)


@EXAMPLES
@given(problems())
def test_the_two_are_each_others_inverse_both_ways(problem):
    x, weight, options = problem
    torch.testing.assert_close(inv_conv(causal_conv(x, weight, **options), weight, **options), x)
    torch.testing.assert_close(causal_conv(inv_conv(x, weight, **options), weight, **options), x)


@pytest.mark.parametrize("unitriangular", [True, False])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("corner", "kernel_size", "size", "groups"),
    [
        ("top_left", (2, 2), (2, 3), 1),
        ("top_right", (1, 3), (2, 3), 2),
        ("bottom_left", (3, 1), (2, 2), 1),
        ("bottom_right", (2, 3), (1, 2), 2),
        ("right", (3,), (4,), 2),
        ("front_top_right", (2, 1, 2), (2, 1, 2), 1),
        ("back_bottom_left", (2, 2, 1), (2, 1, 2), 2),
    ],
)
def test_first_and_second_derivatives_agree_with_finite_differences(
    operator, unitriangular, corner, kernel_size, size, groups
):
    options = {"corner": corner, "unitriangular": unitriangular, "groups": groups}
    image = torch.randn(2, 2 * groups, *size, dtype=torch.float64, requires_grad=True)
    weight = 0.3 * torch.randn(2 * groups, 2, *kernel_size, dtype=torch.float64)
    weight.flatten(2)[..., -1] += torch.eye(2, dtype=torch.float64).repeat(groups, 1)
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda *leaves: operator(*leaves, **options), (image, weight))
    assert torch.autograd.gradgradcheck(lambda *leaves: operator(*leaves, **options), (image, weight))


@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
def test_a_gradient_is_computed_only_for_what_asks_for_one(operator):
    image, weight = torch.randn(1, 2, 3, 3), 0.1 * torch.randn(2, 2, 2, 2)
    for wanted in ([image], [weight]):
        leaves = [leaf.clone().requires_grad_(any(leaf is one for one in wanted)) for leaf in (image, weight)]
        operator(*leaves, unitriangular=True).sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [leaf.requires_grad for leaf in leaves]
    assert not operator(image, weight).requires_grad


@EXAMPLES
@given(problems(), st.sampled_from(OPERATORS))
def test_entries_that_are_not_read_may_be_anything_and_receive_exactly_no_gradient(problem, operator):
    image, weight, options = problem
    per_group, groups = weight.shape[1], options["groups"]
    unread = torch.zeros_like(weight, dtype=torch.bool)
    for o in range(weight.shape[0]):
        for i in range(per_group):
            below = i < o % per_group
            on_diagonal = i == o % per_group
            unread[o, i].view(-1)[-1] = not below and not (on_diagonal and not options["unitriangular"])
    poisoned = torch.where(unread, torch.nan, weight).requires_grad_()
    result = operator(image, poisoned, **options)
    torch.testing.assert_close(result, operator(image, weight, **options), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(result.square().sum(), poisoned)
    assert (gradient[unread] == 0).all()
    assert gradient.isfinite().all()
    assert groups * per_group == image.shape[1]


def dense_jacobian(operator, weight, *size, **options):
    """Return the matrix of the operator, columns being the images of the unit vectors."""
    elements = weight.shape[0] * math.prod(size)
    basis = torch.eye(elements, dtype=weight.dtype).view(elements, weight.shape[0], *size)
    return operator(basis, weight, **options).view(elements, elements).T


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(
    ("corner", "kernel_size", "size"),
    [
        *((corner, (4,), (7,)) for corner in corners(1)),
        *((corner, *sides) for corner in CORNERS for sides in (((3, 3), (4, 3)), ((1, 3), (3, 5)), ((5, 2), (3, 4)))),
        *((corner, (3, 2, 2), (4, 2, 3)) for corner in corners(3)),
    ],
    ids=str,
)
def test_the_map_is_unit_lower_triangular_along_the_walk(corner, channels, kernel_size, size):
    weight = torch.randn(channels, channels, *kernel_size, dtype=torch.float64)
    order = oracle.raster_order(channels, *size, corner=corner)
    for operator in OPERATORS:
        matrix = dense_jacobian(operator, 0.1 * weight, *size, corner=corner, unitriangular=True)[order][:, order]
        torch.testing.assert_close(matrix.triu(1), torch.zeros_like(matrix), rtol=0, atol=1e-15)
        torch.testing.assert_close(matrix.diagonal(), torch.ones(len(matrix), dtype=torch.float64), rtol=0, atol=1e-14)


@EXAMPLES
@given(problems(most_channels=2))
def test_the_log_determinant_is_that_of_the_last_taps_diagonal_at_every_pixel(problem):
    image, weight, options = problem
    size = image.shape[2:]
    groups = options["groups"]
    diagonal = weight.flatten(2)[..., -1].unflatten(0, (groups, -1)).diagonal(dim1=1, dim2=2).abs().log().sum()
    expected = torch.zeros_like(diagonal) if options["unitriangular"] else math.prod(size) * diagonal
    for operator, sign in ((causal_conv, 1), (inv_conv, -1)):
        log_det = torch.linalg.slogdet(dense_jacobian(operator, weight, *size, **options)).logabsdet
        torch.testing.assert_close(log_det, sign * expected, rtol=1e-9, atol=1e-8)


def test_the_transpose_of_the_map_starts_at_the_opposite_corner():
    weight = 0.3 * torch.randn(3, 3, 2, 3, dtype=torch.float64)
    weight[:, :, -1, -1] = torch.eye(3)  # then the transpose reads the same triangle
    forwards = dense_jacobian(causal_conv2d, weight, 3, 4, corner="top_right")
    backwards = dense_jacobian(causal_conv2d, weight.transpose(0, 1), 3, 4, corner="bottom_left")
    torch.testing.assert_close(forwards.T, backwards)


@pytest.mark.parametrize("corner", CORNERS)
def test_it_serves_thousands_of_images_at_once(corner):
    y = torch.randn(1500, 2, 3, 5, dtype=torch.float64)
    weight = 0.3 * torch.randn(2, 2, 2, 2, dtype=torch.float64)
    x = inv_conv2d(y, weight, corner=corner, unitriangular=True)
    torch.testing.assert_close(x[1234:1236], oracle.solve(y[1234:1236], weight, corner=corner, unitriangular=True))
    torch.testing.assert_close(causal_conv2d(x, weight, corner=corner, unitriangular=True), y)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "size", [(0,), (1,), (40,), (0, 3), (3, 0), (1, 1), (1, 40), (40, 1), (0, 2, 2), (1, 1, 1), (1, 3, 2), (20, 1, 1)]
)
def test_events_may_be_thin_or_empty(operator, size):
    image = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = (0.2 * torch.randn(3, 3, *(3, 2, 2)[: len(size)], dtype=torch.float64)).requires_grad_()
    result = operator(image, weight, unitriangular=True)
    assert result.shape == image.shape
    result.sum().backward()
    assert image.grad.shape == image.shape
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
def test_an_expanded_image_and_kernel_are_taken(operator):
    image = torch.randn(1, 1, 4, 1, dtype=torch.float64).expand(3, 2, 4, 5)
    weight = torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64).expand(2, 2, 3, 2)
    torch.testing.assert_close(
        operator(image, weight, unitriangular=True),
        operator(image.contiguous(), weight.contiguous(), unitriangular=True),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
@pytest.mark.parametrize("corner", CORNERS)
def test_repeating_a_call_gives_the_same_bits_and_leaves_its_arguments_alone(operator, corner):
    image, weight = torch.randn(2, 4, 5, 6), 0.1 * torch.randn(4, 2, 3, 3)
    copies = image.clone(), weight.clone()
    first = operator(image, weight, corner=corner, unitriangular=True, groups=2)
    assert torch.equal(first, operator(image, weight, corner=corner, unitriangular=True, groups=2))
    assert torch.equal(image, copies[0])
    assert torch.equal(weight, copies[1])
    assert first.data_ptr() != image.data_ptr()


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_precision_and_returned_in_its_own(operator, axes, half):
    image, weight = torch.randn(2, 3, *(4, 5, 2)[:axes]).to(half), (0.1 * torch.randn(3, 3, *[3] * axes)).to(half)
    result = operator(image, weight, unitriangular=True)
    assert result.dtype == half
    assert torch.equal(result, operator(image.float(), weight.float(), unitriangular=True).to(half))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_under_autocast_all_of_it_runs_in_single_precision_and_mixed_dtypes_are_welcome(operator, axes):
    image, weight = torch.randn(2, 3, *(4, 5, 2)[:axes]), 0.1 * torch.randn(3, 3, *[3] * axes)
    expected = operator(image, weight, unitriangular=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(operator(image, weight, unitriangular=True), expected)
        rounded = operator(image.bfloat16(), weight, unitriangular=True)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, operator(image.bfloat16().float(), weight, unitriangular=True))


IMAGE, KERNEL = torch.zeros(2, 6, 4, 5), torch.eye(6)[:, :, None, None].repeat(1, 1, 2, 3)

BAD_ARGUMENTS = {
    "an image without a batch": ((IMAGE[0], KERNEL), {}, ValueError, r"\(6, 4, 5\); add the missing axes"),
    "a volume": ((IMAGE[..., None], KERNEL), {}, ValueError, r"\(2, 6, 4, 5, 1\)"),
    "a vector": ((torch.zeros(3), KERNEL), {}, ValueError, r"\(N, C, H, W\), got shape \(3,\)"),
    "a flat kernel": (
        (IMAGE, KERNEL[..., 0]),
        {},
        ValueError,
        r"kernel \(C, C / groups, kH, kW\), got shape \(6, 6, 2\)",
    ),
    "a kernel of other channels": (
        (IMAGE, KERNEL[:5, :5]),
        {},
        ValueError,
        r"\(6, 6, kH, kW\) with at least one tap, got \(5, 5, 2, 3\)",
    ),
    "a kernel that is not square": (
        (IMAGE, KERNEL[:, :5]),
        {},
        ValueError,
        r"\(6, 6, kH, kW\) with at least one tap, got \(6, 5, 2, 3\)",
    ),
    "a kernel for no groups": (
        (IMAGE, KERNEL),
        {"groups": 2},
        ValueError,
        r"in 2 group\(s\) has shape \(6, 3, kH, kW\)",
    ),
    "groups that do not divide": (
        (IMAGE, KERNEL),
        {"groups": 4},
        ValueError,
        r"groups=4 does not divide the 6 channels",
    ),
    "no groups": ((IMAGE, KERNEL), {"groups": 0}, ValueError, "groups=0 does not divide the 6 channels"),
    "a negative number of groups": ((IMAGE, KERNEL), {"groups": -2}, ValueError, "groups=-2"),
    "a kernel without taps": ((IMAGE, KERNEL[:, :, :0]), {}, ValueError, r"at least one tap, got \(6, 6, 0, 3\)"),
    "an unknown corner": ((IMAGE, KERNEL), {"corner": "middle"}, ValueError, "'middle': choose 'top_left', "),
    "an integer image": (
        (IMAGE.int(), KERNEL),
        {},
        TypeError,
        r"torch.int32 and torch.float32; convert with .float\(\)",
    ),
    "an integer kernel": ((IMAGE, KERNEL.long()), {}, TypeError, "torch.float32 and torch.int64"),
    "a complex image": ((IMAGE.to(torch.complex64), KERNEL), {}, TypeError, "torch.complex64"),
    "two precisions": (
        (IMAGE.double(), KERNEL),
        {},
        TypeError,
        r"image of torch.float64 .* torch.float32; convert one",
    ),
    "two devices": ((IMAGE.to("meta"), KERNEL), {}, ValueError, r"an image on meta and a kernel on cpu; move one with"),
}


@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
@pytest.mark.parametrize("bad", BAD_ARGUMENTS)
def test_a_bad_argument_is_named_with_its_remedy(operator, bad):
    arguments, options, error, message = BAD_ARGUMENTS[bad]
    with pytest.raises(error, match=message):
        operator(*arguments, **options)


def test_a_zero_on_the_diagonal_is_named_with_its_channel():
    kernel = KERNEL.clone()
    kernel[4, 4, -1, -1] = 0
    with pytest.raises(ValueError, match=r"zero at channel 4, .* make it nonzero or pass unitriangular=True"):
        inv_conv2d(IMAGE, kernel)
    with pytest.raises(ValueError, match="zero at channel 3"):
        inv_conv2d(IMAGE, torch.tensor([2.0, 1, -1, 0, 0, 3]).view(6, 1, 1, 1), groups=6)
    assert inv_conv2d(IMAGE, kernel, unitriangular=True).shape == IMAGE.shape
    assert causal_conv2d(IMAGE, kernel).shape == IMAGE.shape


def test_the_inverse_stays_below_the_bound_that_small_row_sums_promise():
    rho = 0.8
    weight = torch.randn(3, 3, 3, 3, dtype=torch.float64)
    weight[:, :, -1, -1] = weight[:, :, -1, -1].tril(-1)
    weight *= rho / weight.abs().sum((1, 2, 3), keepdim=True)
    inverse = dense_jacobian(inv_conv2d, weight, 6, 7, unitriangular=True)
    assert inverse.abs().sum(1).max() <= 1 / (1 - rho)
