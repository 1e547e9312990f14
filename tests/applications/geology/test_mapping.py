import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from applications.geology.__main__ import main
from applications.geology.mapping import make_map, smooth
from applications.geology.rasters import Raster, scaled
from applications.geology.scenes import read_spectra, resample, scene
from experiments.__main__ import main as experiments


def halves(side=12, bands=3):
    generator = np.random.default_rng(0)
    cube = 0.05 * generator.random((bands, side, side))
    cube[:, :, side // 2 :] += 1
    return cube.astype(np.float32)


def test_the_filter_is_the_most_frequent_class_of_the_neighborhood_also_at_the_border():
    classes = np.random.default_rng(0).integers(0, 4, (9, 11)).astype(np.uint8)
    found = smooth(classes, 3)
    padded = np.pad(classes, 1)
    for row, column in np.ndindex(classes.shape):
        counts = Counter(padded[row : row + 3, column : column + 3].flatten().tolist())
        counts.pop(0, None)
        if classes[row, column] == 0:
            assert found[row, column] == 0
        else:
            assert counts[int(found[row, column])] == max(counts.values())


@pytest.mark.parametrize("name", ["bands", "pca", "whitened"])
def test_two_halves_become_two_classes_with_their_spectra_and_what_is_missing_stays_so(name):
    cube = halves()
    cube[1, 2, 3] = np.nan
    raster = Raster(np.nan_to_num(cube), np.isfinite(cube).all(0))
    found = make_map(raster, name, 2, filter_size=3)
    assert found.classes[2, 3] == 0
    left, right = found.classes[:, :6], found.classes[:, 6:]
    assert len(np.unique(left[left > 0])) == len(np.unique(right)) == 1 and left[0, 0] != right[0, 0]
    assert found.spectra[left[0, 0] - 1] == pytest.approx(scaled(raster).numpy()[0], abs=0.05)


def test_the_command_maps_an_archive_and_draws_it(tmp_path, capsys):
    np.savez(tmp_path / "scene.npz", bands=halves(), other=np.zeros(3))
    out = tmp_path / "map.npz"
    assert main([str(tmp_path / "scene.npz"), "-o", str(out), "--reducer", "bands", "--classes", "2"]) == 0
    assert np.unique(np.load(out)["classes"]).tolist() == [1, 2]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "names no projection" in capsys.readouterr().out


def test_a_geotiff_keeps_place_and_projection(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    place = {"crs": "EPSG:32719", "transform": rasterio.Affine(20, 0, 5e5, 0, -20, 7e6)}
    profile = {"driver": "GTiff", "height": 12, "width": 12, "count": 3, "dtype": "float32", "nodata": -1}
    cube = halves()
    cube[0, 0, 0] = -1
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, **place) as file:
        file.write(cube)
    out = tmp_path / "map.tif"
    assert main([str(tmp_path / "scene.tif"), "-o", str(out), "--reducer", "bands", "--classes", "2"]) == 0
    with rasterio.open(out) as file:
        assert file.crs == rasterio.CRS.from_epsg(32719) and file.transform == place["transform"]
        assert file.nodata == 0 and file.read(1)[0, 0] == 0 and file.read(1).max() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.npz"], "there is no file missing.npz"),
        (["two.npz"], "holds 2 arrays of bands .first, second.; choose one"),
        (["two.npz", "--array", "third"], "no array 'third' of bands; it has first, second"),
        (["good.npz", "small.npz"], "small.npz has 4×4 pixels, and good.npz 12×12: resample"),
        (["flat.npy"], "must hold bands"),
        (["text.csv"], "no raster that can be read"),
        (["good.npz", "--classes", "300"], "must be from 1 to 255, got 300"),
        (["small.npz", "--classes", "17"], "17 classes need as many pixels, and there are 16"),
        (["good.npz", "--filter", "4"], "must be odd and at least 1, got 4"),
        (["constant.npz"], "band 2 is 5 at every pixel"),
        (["empty.npz"], "every pixel of empty.npz is missing"),
        (["good.npz", "--classes", "2", "-o", "map.jpg"], "map.jpg must end in .tif or .npz"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_remedy(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cube = halves()
    np.savez("good.npz", bands=cube)
    np.savez("small.npz", bands=cube[:, 4:8, 4:8])
    np.savez("two.npz", first=cube, second=cube)
    np.save("flat.npy", cube[0])
    np.savez("constant.npz", bands=np.stack([cube[0], np.full((12, 12), 5.0)]))
    np.savez("empty.npz", bands=np.full((2, 3, 3), np.nan))
    Path("text.csv").write_text("1,2\n")
    assert main(["-o", "map.npz", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
    assert not Path("map.npz").exists()


def test_a_scene_holds_the_spectra_of_its_classes(shared_data):
    spectra = read_spectra(shared_data("soil-spectra").parent)
    made = scene(spectra, "ASTER", size=32, classes=3, shading=0, plants=0, noise=0, seed=1)
    assert made.bands.shape == (9, 32, 32) and set(np.unique(made.truth)) == {0, 1, 2}
    for number, mean in enumerate(made.spectra):
        inside = made.bands[:, made.truth == number]
        assert np.abs(np.median(inside, 1) - mean).max() < 0.15
    again = scene(spectra, "ASTER", size=32, classes=3, shading=0, plants=0, noise=0, seed=1)
    assert np.array_equal(again.bands, made.bands)
    red, infrared = resample(spectra.wavelengths, spectra.plants, ((0.65, 0.68), (0.8, 0.9)))
    assert infrared - red > 0.2


@pytest.mark.slow
def test_the_experiment_runs(shared_data, tmp_path):
    folder = shared_data("soil-spectra").parent
    assert experiments(["geology", "--budget", "smoke", "--data-dir", str(folder), "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "geology.json").read_text())["complete"]
    assert "nan" not in (tmp_path / "geology.md").read_text()
