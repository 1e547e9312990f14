from itertools import chain, islice

import pytest
import torch

from inverseflow.training.loop.loader import StepBatches


def test_every_pass_sees_each_image_once():
    batches = StepBatches(num_examples=12, batch_size=4, seed=0)
    passes = [tuple(chain(*(batches.at(3 * number + step).tolist() for step in range(3)))) for number in range(4)]

    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len(set(passes)) == 4


def test_batches_that_do_not_divide_the_data_lose_no_example():
    batches = StepBatches(num_examples=10, batch_size=4, seed=0)
    indices = list(chain(*(batches.at(step).tolist() for step in range(5))))  # two passes

    assert sorted(indices[:10]) == sorted(indices[10:]) == list(range(10))


def test_a_batch_may_be_larger_than_the_data():
    assert len(StepBatches(num_examples=3, batch_size=8, seed=0).at(5)) == 8


@pytest.mark.parametrize("start", [0, 1, 7, 100])
def test_iteration_begins_at_the_step_that_a_run_resumes_from(start):
    whole = StepBatches(num_examples=30, batch_size=4, seed=1)
    resumed = StepBatches(num_examples=30, batch_size=4, seed=1, start=start)

    assert [indices.tolist() for indices in islice(resumed, 3)] == [
        whole.at(step).tolist() for step in range(start, start + 3)
    ]


def test_ranks_share_the_batch_of_one_process_between_them():
    alone = StepBatches(num_examples=20, batch_size=6, seed=2)
    shares = [StepBatches(num_examples=20, batch_size=2, seed=2, rank=rank, world_size=3) for rank in range(3)]

    for step in range(7):
        assert list(chain(*(share.at(step).tolist() for share in shares))) == alone.at(step).tolist()


def test_the_order_does_not_depend_on_the_global_generator():
    torch.manual_seed(1)
    first = StepBatches(num_examples=50, batch_size=10, seed=4).at(3)
    torch.manual_seed(2)

    assert StepBatches(num_examples=50, batch_size=10, seed=4).at(3).equal(first)
