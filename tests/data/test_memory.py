"""Data from memory."""

from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from inverseflow.data import ColumnCondition, LabelCondition, TensorExamples, TensorImages, as_splits, load_data
from inverseflow.errors import DataError

X = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
C = X * torch.tensor([1.0, 2.0]) + 1
LABELS = torch.arange(50) % 3
TEXTS = ["left", "right"] * 25


class Frame:
    """A data frame like those of pandas and polars."""

    def __init__(self, **columns: object) -> None:
        self._data = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self._data[name])


class Items(Dataset):
    """A map-style data set of the results of a function."""

    def __init__(self, function, count: int = 50) -> None:
        self._function, self._count = function, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int):
        return self._function(index)


def rows(splits) -> list[list[float]]:
    """Return all examples with their contexts, sorted."""
    parts = (splits.train, splits.validation)
    return sorted(row for part in parts for row in torch.cat([part.tensor(), part.context], 1).tolist())


# Forms


@pytest.mark.parametrize(
    "data",
    [
        (X, C),
        (X.double().numpy(), C.tolist()),
        (Frame(u=X[:, 0], v=X[:, 1]), Frame(c0=C[:, 0], c1=C[:, 1])),
        ({"u": X[:, 0], "v": X[:, 1]}, pyarrow.table({"c0": C[:, 0].numpy(), "c1": C[:, 1].numpy()})),
        (TensorDataset(X, C), None),
        (Items(lambda index: (X[index].numpy(), C[index])), None),
        (TensorExamples(X, C), None),
        (TensorExamples(X), C),
        (TensorDataset(X), C),
        (X.clone().requires_grad_(), C.double()),
    ],
    ids=["tensors", "arrays", "frames", "mapping", "dataset", "items", "examples", "examples-c", "dataset-c", "grad"],
)
def test_every_form_gives_the_same_data_set(data):
    splits = as_splits(*data)
    assert rows(splits) == rows(as_splits(X, C))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (45, 5, 0)
    assert splits.condition == ColumnCondition(("c0", "c1"))
    assert splits.train.tensor().dtype == torch.float32
    assert not splits.train.tensor().requires_grad


def test_columns_of_a_frame_keep_their_names_and_text_becomes_categories():
    for frame in (Frame(a=X[:, 0], side=TEXTS), pyarrow.table({"a": X[:, 0].numpy(), "side": TEXTS})):
        splits = as_splits(frame, frame)
        assert splits.columns == ("a", "side")
        assert splits.categories == {"side": ("left", "right")}
        assert splits.condition == ColumnCondition(("a", "side"), splits.categories)
        assert splits.train.context[:, 0].tolist() == splits.train.tensor()[:, 0].tolist()
        assert splits.train.context[:, 1:].argmax(1).tolist() == splits.train.tensor()[:, 1].tolist()


@pytest.mark.parametrize(
    ("context", "classes", "names"),
    [
        (LABELS, None, ("0", "1", "2")),
        (LABELS.numpy().astype(np.uint8), 4, ("0", "1", "2", "3")),
        (LABELS.tolist(), ["a", "b", "c"], ("a", "b", "c")),
        (TEXTS, None, ("left", "right")),
        (np.array(TEXTS), ("right", "left"), ("right", "left")),
    ],
)
def test_whole_numbers_and_texts_are_labels(context, classes, names):
    splits = as_splits(X, context, classes=classes)
    assert splits.condition == LabelCondition(names)
    assert splits.train.context.sum(1).tolist() == [1] * 45
    order = {tuple(row): index for index, row in enumerate(X.tolist())}
    for row, label in zip(splits.train.tensor().tolist(), splits.train.context.argmax(1).tolist(), strict=True):
        wanted = context[order[tuple(row)]]
        assert names[label] == (wanted if isinstance(wanted, str) else names[int(wanted)])


def test_fractions_are_contexts_of_length_one_and_images_keep_theirs():
    assert as_splits(X, X[:, 0]).train.context.shape == (45, 1)
    assert as_splits(X, torch.randn(50, 3, 4, 4)).train.context.shape == (45, 3, 4, 4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_whole_numbers_stay_so_for_a_density_of_levels_only(dtype):
    images = torch.randint(0, 17, (20, 1, 4, 4), dtype=dtype)
    assert as_splits(images).train.tensor().dtype == torch.float32
    kept = as_splits(images, levels=17)
    assert kept.train.tensor().dtype == (torch.uint8 if dtype == torch.uint8 else torch.int64)
    assert kept.levels == 17
    with pytest.raises(DataError, match="x must be whole numbers from 0 to 3, got values from 0 to 16"):
        as_splits(images, levels=4)
    with pytest.raises(
        DataError, match="from 0 to 16, got torch.float32: convert it to uint8, or build the density for"
    ):
        as_splits(images.float(), levels=17)


def test_float64_stays_if_asked():
    splits = as_splits(X.double(), C, dtype=torch.float64)
    assert splits.train.tensor().dtype == splits.train.context.dtype == torch.float64


def test_splits_stay_as_they_are():
    splits = load_data("rings")
    assert as_splits(splits) is splits
    with pytest.raises(DataError, match="Splits bring their contexts"):
        as_splits(splits, X)


# Validation


def test_the_share_is_held_out_by_seed_and_equal_examples_stay_together():
    doubled = torch.cat([X, X])
    first, again, other = (as_splits(doubled, validation=0.2, seed=seed) for seed in (0, 0, 1))
    assert len(first.validation) == 20
    assert torch.equal(first.validation.tensor(), again.validation.tensor())
    assert not torch.equal(first.validation.tensor(), other.validation.tensor())
    assert len(first.validation.tensor().unique(dim=0)) == 10


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="validation must lie strictly between 0 and 1, got .*: it is a share"):
        as_splits(X, validation=share)


def test_a_share_that_leaves_nothing_is_refused():
    with pytest.raises(DataError, match="validation 0.99 of 5 examples leaves nothing to train on"):
        as_splits(X[:5], validation=0.99)
    with pytest.raises(DataError, match="has 1 example: at least 2 are needed"):
        as_splits(X[:1])
    assert len(as_splits(X[:2]).train) == 1


# Bad input

HOLED = torch.where(torch.arange(50)[:, None] % 20 == 7, torch.nan, X)


@pytest.mark.parametrize(
    ("x", "context", "message"),
    [
        (HOLED, None, r"x is not finite \(torch.float32\) in 3 of 50 examples \(7, 27, 47\): leave them out"),
        (X, HOLED, r"context is not finite \(torch.float32\) in 3 of 50 examples"),
        (TensorExamples(HOLED), None, "x is not finite"),
        (Frame(a=HOLED[:, 0], b=X[:, 0]), None, r"x has no value of 'a' in 3 rows \(counted from 0: 7, 27, 47\)"),
        (X.double() * 1e300, None, "x is not finite"),
        (np.ma.masked_less(X.numpy(), 0), None, "x is not finite"),
        (X[:, 0], None, r"got the shape \(50,\): make N numbers a table of one column with x.reshape\(-1, 1\)"),
        (X, C[:49], "x has 50 examples, but context has 49: give one context for each example"),
        (X, 3.0, "x has 50 examples, but context has 0"),
        (X, TEXTS[:49], "x has 50 examples, but context has 49"),
        (X, ["left", None] * 25, "context has no value of 'label' in 25 rows"),
        (X, LABELS - 1, "17 of 50 labels are not from 0 to 1, such as -1: number the classes from 0 on"),
        (X, LABELS * 1000, "labels of classes, at most 1000, but one is 2000: give numbers as float"),
        (np.array([["a", 1]] * 20, dtype=object), None, "x must be numbers, got object: convert it"),
        ("points.csv", None, "x must be numbers, got the path 'points.csv': read it with inverseflow.data.load_data"),
        (Path("points.csv"), None, "x must be numbers, got the path 'points.csv'"),
        ([[1.0, 2.0], [3.0]], None, "x cannot be read as one array .*: give all examples the same shape"),
        (X + 1j, None, "x must be real numbers, got torch.complex64"),
        (X.to_sparse(), None, "x must be a dense tensor, got torch.sparse_coo"),
        ({"a": [1, 2], "b": [1, 2, 3]}, None, "the columns of x have 2, 3 rows"),
        ({"a": []}, None, "x has no rows"),
        ({}, None, "x has no columns"),
        (Frame(a=X[:, 0], k=np.ones(50)), None, "the column 'k' of x is 1 in all 50 training rows"),
        (np.arange(50.0)[:, None] + 1.7e9, None, "float32 rounds the column '0' of x to steps of 128"),
        (TensorDataset(X, C), C, "the data set has contexts of its own"),
        (TensorDataset(X, C, C), None, "must be tensors or arrays x, or pairs .*, got tuple"),
        (Items(lambda index: {"x": index}), None, "got dict: convert them in the data set"),
        (Items(lambda index: torch.zeros(index)), None, "give all examples the same shape"),
        (Items(lambda index: (object(), 1)), None, "the examples of a data set must be tensors or arrays, got object"),
        (Items(None, 0), None, "the data set has no examples"),
    ],
)
def test_what_cannot_be_learned_is_refused_with_the_remedy(x, context, message):
    with pytest.raises(DataError, match=message):
        as_splits(x, context)


def test_images_of_a_set_keep_their_fast_class():
    images = TensorImages(torch.zeros(10, 1, 2, 2, dtype=torch.uint8))
    assert isinstance(as_splits(images, levels=256).train, TensorImages)
