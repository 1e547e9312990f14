import threading

import pytest
import torch

from inverseflow.ops import available_backends, backend, inv_conv2d
from inverseflow.ops._backends import blocked, dense
from inverseflow.ops.dispatch import chosen_solve


def solved(name):
    y, weight = torch.ones(1, 2, 3, 4), torch.full((2, 2, 2, 2), 0.1)
    with backend(name):
        return inv_conv2d(y, weight)


def test_every_available_backend_gives_the_same_answer():
    assert available_backends() == {"dense": None, "blocked": None}
    answers = [solved(name) for name, reason in available_backends().items() if reason is None]
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0])


def test_the_default_is_the_blocked_one():
    assert chosen_solve() is blocked.solve


def test_a_backend_is_forced_inside_its_block_and_no_longer():
    with backend("dense"):
        assert chosen_solve() is dense.solve
    assert chosen_solve() is blocked.solve


def test_the_innermost_of_nested_blocks_decides():
    with backend("dense"):
        with backend("blocked"):
            assert chosen_solve() is blocked.solve
            with backend("dense"):
                assert chosen_solve() is dense.solve
        assert chosen_solve() is dense.solve
    assert chosen_solve() is blocked.solve


def test_an_error_inside_a_block_lifts_the_force():
    with pytest.raises(ZeroDivisionError), backend("dense"):
        _ = 1 / 0
    assert chosen_solve() is blocked.solve


def test_an_unknown_backend_is_an_error_that_lists_the_known_ones_and_forces_nothing():
    with pytest.raises(ValueError, match="unknown backend 'cudnn': choose one of 'dense', 'blocked'"), backend("cudnn"):
        raise AssertionError
    assert chosen_solve() is blocked.solve


def test_other_threads_are_not_forced():
    seen = []
    with backend("dense"):
        thread = threading.Thread(target=lambda: seen.append(chosen_solve()))
        thread.start()
        thread.join()
    assert seen == [blocked.solve]
