import numpy as np
import pytest

from applications.seeds.tables import add_rows, methods, read_table, scores


def rows(rare=8, frequent=60):
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.normal(size=(frequent, 2)), [3, 3] + 0.3 * generator.normal(size=(rare, 2))])
    return x, np.repeat([0, 1], [frequent, rare])


@pytest.mark.parametrize("method", methods())
def test_both_classes_become_of_one_size_and_real_rows_stay(method):
    x, y = rows()
    more, labels = add_rows(method, x, y, steps=100)
    assert np.array_equal(more[: len(x)], x) and np.array_equal(labels[: len(x)], y)
    assert labels.sum() == (8 if method == "none" else 60)
    if method != "none":
        assert np.abs(np.median(more[len(x) :], 0) - 3).max() < 0.7


def test_a_table_that_is_read_has_a_rare_class(shared_data):
    x, y = read_table("glass5", shared_data("tabular").parent)
    assert x.shape == (214, 9) and y.sum() == 9
    found = scores(x, y, folds=2, steps=5)
    assert set(found) == set(methods())
    assert all(0 <= value <= 1 for values in found.values() for value in values.values())
