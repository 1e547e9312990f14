import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from inverseflow.errors import DataError
from inverseflow.inference import read_observations, read_pairs

ROWS = {"radius [m]": [1.5, 2.0, 4.0], "mass": [2, 3, 5], "area": [7.1, 12.6, 50.2]}


def written(folder, name, rows=ROWS):
    path = folder / name
    if path.suffix == ".csv":
        lines = [",".join(rows), *(",".join(map(str, row)) for row in zip(*rows.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table(rows), path)
    else:
        np.savez(path, **{column: np.array(values) for column, values in rows.items()})
    return path


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.parquet", "pairs.npz"])
def test_pairs_are_read_from_a_table(tmp_path, name):
    path = written(tmp_path, name)
    pairs = read_pairs(path, parameters=["mass", "radius [m]"])
    assert pairs.parameters == ("mass", "radius [m]") and pairs.observations == ("area",)
    assert pairs.x.tolist() == [[2, 1.5], [3, 2], [5, 4]] and pairs.y.tolist() == [[7.1], [12.6], [50.2]]
    assert read_pairs(path, observations="area").parameters == ("radius [m]", "mass")


def test_whole_arrays_of_an_npz_file_are_named(tmp_path):
    path, theta, images = tmp_path / "pairs.npz", np.arange(8.0).reshape(4, 2), np.arange(48.0).reshape(4, 1, 3, 4)
    np.savez(path, theta=theta, images=images, mass=np.ones(4))
    pairs = read_pairs(path, parameters="theta", observations="images")
    assert pairs.parameters == ("theta0", "theta1") and pairs.observations == ()
    assert torch.equal(pairs.x, torch.from_numpy(theta)) and torch.equal(pairs.y, torch.from_numpy(images))
    assert read_pairs(path, parameters="theta").observations == ("mass",)


def test_few_rows_that_are_not_finite_are_dropped_and_many_are_refused(tmp_path):
    rows = {"a": [*map(float, range(200))], "b": [0.5] * 199 + [float("nan")]}
    with pytest.warns(UserWarning, match="1 of 200 rows of pairs.csv are not finite and were dropped"):
        pairs = read_pairs(written(tmp_path, "pairs.csv", rows), parameters=["a"])
    assert len(pairs.x) == len(pairs.y) == 199
    rows["a"][:5] = [float("inf")] * 5
    with pytest.raises(DataError, match=r"6 of 200 rows of pairs.csv are not finite \(over 1%\)"):
        read_pairs(written(tmp_path, "pairs.csv", rows), parameters=["a"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, r"which columns of pairs.csv are parameters, and which observations\? It has radius \[m\], mass, area"),
        ({"parameters": ["weight"]}, r"no column 'weight': it has radius \[m\], mass, area"),
        ({"parameters": ["radius [cm]"]}, r"no column 'radius \[cm\]' but 'radius \[m\]', in another unit"),
        ({"parameters": ["radius"]}, r"no column 'radius' but 'radius \[m\]', whose unit is part of its name: it has"),
        ({"parameters": ["mass"], "observations": ["mass"]}, "'mass' can't be both a parameter and an observation"),
        ({"parameters": ["mass", "mass"]}, "parameters name 'mass' twice"),
        ({"parameters": ["radius [m]", "mass", "area"]}, "pairs.csv has no column left"),
        ({"parameters": ["name"]}, "the column 'name' of pairs.csv holds object, not numbers"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, names, message):
    rows = {**ROWS, "name": ["a", "b", "c"]} if names.get("parameters") == ["name"] else ROWS
    with pytest.raises(DataError, match=message):
        read_pairs(written(tmp_path, "pairs.csv", rows), **names)


def test_observations_are_read_by_their_names_and_other_columns_are_named(tmp_path):
    path = written(tmp_path, "seen.csv")
    with pytest.warns(UserWarning, match=r"seen.csv has a column that is no observation, and is ignored: radius \[m\]"):
        assert read_observations(path, ["area", "mass"]).tolist() == [[7.1, 2], [12.6, 3], [50.2, 5]]
    with pytest.raises(DataError, match=r"no column 'area \[cm²\]' but 'area', without a unit.*was trained on mass"):
        read_observations(path, ["mass", "area [cm²]"])
    with pytest.raises(DataError, match="does not exist"):
        read_observations(tmp_path / "nowhere.csv", ["area"])
