import os
import subprocess
import sys
import threading

import pytest
import torch

from inverseflow.errors import BackendError
from inverseflow.ops import available_backends, backend, causal_conv2d, dispatch, explain, inv_conv2d, register_backend
from inverseflow.ops.dispatch import chosen_name

IMAGE = torch.ones(1, 2, 3, 4)
DEFAULT = "native" if available_backends()["native"] is None else "blocked"


def solved(name):
    with backend(name):
        return inv_conv2d(IMAGE, torch.full((2, 2, 2, 2), 0.1))


def test_every_available_backend_gives_the_same_answer():
    expected = solved("dense")
    for name in ("native", "blocked"):
        if available_backends()[name] is None:
            torch.testing.assert_close(solved(name), expected)


def test_the_default_on_a_cpu_is_native_where_it_was_built():
    assert chosen_name(IMAGE) == DEFAULT


def test_a_backend_is_forced_inside_its_block_and_no_longer():
    with backend("dense"):
        assert chosen_name(IMAGE) == "dense"
    assert chosen_name(IMAGE) == DEFAULT


def test_the_innermost_of_nested_blocks_decides():
    with backend("dense"):
        with backend("blocked"):
            assert chosen_name(IMAGE) == "blocked"
            with backend("dense"):
                assert chosen_name(IMAGE) == "dense"
        assert chosen_name(IMAGE) == "dense"
    assert chosen_name(IMAGE) == DEFAULT


def test_an_error_inside_a_block_lifts_the_force():
    with pytest.raises(ZeroDivisionError), backend("dense"):
        _ = 1 / 0
    assert chosen_name(IMAGE) == DEFAULT


def test_an_unknown_backend_is_an_error_that_lists_the_known_ones_and_forces_nothing():
    with pytest.raises(ValueError, match="unknown backend 'cudnn': choose one of .*'blocked'"), backend("cudnn"):
        raise AssertionError
    assert chosen_name(IMAGE) == DEFAULT


def test_other_threads_are_not_forced():
    seen = []
    with backend("dense"):
        thread = threading.Thread(target=lambda: seen.append(chosen_name(IMAGE)))
        thread.start()
        thread.join()
    assert seen == [DEFAULT]


def test_a_forced_backend_that_cannot_serve_says_which_and_why():
    image = torch.ones(1, 2, 3, 4, device="meta")
    with backend("native"), pytest.raises(BackendError, match="'native' was asked for but cannot serve this call: "):
        chosen_name(image)


def test_one_can_ask_what_was_chosen():
    weight = torch.zeros(2, 2, 3, 3)
    with backend("blocked"):
        assert explain(torch.ones(8, 2, 14, 14), weight) == "blocked: tiles of 4×4"
    assert explain(IMAGE, weight).startswith(f"{DEFAULT}: ")


def test_without_the_extension_everything_works_and_the_reason_is_told():
    code = (
        "import torch; from inverseflow.ops import *;"
        "print(available_backends()['native']);"
        "print(explain(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2)));"
        "print(inv_conv2d(torch.ones(1, 1, 1, 2), torch.tensor([[[[0.5, 1.0]]]])).tolist())"
    )
    environment = {**os.environ, "INVERSEFLOW_NATIVE": "0"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "switched off by INVERSEFLOW_NATIVE=0",
        "blocked: tiles of 4×4",
        "[[[[1.0, 0.5]]]]",
    ]


def test_explain_checks_and_converts_as_the_solve_does():
    image, weight = torch.ones(2, 2, 4, 4), torch.ones(2, 2, 2, 2)
    assert explain(image.half(), weight.half()) == explain(image, weight)
    assert explain(image[:0], weight) == "nothing to solve"
    with pytest.raises(ValueError, match="groups=0"):
        explain(image, weight, groups=0)
    with pytest.raises(ValueError, match="shape"):
        explain(image[0], weight)


class Identity:
    """A backend whose every result is the image (or the weight) that it is given."""

    def unavailable(self):
        return None

    def refuses(self, image):
        return "it takes no float64" if image.dtype == torch.float64 else None

    def convolve(self, x, weight, corner, groups, diagonal, transposed):
        return x.clone()

    def solve(self, y, weight, corner, groups, diagonal, transposed):
        return y.clone()

    def weight_gradient(self, x, grad, weight, corner, groups, diagonal):
        return torch.full_like(weight, 7.0)

    def variant(self, image, kernel, groups):
        return "does nothing"


@pytest.fixture
def identity(monkeypatch):
    monkeypatch.setattr(dispatch, "_BACKENDS", dict(dispatch._BACKENDS))
    module = Identity()
    register_backend("identity", module)
    return module


@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
def test_a_registered_backend_serves_operators_and_gradients_where_it_is_forced(identity, operator):
    x, weight = torch.randn(1, 2, 3, 3, requires_grad=True), torch.randn(2, 2, 2, 2, requires_grad=True)
    with backend("identity"):
        assert torch.equal(operator(x, weight), x)
        of_x, of_weight = torch.autograd.grad(operator(x, weight).sum(), (x, weight))
        assert explain(x, weight) == "identity: does nothing"
        with pytest.raises(BackendError, match="'identity' was asked for but cannot .* it takes no float64"):
            operator(x.double(), weight.double())
    assert torch.equal(of_x, torch.ones_like(x)) and bool((of_weight.abs() == 7).all())
    assert not torch.equal(operator(x, weight), x)


def test_a_registered_backend_is_listed_last_and_its_name_is_taken(identity):
    register_backend("identity", identity)  # again
    assert list(available_backends().items())[-1] == ("identity", None)
    for name in ("identity", "blocked"):
        with pytest.raises(ValueError, match=f"there is a backend '{name}' already"):
            register_backend(name, Identity())
    with pytest.raises(TypeError, match="'mine' lacks unavailable, .*; see Backend"):
        register_backend("mine", torch)
