import pytest

from experiments.sweeps import TABLES

SIZES = {"table7": (16, 256), "table8": (16, 256), "table9": (1, 128), "table10": (2, 11)}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_axis_reaches_as_far_as_in_the_paper(table):
    for budget in ("quick", "full"):
        sizes = [point.size for point in table.points[budget]]
        assert (sizes[0], sizes[-1]) == SIZES[table.name]
        assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_only_the_axis_changes(table):
    for points in table.points.values():
        changing = {"side of the image": "side", "images": "batch", "side of the kernel": "options"}[table.axis]
        for name in {"side", "batch", "options"} - {changing}:
            assert len({str(getattr(point, name)) for point in points}) == 1
