import math

import pytest
import torch

from inverseflow.bijections import CausalConv2d, InverseConv2d
from inverseflow.ops import CORNERS
from tests.bijections.convolution.matrices import matrix_of, scrambled
from tests.ops import oracle


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (4, 2), (3, 3)])
def test_it_is_the_convolution_of_the_definition_scaled_by_its_diagonal(corner, channels, groups):
    layer = scrambled(CausalConv2d(channels, (2, 3), corner=corner, diagonal="free", groups=groups), 0.3)
    options = {"corner": corner, "unitriangular": True, "groups": groups}
    taps = layer.taps.detach()
    diagonal = layer.log_diagonal.detach().exp().repeat_interleave(12)
    expected = diagonal[:, None] * oracle.dense_matrix(taps, 3, 4, **options)
    torch.testing.assert_close(matrix_of(layer, (channels, 3, 4)), expected)
    torch.testing.assert_close(matrix_of(layer.inverse, (channels, 3, 4)), torch.linalg.inv(expected))


@pytest.mark.parametrize("corner", CORNERS)
def test_the_inverse_convolution_swaps_the_directions_of_the_convolution(corner):
    solve = scrambled(InverseConv2d(3, 2, corner=corner, diagonal="free"), 0.3)
    convolution = CausalConv2d(3, 2, corner=corner, diagonal="free").double()
    convolution.load_state_dict(solve.state_dict())
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(solve(x), convolution.inverse(x), rtol=0, atol=0)
    torch.testing.assert_close(solve.inverse(x), convolution(x), rtol=0, atol=0)


def test_with_a_free_diagonal_it_is_the_convolution_by_any_kernel_whose_last_tap_is_triangular_and_positive():
    kernel = 0.3 * torch.randn(3, 3, 2, 3, dtype=torch.float64)
    kernel[:, :, -1, -1] = kernel[:, :, -1, -1].tril(-1) + torch.diag(torch.tensor([0.5, 1.0, 3.0]))
    diagonal = kernel[:, :, -1, -1].diagonal()
    layer = CausalConv2d(3, (2, 3), diagonal="free").double()
    with torch.no_grad():
        layer.taps.copy_(kernel / diagonal.view(-1, 1, 1, 1))
        layer.log_diagonal.copy_(diagonal.log())
    torch.testing.assert_close(matrix_of(layer, (3, 3, 4)), oracle.dense_matrix(kernel, 3, 4))


def test_there_is_no_bias():
    layer, nothing = scrambled(CausalConv2d(3, diagonal="free"), 0.3), torch.zeros(2, 3, 4, 5).double()
    assert torch.equal(layer(nothing)[0], nothing)
    assert torch.equal(layer.inverse(nothing)[0], nothing)


def test_a_unit_diagonal_has_no_log_determinant_and_a_free_one_counts_every_pixel():
    x = torch.randn(2, 3, 4, 5).double()
    assert scrambled(CausalConv2d(3))(x)[1].tolist() == [0.0, 0.0]
    layer = scrambled(CausalConv2d(3, diagonal="free"), 0.1)
    expected = 20 * layer.log_diagonal.sum().item()
    assert layer(x)[1].tolist() == pytest.approx([expected, expected])
    assert layer.inverse(x)[1].tolist() == pytest.approx([-expected, -expected])


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (12, 3), (48, 5), (4, (1, 7))])
def test_it_starts_well_inside_stability(channels, kernel_size):
    layer = InverseConv2d(channels, kernel_size)
    x = torch.randn(4, channels, 32, 32)
    z, _ = layer(x)
    assert 0.5 * x.std() < z.std() < 2 * x.std()
    assert z.abs().max() < 2 * x.abs().max()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bound", [0.1, 0.9, 0.999])
@pytest.mark.parametrize("brutality", [1e-6, 1.0, 1e3, 1e30])
def test_the_bound_on_the_inverse_holds_whatever_the_parameters(bound, groups, brutality):
    layer = scrambled(CausalConv2d(4, 2, max_row_sum=bound, groups=groups), brutality)
    inverse = matrix_of(layer.inverse, (4, 3, 4))
    assert inverse.isfinite().all()
    assert inverse.abs().sum(1).max() <= (1 + 1e-9) / (1 - bound)


@pytest.mark.parametrize("bound", [0.5, 0.9])
def test_the_bound_on_the_inverse_is_approached_by_large_negative_taps(bound):
    layer = CausalConv2d(1, (1, 2), max_row_sum=bound).double()
    torch.nn.init.constant_(layer.taps, -1e6)
    inverse = matrix_of(layer.inverse, (1, 1, 60))
    assert 0.99 / (1 - bound) <= inverse.abs().sum(1).max() <= (1 + 1e-9) / (1 - bound)


def test_with_a_free_diagonal_the_bound_is_that_of_its_smallest_entry():
    layer = scrambled(InverseConv2d(3, 3, max_row_sum=0.7, diagonal="free"))
    smallest = layer.log_diagonal.exp().min().item()
    inverse = matrix_of(layer, (3, 4, 4))
    assert inverse.abs().sum(1).max() <= (1 + 1e-9) / smallest / (1 - 0.7)


@pytest.mark.parametrize("unread", [1e4, 1e12, 1e30])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_bound_holds_in_single_precision_however_large_the_entries_are_that_nothing_reads(unread, groups):
    layer = CausalConv2d(4, 2, max_row_sum=0.5, groups=groups)
    torch.nn.init.constant_(layer.taps, 0.2)
    expected = layer.kernel().detach().clone()
    per_group = 4 // groups
    ignored = torch.ones(per_group, per_group).triu().bool().repeat(groups, 1)
    with torch.no_grad():
        layer.taps[:, :, -1, -1] = torch.where(ignored, unread, layer.taps[:, :, -1, -1])
    read = torch.ones_like(layer.taps, dtype=torch.bool)
    read[:, :, -1, -1] = ~ignored
    kernel = layer.kernel().detach()
    torch.testing.assert_close(kernel[read], expected[read], rtol=1e-6, atol=0)
    assert ((kernel * read).abs().sum((1, 2, 3)) < 0.5).all()


def test_without_a_bound_the_inverse_may_grow():
    layer = CausalConv2d(2, 3).double()
    torch.nn.init.constant_(layer.taps, -0.5)
    assert matrix_of(layer.inverse, (2, 6, 6)).abs().max() > 1e3


@pytest.mark.parametrize("bound", [None, 0.9])
@pytest.mark.parametrize("diagonal", ["unit", "free"])
def test_it_stays_triangular_under_an_optimizer_with_momentum_and_weight_decay(bound, diagonal):
    layer = InverseConv2d(4, 2, max_row_sum=bound, diagonal=diagonal, groups=2).double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    x = torch.randn(16, 4, 3, 4, dtype=torch.float64)
    for _ in range(20):
        optimizer.zero_grad()
        z, log_det = layer(x)
        ((z - 1).square().mean() - 0.1 * log_det.mean()).backward()
        optimizer.step()
    order = oracle.raster_order(4, 3, 4, corner="top_left")
    matrix = matrix_of(layer, (4, 3, 4))[order][:, order]
    assert (matrix.triu(1).abs() < 1e-12).all()
    if diagonal == "unit":
        torch.testing.assert_close(matrix.diagonal(), torch.ones(48, dtype=torch.float64))
    z, log_det = layer(x)
    torch.testing.assert_close(layer.inverse(z)[0], x)
    torch.testing.assert_close(torch.linalg.slogdet(matrix).logabsdet, log_det[0])


def test_entries_that_nothing_reads_receive_exactly_no_gradient():
    for bound in (None, 0.9):
        layer = scrambled(InverseConv2d(3, 2, max_row_sum=bound), 0.1)
        z, _ = layer(torch.randn(2, 3, 4, 4, dtype=torch.float64))
        z.square().sum().backward()
        gradient = layer.taps.grad[:, :, -1, -1]
        assert torch.equal(gradient.triu(), torch.zeros_like(gradient))
        assert (gradient.tril(-1)[[1, 2, 2], [0, 0, 1]] != 0).all()


def test_groups_do_not_see_each_other():
    layer = scrambled(CausalConv2d(4, 2, groups=2), 0.3)
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    changed = x.clone()
    changed[:, :2] += 1
    assert torch.equal(layer(x)[0][:, 2:], layer(changed)[0][:, 2:])
    assert torch.equal(layer.inverse(x)[0][:, 2:], layer.inverse(changed)[0][:, 2:])


BAD_OPTIONS = {
    "groups that do not divide": ({"channels": 6, "groups": 4}, "groups must divide the 6 channels, got 4"),
    "no groups": ({"channels": 6, "groups": 0}, "groups must be at least 1, got 0"),
    "an unknown corner": ({"channels": 2, "corner": "left"}, "unknown corner 'left': choose 'top_left', 'top_r"),
    "an unknown diagonal": ({"channels": 2, "diagonal": "zero"}, "unknown diagonal 'zero': choose 'unit' or 'free'"),
    "a bound of one": ({"channels": 2, "max_row_sum": 1.0}, "strictly between 0 and 1, got 1.0"),
    "a bound of zero": ({"channels": 2, "max_row_sum": 0.0}, "strictly between 0 and 1, got 0.0"),
    "a bound that is no number": ({"channels": 2, "max_row_sum": math.nan}, "got nan"),
    "a kernel without rows": ({"channels": 2, "kernel_size": (0, 3)}, r"kernel_size must be at least 1, got \(0, 3\)"),
    "a kernel of size zero": ({"channels": 2, "kernel_size": 0}, "kernel_size must be at least 1, got 0"),
    "no channels": ({"channels": 0}, "channels must be at least 1, got 0"),
}


@pytest.mark.parametrize("build", [CausalConv2d, InverseConv2d])
@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named_with_its_remedy(build, bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        build(**options)
