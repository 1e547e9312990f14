import pytest
import torch

from inverseflow.data.splitting import split_indices
from inverseflow.errors import DataError


def test_the_parts_have_their_sizes_and_together_are_everything():
    rest, first, second = split_indices(100, 10, 25, seed=0)
    assert (len(rest), len(first), len(second)) == (65, 10, 25)
    assert torch.cat([rest, first, second]).sort().values.tolist() == list(range(100))


def test_each_part_is_in_increasing_order():
    for part in split_indices(100, 10, 25, seed=0):
        assert part.tolist() == sorted(part.tolist())


def test_the_division_is_the_same_on_every_machine():
    # Written down once; a change here changes everybody's splits.
    rest, first, second = split_indices(10, 2, 3, seed=0)
    assert (rest.tolist(), first.tolist(), second.tolist()) == ([0, 3, 5, 6, 7], [2, 8], [1, 4, 9])


def test_another_seed_gives_another_division():
    assert split_indices(100, 10, seed=0)[1].tolist() != split_indices(100, 10, seed=1)[1].tolist()


def test_the_global_generators_are_not_touched():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    split_indices(100, 10, seed=5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(DataError, match=f"split_seed is {seed}: choose a whole number from 0 to 4294967295"):
        split_indices(10, 1, seed=seed)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_things_to_divide_are_refused(count):
    with pytest.raises(DataError, match=f"{count} images are too few to split: at least 3 are needed"):
        split_indices(count, 1, 1, seed=0)
