import hashlib

import numpy as np
import pytest
import torch

from inverseflow.data.splitting import split_by_content, split_indices, split_rows
from inverseflow.errors import DataError


def test_the_parts_have_their_sizes_and_together_are_everything():
    rest, first, second = split_indices(100, 10, 25, seed=0)
    assert (len(rest), len(first), len(second)) == (65, 10, 25)
    assert torch.cat([rest, first, second]).sort().values.tolist() == list(range(100))


def test_the_division_is_the_same_on_every_machine():
    # Written down once; a change here changes everybody's splits.
    rest, first, second = split_indices(10, 2, 3, seed=0)
    assert (rest.tolist(), first.tolist(), second.tolist()) == ([0, 3, 5, 6, 7], [2, 8], [1, 4, 9])


def test_another_seed_gives_another_division():
    assert split_indices(100, 10, seed=0)[1].tolist() != split_indices(100, 10, seed=1)[1].tolist()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(DataError, match=f"split_seed must be a whole number from 0 to 4294967295, got {seed}"):
        split_indices(10, 1, seed=seed)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_things_to_divide_are_refused(count):
    with pytest.raises(DataError, match=f"{count} examples are too few to split: at least 3 are needed"):
        split_indices(count, 1, 1, seed=0)


# By content


def digests(count: int, salt: int = 0) -> list[bytes]:
    return [hashlib.sha256(f"{salt} {number}".encode()).digest() for number in range(count)]


@pytest.mark.parametrize("count", [3, 4, 5, 7, 10, 19, 50])
def test_every_content_is_in_one_part_and_no_part_is_empty(count):
    for seed in range(10):
        parts = split_by_content(digests(count), 2, seed=seed)
        assert all(parts)
        assert sorted(sum(parts, [])) == list(range(count))


def test_about_a_tenth_goes_into_each_held_out_part():
    held_out = split_by_content(digests(5_000), 2, seed=0)[1:]
    assert [len(part) / 5_000 for part in held_out] == pytest.approx([0.1, 0.1], abs=0.02)


def test_more_images_move_none_into_another_part():
    few, many = (split_by_content(digests(count), 2, seed=0) for count in (200, 400))
    for before, after in zip(few, many, strict=True):
        assert before == [index for index in after if index < 200]


def test_images_added_to_a_small_set_move_none_from_training_to_test():
    for salt in range(10):
        contents = digests(40, salt)
        trained: set[int] = set()
        for count in range(5, 41):
            train, test, validation = split_by_content(contents[:count], 2, seed=0)
            trained |= {*train, *validation}
            assert trained.isdisjoint(test)


def test_the_order_of_the_images_changes_nothing():
    contents = digests(50)
    forward, backward = split_by_content(contents, 2, seed=0), split_by_content(contents[::-1], 2, seed=0)
    assert [sorted(49 - index for index in part) for part in backward] == forward


def test_equal_images_stay_together():
    train, validation, test = split_by_content(digests(50) * 3, 2, seed=0)
    for part in (train, validation, test):
        assert {index % 50 + 50 * copy for index in part for copy in range(3)} == set(part)


def test_another_seed_gives_another_division_by_content():
    assert split_by_content(digests(100), 1, seed=0) != split_by_content(digests(100), 1, seed=1)


def test_the_division_by_content_is_the_same_on_every_machine():
    # Written down once; a change here moves images from training to test.
    assert split_by_content(digests(30), 2, seed=0)[1:] == [[8, 11, 16, 26], [0, 23]]


def test_equal_images_part_if_nothing_else_is_there():
    assert sorted(map(len, split_by_content([b"same"] * 4, 2, seed=0))) == [1, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_images_to_divide_by_content_are_refused(count):
    with pytest.raises(DataError, match=f"{count} examples are too few to split: at least 3 are needed"):
        split_by_content(digests(count), 2, seed=0)


def test_a_seed_out_of_range_is_refused_by_content():
    with pytest.raises(DataError, match="split_seed must be .*, got -1"):
        split_by_content(digests(5), 2, seed=-1)


# By row


def parts_of(rows, seed=0):
    return [part.tolist() for part in split_rows(np.asarray(rows), 0.1, 0.2, seed=seed)]


def test_rows_are_divided_by_share_and_the_same_on_every_machine():
    rows = np.arange(60.0).reshape(20, 3)
    assert parts_of(rows)[1:] == [[1, 18], [8, 10, 17, 19]]  # written down once
    assert sorted(sum(parts_of(rows), [])) == list(range(20))
    assert parts_of(rows) != parts_of(rows, seed=1)


def test_equal_rows_stay_together_and_units_change_nothing():
    rows = np.random.default_rng(0).normal(size=(30, 2))[np.random.default_rng(1).integers(30, size=80)]
    parts = parts_of(rows)
    assert parts == parts_of(1000 * rows)
    for part in parts:
        others = np.delete(rows, part, axis=0)
        assert not any((others == row).all(1).any() for row in rows[part])


def test_points_of_a_lattice_are_no_copies():
    rows = np.arange(100)[:, None] % 4
    assert [len(part) for part in parts_of(rows)] == [70, 10, 20]
    assert len(np.unique(rows[parts_of(rows)[2]])) > 1
