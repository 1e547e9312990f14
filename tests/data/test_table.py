"""Tables."""

import gzip
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from inverseflow.data import ColumnCondition, Lattice, load_data, load_table
from inverseflow.errors import DataError, MissingPackageError

ROWS = 40
NUMBERS = np.random.default_rng(0).normal(size=(ROWS, 2)).round(3)
SITES = ["north", "south", "north", "west"] * 10


def csv(delimiter: str = ",", end: str = "\n") -> str:
    rows = [delimiter.join(map(str, (*row, site))) for row, site in zip(NUMBERS.tolist(), SITES, strict=True)]
    return end.join([delimiter.join(("a", " b", "site")), *rows, ""])


def column(values: list[object]) -> str:
    """Return a CSV table of a good column and one of the given values."""
    return "good,bad\n" + "\n".join(f"{row**2},{value}" for row, value in enumerate(values))


@pytest.fixture
def write(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# Reading


def table(path):
    splits = load_table(path, context_columns=["site"])
    return splits.columns, splits.train.tensor(), splits.train.context


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", csv(";")),
        ("a.csv", csv(end="\r\n")),
        ("a.csv", "\ufeff" + csv()),
        ("a.tsv", csv("\t")),
        ("A.CSV.GZ", gzip.compress(csv().encode())),
    ],
)
def test_a_csv_file_is_read_whatever_its_delimiter_line_ends_and_compression(write, name, content):
    expected, found = table(write(csv())), table(write(content, name))
    assert found[0] == expected[0] == ("a", "b")
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2], expected[2])


def test_every_format_gives_the_same_table(tmp_path, write):
    a, b = NUMBERS.T
    pyarrow.parquet.write_table(pyarrow.table({"a": a, "b": b, "site": SITES}), tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", a=a, b=b, site=np.array(SITES))
    np.savez(tmp_path / "b.npz", X=NUMBERS, columns=np.array(["a", "b"]), site=np.array(SITES), other=np.zeros(3))
    structured = np.array(list(zip(a, b, SITES, strict=True)), dtype=[("a", "f8"), ("b", "f8"), ("site", "U5")])
    np.save(tmp_path / "a.npy", structured)
    columns, x, context = table(write(csv()))
    for name in ("a.parquet", "a.npz", "b.npz", "a.npy"):
        found = table(tmp_path / name)
        assert found[0] == columns
        assert torch.equal(found[1], x)
        assert torch.equal(found[2], context)
    assert load_table(tmp_path / "b.npz").notes == ("arrays left out: other (3,)",)


def test_the_columns_of_arrays_without_names_are_numbered(tmp_path):
    np.save(tmp_path / "a.npy", NUMBERS)
    np.savez(tmp_path / "a.npz", X=NUMBERS)
    assert load_table(tmp_path / "a.npy").columns == ("0", "1")
    assert load_table(tmp_path / "a.npz", columns=["X1"]).columns == ("X1",)


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}] * ROWS), allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot be read as a table \(it holds arrays of Python objects"):
        load_table(tmp_path / "a.npy")
    for name in ("b.npy", "b.npz"):
        (tmp_path / name).write_text("neither")
        with pytest.raises(DataError, match=r"cannot be read as a table \(it is no NumPy file\): repair"):
            load_table(tmp_path / name)


# Columns


def test_columns_are_modeled_in_the_order_they_are_named_and_contexts_in_theirs(write):
    splits = load_table(write(csv()), columns=["b"], context_columns=["site", "a"])
    condition = ColumnCondition(("site", "a"), {"site": ("north", "south", "west")})
    assert (splits.columns, splits.categories, splits.condition) == (("b",), {}, condition)
    pairs = {float(np.float32(b)): (float(np.float32(a)), site) for (a, b), site in zip(NUMBERS, SITES, strict=True)}
    for x, context in zip(splits.train.tensor(), splits.train.context, strict=True):
        a, site = pairs[float(x)]
        assert torch.equal(context, condition.encode([{"a": a, "site": site}])[0])


def test_text_truth_values_and_declared_numbers_are_categories(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {"text": SITES, "truth": [True, False] * 20, "number": [3, 20, 3, 1] * 10}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    splits = load_table(path, categorical_columns=["number"])
    assert splits.categories == {
        "text": ("north", "south", "west"),
        "truth": ("false", "true"),
        "number": ("1", "3", "20"),
    }
    rows = {tuple(row) for row in splits.train.tensor().tolist()}
    assert rows == {(0, 1, 1), (1, 0, 2), (2, 0, 0)}


def test_a_table_with_categories_can_be_a_key(write):
    splits = load_table(write(csv()), columns=["a"], context_columns=["site"])
    assert {splits: 1}[splits] == 1


def test_a_change_of_units_changes_units_only(tmp_path):
    np.savez(tmp_path / "m.npz", length=NUMBERS[:, 0], other=NUMBERS[:, 1])
    np.savez(tmp_path / "mm.npz", length=1000 * NUMBERS[:, 0], other=NUMBERS[:, 1])
    meters, millimeters = (load_table(tmp_path / name).test.tensor() for name in ("m.npz", "mm.npz"))
    assert torch.allclose(meters * torch.tensor([1000, 1]), millimeters, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["A"]}, "table.csv has no column 'A': it has a, b, site"),
        ({"context_columns": ["A"]}, "table.csv has no column 'A': it has a, b, site"),
        ({"columns": ["a", "a"]}, "columns names 'a' twice"),
        ({"columns": ["a"], "context_columns": "a"}, "'a' cannot be both modeled and context"),
        ({"context_columns": ["a", "b", "site"]}, "no column left to model: name fewer context_columns"),
        ({"columns": ["a"], "categorical_columns": ["b"]}, "'b', which is neither modeled nor context"),
        ({"split_seed": -1}, "split_seed must be .*, got -1"),
    ],
)
def test_columns_that_do_not_fit_are_refused(write, options, message):
    with pytest.raises(DataError, match=message):
        load_table(write(csv()), **options)


# Values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "", 3, "NA", "", "nan", *range(20)], r"no value of 'bad' in 4 rows \(counted from 0: 1, 3, 4, ...\)"),
        ([*range(20), "?"], r"'bad' of table.csv holds '\?' in row 20 \(counted from 0\), but numbers elsewhere"),
        ([*range(20), "inf"], r"'bad' of table.csv is infinite or above 3.4e38 in row 20"),
        ([*range(20), "1e39"], r"infinite or above 3.4e38 in row 20"),
        ([7] * 20, "'bad' of table.csv is 7 in all 16 training rows: leave it out"),
        (["north"] * 20, "'bad' of table.csv is north in all 16 training rows"),
        (
            [1.7e9 + row for row in range(20)],
            r"float32 rounds the column 'bad' .*: subtract an offset such as 1700000000.0, or change",
        ),
        (["2000-01-01"] * 20, "'bad' of table.csv holds dates or times: convert it to numbers"),
        ([f"name {row}" for row in range(20)], "20 different categories such as 'name 0' in 20 rows"),
        (['"1,5"', '"2,5"'] * 10, "decimal comma such as '1,5': write them with a point"),
        (range(9), "table.csv has 9 rows, too few to split: at least 10 are needed"),
        ([0.3, 1.9], "table.csv has 2 rows, too few to split: at least 10 are needed"),
    ],
)
def test_values_that_no_flow_can_learn_are_refused(write, values, message):
    with pytest.raises(DataError, match=message):
        load_table(write(column(values)))


def test_a_number_among_texts_can_be_declared_a_category(write):
    path = write(column(["1", "2", "A", "B"] * 5))
    with pytest.raises(DataError, match=r"name it among categorical_columns \(--categorical-columns\)"):
        load_table(path)
    assert load_table(path, categorical_columns=["bad"]).categories == {"bad": ("1", "2", "A", "B")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("a,b\n", "it has no rows"),
        ("a,a\n" + "1,2\n" * 10, "it has several columns called 'a'"),
        ("1.5,2\n" + "1,2\n" * 10, "its first line holds numbers, but must name the columns"),
        ("a,b\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
    ],
)
def test_a_damaged_file_is_refused_by_name(write, content, message):
    with pytest.raises(DataError, match=f"table.csv cannot be read as a table .*{message}"):
        load_table(write(content))


@pytest.mark.parametrize("text", ["a,Größe\n1,2\n", "a,Ort\n1,Köln\n"])
def test_text_in_another_encoding_is_named(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"\(its text is not UTF-8; save it as UTF-8\)"):
        load_table(tmp_path / "a.csv")


def test_what_is_no_table_is_refused(tmp_path, write):
    with pytest.raises(DataError, match="is a folder: give a CSV, Parquet, NPZ or NPY file"):
        load_table(tmp_path)
    with pytest.raises(DataError, match="a.xlsx is no table by its name: save it as .csv"):
        load_table(write("", "a.xlsx"))
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match=r"it has the shape \(2, 3, 4\), expected \(N, D\)"):
        load_table(tmp_path / "a.npy")


def test_without_pyarrow_the_error_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="reading CSV files needs the package 'pyarrow'"):
        load_table(write(csv()))


def test_nested_values_are_refused(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"a": [[1, 2]] * 20}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the column 'a' of a.parquet holds array.* in row 0: leave the column out"):
        load_table(tmp_path / "a.parquet")


def test_columns_on_lattices_are_numbered_and_noted(tmp_path):
    columns = {"a": NUMBERS[:, 0], "dice": np.arange(ROWS) % 6, "price": 0.25 + np.arange(ROWS) % 7 * 0.5}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    splits = load_table(tmp_path / "a.parquet")
    assert splits.lattices == {"dice": Lattice(1.0), "price": Lattice(0.5, 0.25)}
    assert {*splits.train.tensor()[:, 2].tolist()} == {*range(7)}
    (note,) = splits.notes
    assert note.endswith("probability is modeled: 'dice' (whole numbers), 'price' (steps of 0.5)")
    with pytest.raises(DataError, match=r"'dice' \(whole numbers\), .*: dequantize \(lattice='dequantize', --lattice"):
        load_table(tmp_path / "a.parquet", lattice="refuse")
    ignored = load_table(tmp_path / "a.parquet", lattice="ignore")
    assert ignored.lattices == {} and ignored.notes[0].startswith("columns without a density, modeled as continuous")
    assert {*ignored.train.tensor()[:, 2].tolist()} == {0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25}
    with pytest.raises(DataError, match="unknown lattice 'drop': choose one of dequantize, refuse, ignore"):
        load_table(tmp_path / "a.parquet", lattice="drop")


def test_columns_that_depend_on_each_other_are_refused(tmp_path):
    columns = {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1], "sum": NUMBERS.sum(1)}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="'a', 'b', 'sum' depend on each other linearly: leave one of them out"):
        load_table(tmp_path / "a.parquet")
    assert "depend on each other" in load_table(tmp_path / "a.parquet", lattice="ignore").notes[0]
    assert load_table(tmp_path / "a.parquet", columns=["a", "b"]).notes == ()


# Real data


def test_galaxies_are_read_with_their_redshift_as_context(shared_data):
    galaxies = load_data("table", data_dir=shared_data("galaxies") / "galaxies.npz", context_columns=["redshift"])
    assert galaxies.columns == tuple("ugrizy")
    assert (len(galaxies.train), galaxies.train.context.shape[1], galaxies.notes) == (80_000, 1, ())


def test_missing_values_of_asteroids_are_named(shared_data):
    asteroids = shared_data("asteroids") / "asteroids.csv.gz"
    assert load_table(asteroids, columns=["a", "e"], context_columns=["class"]).condition.size == 9
    with pytest.raises(DataError, match=r"'diameter' in 4328 rows .*'moid' in 4 rows"):
        load_table(asteroids)


def test_the_exact_dependency_of_grid_is_refused(shared_data):
    with pytest.raises(DataError, match="'p1', 'p2', 'p3', 'p4' depend on each other linearly"):
        load_table(shared_data("tabular") / "grid.npz")


def test_satellite_and_shuttle_are_whole_numbers_and_glass_has_an_atom(shared_data):
    satellite = load_table(shared_data("satellite") / "satellite.npz", columns=["X0", "X35"])
    assert satellite.lattices == {"X0": Lattice(1.0), "X35": Lattice(1.0)}
    shuttle = load_table(shared_data("shuttle") / "shuttle.npz", context_columns=["y"])
    assert {lattice.step for lattice in shuttle.lattices.values()} == {1.0, 2.0} and len(shuttle.lattices) == 9
    with pytest.raises(DataError, match=r"'Mg' is 0 in 20 % of the rows: leave it out"):
        load_table(shared_data("tabular") / "glass5.npz")


def test_coordinates_of_cities_repeat_without_a_lattice(shared_data):
    (note,) = load_table(shared_data("cities") / "cities.npz", columns=["lonlat0", "lonlat1"]).notes
    assert note.startswith("up to 45 % of the rows share their value of 'lonlat0', 'lonlat1' with others")
