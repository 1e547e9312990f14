"""Conditions by name."""

from itertools import product

import pytest
import torch
import yaml

from inverseflow.data import ColumnCondition, LabelCondition, condition_from_mapping
from inverseflow.data.condition import mixed
from inverseflow.errors import DataError

CONDITION = ColumnCondition(("t", "site", "depth"), {"site": ("north", "south")})


def test_a_context_holds_numbers_and_a_one_at_the_place_of_the_category():
    rows = [{"site": "south", "t": -2, "depth": 1e3}, {"t": "0.5", "site": " north", "depth": torch.tensor(3)}]
    assert CONDITION.size == 4
    assert CONDITION.encode(rows).tolist() == [[-2, 0, 1, 1000], [0.5, 1, 0, 3]]


def test_text_names_each_column_once():
    assert CONDITION.parse("depth=1, t=2,site=north").tolist() == [[2, 1, 0, 1]]
    for text, message in {
        "t=1,t=2": "names 't' twice: write NAME=VALUE for each of t, site, depth",
        "t=1,2": "has no '=' in '2'",
        "": "has no '=' in ''",
        "t=1,site=north": "lacks a value for 'depth': give a value for each of t, site, depth",
        "t=1,site=north,depth=1,x=1": "has no column 'x': give a value for each of t, site, depth",
        "t=1,site=west,depth=1": "the column 'site' has no category 'west': choose one of north, south",
        "t=late,site=north,depth=1": "the column 't' of the context must be a finite number, got 'late'",
        "t=nan,site=north,depth=1": "finite number, got 'nan'",
        "t=1e39,site=north,depth=1": "finite number, got '1e39'",
    }.items():
        with pytest.raises(DataError, match=message):
            CONDITION.parse(text)


def test_a_class_is_named_by_text_or_number():
    condition = LabelCondition(tuple("0123"))
    assert condition.encode([2, "3"]).argmax(1).tolist() == [2, 3]
    with pytest.raises(DataError, match="there is no class 4: choose one of 0, 1, 2, 3"):
        condition.encode([4])


def test_the_counts_of_a_mix_are_the_whole_numbers_nearest_to_its_shares():
    for n, shares in product((1, 2, 7), ([1, 1, 1], [0.2, 0.5, 0.3], [3, 0, 1e-3])):
        counts = mixed(",".join(f"{name}={share}" for name, share in zip("abc", shares, strict=True)), n)
        exact = [n * share / sum(shares) for share in shares]
        possible = [each for each in product(range(n + 1), repeat=3) if sum(each) == n]
        nearest = min(sum((a - b) ** 2 for a, b in zip(each, exact, strict=True)) for each in possible)
        assert [*counts] == ["a", "b", "c"] and sum(counts.values()) == n
        assert sum((a - b) ** 2 for a, b in zip(counts.values(), exact, strict=True)) == pytest.approx(nearest)
    assert mixed('"a,b"=1, c=d=1', 3) == {"a,b": 2, "c=d": 1}


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_outside_of_the_classes_is_refused(label):
    with pytest.raises(DataError, match=f"1 of 3 labels are not from 0 to 3, such as {label}"):
        LabelCondition(tuple("0123")).one_hot(torch.tensor([0, label, 3]))


@pytest.mark.parametrize("condition", [LabelCondition(("0", "no", "1.0")), CONDITION])
def test_a_condition_is_the_same_after_a_file(condition):
    assert condition_from_mapping(yaml.safe_load(yaml.safe_dump(condition.to_mapping()))) == condition


@pytest.mark.parametrize("mapping", [{}, {"kind": "label"}, {"kind": "columns", "columns": 3}, {"kind": "size"}, None])
def test_what_is_no_condition_is_refused(mapping):
    with pytest.raises(DataError, match=r"describes no condition|unknown kind of condition 'size'"):
        condition_from_mapping(mapping)


def test_of_many_classes_the_first_ten_and_their_number_are_named():
    condition = LabelCondition(tuple(map(str, range(300))))
    with pytest.raises(
        DataError, match=r"no class 'x': choose one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\. \(300 in all\)$"
    ):
        condition.encode(["x"])
