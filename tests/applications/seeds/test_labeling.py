from itertools import combinations, product

import numpy as np
import pytest
import torch

from applications.seeds.labeling import batch_bald, entropy, label_in_batches
from applications.seeds.sets import drawn_kernels
from inverseflow.errors import OptionError


def mutual_information(draws):
    """Sum over all configurations of the labels of some objects ``(n, draws, classes)``."""
    count, _, classes = draws.shape
    joint = [
        torch.stack([draws[place, :, label] for place, label in enumerate(labels)]).prod(0).mean()
        for labels in product(range(classes), repeat=count)
    ]
    return float(entropy(torch.stack(joint)) - entropy(draws).mean(1).sum())


def random_draws(candidates=7, number=6, classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(candidates, number, classes, generator=generator, dtype=torch.float64).mul(2).softmax(2)


def test_the_information_of_a_batch_is_the_sum_over_all_configurations():
    draws = random_draws()
    chosen, information = batch_bald(draws, 3)
    for size in (1, 2, 3):
        assert information[size - 1] == pytest.approx(mutual_information(draws[chosen[:size]]), abs=1e-10)


def test_the_greedy_batch_is_near_the_best():
    draws = random_draws()
    best = max(mutual_information(draws[list(places)]) for places in combinations(range(len(draws)), 3))
    information = batch_bald(draws, 3)[1][-1]
    assert (1 - 1 / np.e) * best <= information <= best + 1e-10


def test_a_second_object_that_says_the_same_adds_nothing():
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    other = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    chosen, information = batch_bald(torch.stack([same, same, other]), 3)
    assert sorted(chosen[:2]) in ([0, 2], [1, 2])
    assert information == pytest.approx([np.log(2), 2 * np.log(2), 2 * np.log(2)])


def test_drawn_configurations_estimate_the_joint_entropy():
    draws = random_draws()
    exact = batch_bald(draws, 4)
    drawn = batch_bald(draws, 4, largest=60)
    assert drawn[0][:2] == exact[0][:2]
    assert drawn[1][-1] == pytest.approx(mutual_information(draws[drawn[0]]), abs=0.1)


@pytest.mark.parametrize("size", [0, 8])
def test_a_batch_of_none_or_of_more_than_there_are_is_refused(size):
    with pytest.raises(OptionError, match=f"from 1 to 7 objects, got {size}"):
        batch_bald(random_draws(), size)


def test_both_strategies_begin_with_the_same_objects_and_label_as_many():
    pool, test = drawn_kernels(2, 2, side=8)
    amounts = {"start": 4, "batch": 3, "rounds": 1, "steps": 2}
    random, chosen = (label_in_batches(pool, test, name, **amounts) for name in ("random", "BatchBALD"))
    assert random[0] == chosen[0] and [labels for labels, _ in chosen] == [4, 7]
    with pytest.raises(OptionError, match="no strategy 'BALD'; there are random, BatchBALD"):
        label_in_batches(pool, test, "BALD", **amounts)
    with pytest.raises(OptionError, match="34 labels are more than the pool of 28"):
        label_in_batches(pool, test, "random", start=4, batch=3, rounds=10, steps=1)
