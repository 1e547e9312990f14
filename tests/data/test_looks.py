"""Lattices, atoms and dependencies are found where they are, and nowhere else."""

import numpy as np
import pytest
import torch

from inverseflow.data.looks import Lattice, find_lattice, in_table_units, look_at
from inverseflow.errors import DataError

ROWS = 400


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("step", [1.0, 2.0, 0.01, 0.05, 2.5e-7, 1 / 60, 1e6])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_the_coarsest_lattice_of_a_column_is_found_and_gives_its_values_back(step, offset):
    numbers = rng().poisson(20, ROWS) * 1.0
    values = (offset + numbers) * step
    lattice = find_lattice(values)
    assert lattice.step == pytest.approx(step, rel=1e-11)
    np.testing.assert_allclose(lattice.values(lattice.numbers(values)), values, rtol=1e-11)
    if not offset:
        assert lattice.offset == 0 and np.array_equal(lattice.numbers(values), numbers)


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "continuous": rng().normal(size=ROWS),
        "all different": np.arange(ROWS) * 1.0,
        "an atom": np.where(rng().random(ROWS) < 0.5, 0.0, rng().normal(size=ROWS)),
        "half of it on a lattice": np.where(rng().random(ROWS) < 0.5, rng().integers(9, size=ROWS), rng().random(ROWS)),
        "finer than a flow resolves": rng().integers(300, size=ROWS) * 1e-9 + rng().integers(3, size=ROWS),
        "more than float32 holds": (rng().integers(9, size=ROWS) + 2.0**25) * rng().choice([-1, 1], ROWS),
        "an outlier that no integer holds": np.append(rng().integers(9, size=ROWS), 1e30),
        "constant": np.ones(ROWS),
    }.items(),
)
def test_a_column_without_a_lattice_has_none(name, values):
    assert find_lattice(values) is None


@pytest.mark.parametrize(("origin", "step"), [(1.7e9, 1.0), (1.7e9, 20.0), (1e6, 0.01)])
def test_a_lattice_far_from_zero_is_counted_from_its_least_value(origin, step):
    values = origin + rng().permutation(np.arange(ROWS) % 50) * step  # such as times in seconds
    lattice = find_lattice(values)
    assert lattice == Lattice(step, origin)
    assert lattice.numbers(values).max() == 49


def test_single_precision_hides_no_lattice():
    values = (rng().integers(50, size=ROWS) / 10).astype(np.float32)
    assert find_lattice(values.astype(np.float64), precision=2.0**-23) == Lattice(0.1)
    assert find_lattice(values.astype(np.float64)) is None  # at full precision they are no tenths


def test_an_extreme_value_hides_no_lattice():
    values = np.append(rng().integers(20, size=ROWS), 10**6) * 1.0
    assert find_lattice(values) == Lattice(1.0)


def test_atoms_are_refused_in_one_sentence_with_the_remedy():
    columns = {f"c{place}": np.where(np.arange(ROWS) < 40, 1.5, rng().normal(size=ROWS)) for place in range(8)}
    with pytest.raises(DataError, match=r"'c0' is 1.5 in 10 % of the rows, .*and 2 more: leave them out, or name them"):
        look_at(columns, dict.fromkeys(columns, 1e-16), "dequantize", "t.csv")
    lattices, notes = look_at(columns, dict.fromkeys(columns, 1e-16), "ignore", "t.csv")
    assert lattices == {} and "without a density" in notes[0]


def test_numbers_of_lattices_are_shown_in_the_units_of_the_table():
    rows = torch.tensor([[7.0, 0.5], [8.0, 0.25]])
    shown = in_table_units(rows, ("a", "b"), {"a": Lattice(0.01, 0.005)})
    assert shown.tolist() == [[0.075, 0.5], [0.085, 0.25]]
