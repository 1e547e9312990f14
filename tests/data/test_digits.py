import sys

import pytest
import torch
from sklearn.datasets import load_digits as load_bundled

from inverseflow.data.digits import load_digits
from inverseflow.errors import MissingPackageError


def test_the_splits_have_their_sizes():
    splits = load_digits()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1257, 180, 360]


def test_the_set_is_described():
    splits = load_digits()
    assert (splits.name, splits.title, splits.levels, splits.event_shape) == ("digits", "digits", 17, (1, 8, 8))
    assert splits.augmentations == ()


def test_every_bundled_image_is_in_exactly_one_split_with_its_label():
    splits = load_digits()
    found = sorted(
        (part[index].flatten().tolist(), part.labels[index].item())
        for part in (splits.train, splits.validation, splits.test)
        for index in range(len(part))
    )
    bundled = load_bundled()
    assert found == sorted(zip(bundled.data.astype(int).tolist(), bundled.target.tolist(), strict=True))


def test_pixels_use_all_levels():
    pixels = load_digits().train.tensor()
    assert pixels.dtype == torch.uint8
    assert pixels.unique().tolist() == list(range(17))


def test_the_splits_follow_the_seed():
    first, again, other = load_digits(split_seed=3), load_digits(split_seed=3), load_digits(split_seed=4)
    assert torch.equal(first.test.tensor(), again.test.tensor())
    assert not torch.equal(first.test.tensor(), other.test.tensor())


def test_the_splits_are_the_same_on_every_machine():
    # Written down once; a change here changes everybody's figures.
    assert load_digits().test.labels[:10].tolist() == [1, 2, 4, 5, 9, 7, 9, 2, 7, 9]


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        MissingPackageError, match=r"'digits' needs the package 'scikit-learn'.*pip install 'inverseflow\[train\]'"
    ):
        load_digits()
