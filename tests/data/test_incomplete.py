"""Tables with missing cells."""

import numpy as np
import pytest

from inverseflow.data import Lattice
from inverseflow.data.incomplete import filled, incomplete_rows
from inverseflow.errors import DataError

CATEGORIES, LATTICES = {"site": ("1", "2", "north")}, {"k": Lattice(0.5, 1.0)}
NAMES = ("a", "site", "k", "gone")


def test_known_cells_are_numbered_as_in_training_and_empty_ones_are_missing():
    table = {
        "other": np.array([1, 2, 3]),
        "a": np.array(["1.5", "", "2"], dtype=object),
        "site": np.array([1.0, np.nan, 2.0]),
        "k": np.array([1.0, 2.5, np.nan]),
    }
    rows = incomplete_rows(table, NAMES, CATEGORIES, LATTICES, "t.csv")
    nan = np.nan
    np.testing.assert_array_equal(rows, [[1.5, 0, 0, nan], [nan, nan, 3, nan], [2, 1, nan, nan]])


def test_known_cells_stay_as_they_were():
    missing = np.array([False, True])
    assert filled(np.array(["north", None], dtype=object), np.array(["1", "2"]), missing).tolist() == ["north", "2"]
    assert filled(np.array([7.0, np.nan]), np.array([1.0, 2.0]), missing).tolist() == [7.0, 2.0]
    assert filled(None, np.array([1.0, 2.0]), missing).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"b": np.zeros(2)}, "t.csv has none of the columns a, site, k, gone: it has b"),
        ({"a": np.array([np.inf, 1.0])}, "'a' of t.csv is infinite or above 3.4e38 in row 0"),
        ({"a": np.array(["x", "1"])}, "'a' of t.csv holds 'x' in row 0"),
        (
            {"site": np.array(["south", "north"])},
            "'site' of t.csv holds .*south.* in row 0 .*: choose one of 1, 2, north",
        ),
        ({"k": np.array([1.0, 1.2])}, "'k' of t.csv holds 1.2 in row 1 .*, but steps of 0.5 in the training: round it"),
    ],
)
def test_cells_that_no_training_had_are_refused(column, message):
    with pytest.raises(DataError, match=message):
        incomplete_rows(column, NAMES, CATEGORIES, LATTICES, "t.csv")
