"""Sequences and volumes: what test_inv_conv.py does not draw for any number of axes."""

import math
from functools import partial

import pytest
import torch

from inverseflow.ops import (
    available_backends,
    backend,
    causal_conv1d,
    causal_conv2d,
    causal_conv3d,
    corners,
    explain,
    growth,
    inv_conv1d,
    inv_conv2d,
    inv_conv3d,
)
from tests.ops import oracle

OPERATORS = {1: (causal_conv1d, inv_conv1d), 3: (causal_conv3d, inv_conv3d)}
BACKENDS = [name for name in ("native", "blocked", "dense") if available_backends()[name] is None]


def problem(axes, channels=2, groups=1, batch=2):
    size, sides = ((9,), (3,)) if axes == 1 else ((5, 3, 4), (3, 2, 2))
    x = torch.randn(batch, channels, *size, dtype=torch.float64)
    weight = 0.3 * torch.randn(channels, channels // groups, *sides, dtype=torch.float64)
    weight.flatten(2)[..., -1] += torch.eye(channels // groups).repeat(groups, 1)
    return x, weight


@pytest.mark.parametrize("corner", corners(1))
def test_a_sequence_has_the_bits_of_an_image_of_one_row_in_any_batch(corner):
    x, weight = torch.randn(5, 3, 40), 0.1 * torch.randn(3, 3, 4)
    for of_sequence, of_image in ((causal_conv1d, causal_conv2d), (inv_conv1d, inv_conv2d)):
        y = of_sequence(x, weight, corner=corner, unitriangular=True)
        image = of_image(x[:, :, None], weight[:, :, None], corner=f"bottom_{corner}", unitriangular=True)
        assert torch.equal(y, image[:, :, 0])
        assert available_backends()["native"] or torch.equal(
            of_sequence(x[3:4], weight, corner=corner, unitriangular=True), y[3:4]
        )


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (4, 2), (8, 1), (9, 1)])
@pytest.mark.parametrize("corner", corners(3))
def test_slices_in_turn_are_the_solution(name, corner, channels, groups):
    y, weight = problem(3, channels, groups)
    weight *= 0.3
    options = {"corner": corner, "groups": groups, "unitriangular": True}
    with backend(name):
        torch.testing.assert_close(inv_conv3d(y, weight, **options), oracle.solve(y, weight, **options))


@pytest.mark.skipif(available_backends()["native"] is not None, reason="the compiled kernels are not there")
@pytest.mark.parametrize("corner", ["front_bottom_left", "back_top_left"])
@pytest.mark.parametrize("channels", [3, 8, 24])
def test_the_compiled_solve_of_a_volume_has_the_same_bits_in_any_batch_and_on_any_number_of_threads(corner, channels):
    y, weight = torch.randn(9, channels, 4, 6, 7), 0.05 * torch.randn(channels, channels, 3, 2, 3)
    solve = partial(inv_conv3d, weight=weight, corner=corner, unitriangular=True)
    x = solve(y)
    assert torch.equal(solve(y[4:5]), x[4:5])
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(solve(y), x)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("axes", OPERATORS)
def test_transforms_and_compilation_see_sequences_and_volumes(axes):
    x, weight = problem(axes)
    for operator, reference in zip(OPERATORS[axes], (oracle.convolve, oracle.solve), strict=True):
        jacobian = torch.func.jacfwd(operator)(x[:1], weight)
        matrix = oracle.dense_matrix(weight, *x.shape[2:])
        expected = matrix if reference is oracle.convolve else torch.linalg.inv(matrix)
        torch.testing.assert_close(jacobian.view(expected.shape), expected)
        hessian = torch.func.hessian(lambda w, op=operator: op(x, w).square().sum())(weight)
        of_oracle = torch.func.hessian(lambda w, op=reference: op(x, w).square().sum())(weight)
        torch.testing.assert_close(hessian, of_oracle)
        mapped = torch.vmap(operator, (None, 0))(x, torch.stack([weight, 2 * weight]))
        torch.testing.assert_close(mapped[1], reference(x, 2 * weight))
        compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x, weight), reference(x, weight))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("corner", ["front_top_left", "back_bottom_left"])
def test_a_tap_outside_of_the_volume_contributes_nothing(name, corner):
    x, weight = problem(3)
    place = torch.meshgrid(*map(torch.arange, x.shape[2:]), indexing="ij")
    words = corner.split("_")
    behind = [
        side - 1 - at if word in ("back", "bottom", "right") else at
        for word, at, side in zip(words, place, x.shape[2:], strict=True)
    ]
    reached = (behind[0] >= 2) & (behind[1] >= 1)  # by the tap two slices and one row behind
    with backend(name):
        for operator in OPERATORS[3]:
            finite = operator(x, weight, corner=corner)
            harmful = weight.clone()
            harmful[0, -1, 0, 0, -1] = math.inf
            result = operator(x, harmful, corner=corner)
            assert not result[:, 0][:, reached].isfinite().any()
            untouched = ~reached if operator is causal_conv3d else (behind[0] < 2)
            torch.testing.assert_close(result[:, 0][:, untouched], finite[:, 0][:, untouched])
        leaf = weight.clone().requires_grad_()
        upstream = torch.zeros_like(x)
        upstream[0, 0][behind[0] + behind[1] + behind[2] == 0] = 1.0
        poisoned = torch.where(behind[0] == 4, math.inf, x)  # the last slice, which the first one does not see
        (gradient,) = torch.autograd.grad(causal_conv3d(poisoned, leaf, corner=corner), leaf, upstream)
        assert gradient[:, :, :-1].isfinite().all()


@pytest.mark.parametrize(("axes", "event", "sides"), [(1, "a sequence", "k"), (3, "a volume", "kD, kH, kW")])
def test_errors_name_the_function_and_what_it_takes(axes, event, sides):
    x, weight = problem(axes)
    for operator in OPERATORS[axes]:
        with pytest.raises(ValueError, match=rf"{operator.__name__} expects {event} \(N, C, .*\), got shape \(2, 2\)"):
            operator(x.flatten(2)[..., 0], weight)
        with pytest.raises(ValueError, match=rf"{operator.__name__} expects a kernel \(C, C / groups, {sides}\)"):
            operator(x, weight[..., None])
        with pytest.raises(ValueError, match=f"'top_left': choose '{corners(axes)[0]}'"):
            operator(x, weight, corner="top_left")
    singular = weight.clone()
    singular[1, 1].view(-1)[-1] = 0
    with pytest.raises(ValueError, match="zero at channel 1"):
        OPERATORS[axes][1](x, singular)
    with pytest.raises(ValueError, match="zero at channel 1"):
        torch.vmap(OPERATORS[axes][1], (None, 0))(x, torch.stack([weight, singular]))


@pytest.mark.parametrize("axes", OPERATORS)
def test_growth_is_the_norm_of_the_dense_inverse(axes):
    x, weight = problem(axes)
    norm = torch.linalg.inv(oracle.dense_matrix(weight, *x.shape[2:])).abs().sum(1).max()
    assert growth(weight, tuple(x.shape[2:])).actual == pytest.approx(float(norm), rel=1e-10)
    with pytest.raises(ValueError, match="size must have one number for each of the 1, 2 or 3 spatial axes"):
        growth(weight, (3, 3))


def test_explain_says_how_a_sequence_and_a_volume_are_solved():
    with backend("dense"):
        assert explain(*problem(1)) == "dense: a matrix of 18 rows for each of 1 group(s)"
        assert explain(*problem(3)) == "dense: a matrix of 24 rows for each of 1 group(s), slice after slice"


@pytest.mark.parametrize("axes", [0, 4])
def test_other_numbers_of_axes_have_no_corners(axes):
    with pytest.raises(ValueError, match=f"spatial_axes must be between 1 and 3, got {axes}"):
        corners(axes)
