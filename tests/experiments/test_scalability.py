import math

import pytest

from experiments.scalability import break_even, images_at_once


def times(train_solve, train_convolution, sample_solve, sample_convolution):
    named = {
        "train_solve": train_solve,
        "train_convolution": train_convolution,
        "sample_solve": sample_solve,
        "sample_convolution": sample_convolution,
    }
    return {name: {"median": time} for name, time in named.items()}


@pytest.mark.parametrize(
    ("values", "samples"),
    [
        (times(7, 3, 3, 1), 2.0),  # 4 more for each training image, 2 less for each sample
        (times(3, 3, 3, 1), 0.0),
        (times(2, 3, 1, 3), 0.0),
        (times(4, 3, 1, 1), math.inf),
        (times(4, 3, 1, 2), math.inf),
    ],
)
def test_samples_for_each_training_image_until_the_solve_in_training_pays(values, samples):
    assert break_even(values) == samples


def test_a_batch_is_bounded_and_never_empty():
    assert [images_at_once(3, 32), images_at_once(48, 64), images_at_once(512, 256)] == [32, 5, 1]
