import numpy as np
import pytest

from inverseflow.errors import DataError
from inverseflow.estimators import aupro

MASK = np.zeros((1, 6, 6))
MASK[0, :3, :3] = 1  # a region of nine pixels
MASK[0, 5, 5] = 1  # and one of a single pixel


def by_hand(maps, masks, regions, limit):
    """The same area by a threshold at every value and the trapezoids between them, cut at the limit by a fine grid."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel()), reverse=True):
        above = maps >= threshold
        points.append((above[masks == 0].mean(), np.mean([above[region].mean() for region in regions])))
    x, y = np.array(points).T
    grid = np.linspace(0, limit, 200_001)
    return np.interp(grid + 1e-12, x, y).mean()


def test_hand_made_cases():
    assert aupro(MASK, MASK) == 1.0
    assert aupro(1 - MASK, MASK) == 0.0
    assert aupro(np.zeros_like(MASK), MASK) == pytest.approx(0.15)  # the diagonal up to 0.3
    large_only = np.where(MASK == 1, 1.0, 0.0)
    large_only[0, 5, 5] = -1.0
    assert aupro(large_only, MASK, limit=0.5) == pytest.approx(0.5 + 0.0)
    assert aupro(np.eye(4)[None], np.eye(4)[None]) == 1.0


def test_the_area_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    large, small = (MASK == 1) & (np.arange(6) < 3), (MASK == 1) & (np.arange(6) == 5)
    for maps in (rng.normal(size=MASK.shape) + MASK, rng.integers(0, 4, MASK.shape) + MASK):
        expected = by_hand(maps.astype(float), MASK, [large, small], 0.3)
        assert aupro(maps, MASK) == pytest.approx(expected, abs=1e-4)


def test_it_never_leaves_the_unit_interval():
    rng = np.random.default_rng(0)
    for _ in range(200):
        masks = rng.random((2, 5, 5)) < rng.random()
        masks[0, 0, 0], masks[1, 0, 0] = True, False
        maps = rng.integers(0, rng.integers(1, 30), masks.shape) + rng.normal() * masks
        assert 0 <= aupro(maps, masks, limit=rng.uniform(0.001, 1)) <= 1


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (MASK[0], MASK[0], "must have one shape"),
        (MASK, MASK[:, :3], "must have one shape"),
        (MASK * np.nan, MASK, "36 values of the maps are not finite"),
        (MASK, MASK * 0, "the masks have 0 anomalous of 36 pixels: both are needed"),
        (MASK, MASK * 0 + 1, "the masks have 36 anomalous of 36 pixels"),
    ],
)
def test_bad_maps_are_refused(maps, masks, message):
    with pytest.raises(DataError, match=message):
        aupro(maps, masks)


@pytest.mark.parametrize("limit", [0, 1.5, float("nan")])
def test_a_limit_is_a_share(limit):
    with pytest.raises(ValueError, match="limit must be above 0 and at most 1"):
        aupro(MASK, MASK, limit=limit)
