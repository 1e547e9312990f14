"""How well reducers and criteria find the geology of scenes whose truth is known, and a map of a real scene."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from applications.geology.clusters import CRITERIA, cluster, matched_accuracy
from applications.geology.mapping import ClassMap, make_map, shares
from applications.geology.rasters import Raster
from applications.geology.reducers import REDUCERS, reducer
from applications.geology.scenes import SENSORS, Scene, read_spectra, scene
from benchmarks.markdown import table
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.folders import data_folder
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values

_SCENES, _COUNT, _SOILS, _REAL = "scenes, seed ", "number of classes, seed ", "soils, seed ", "a real scene"
_COUNTED = ("pca", "flow")
_SHOWN = ("truth", "bands", "whitened", "flow")
_YARDSTICK = 0.679


@dataclass(frozen=True)
class Size:
    """Amount of scenes."""

    side: int
    classes: int
    reducers: tuple[str, ...]
    sensors: tuple[str, ...]


SIZES: dict[Budget, Size] = {
    "smoke": Size(24, 3, ("bands", "pca"), ("Landsat-8",)),
    "quick": Size(160, 7, tuple(REDUCERS), tuple(SENSORS)),
    "full": Size(512, 7, tuple(REDUCERS), tuple(SENSORS)),
}


def measure_scenes(size: Size, data_dir: Path | None, seed: int) -> dict[str, Values]:
    """Map a scene of every sensor by every reducer, told the number of classes."""
    spectra = read_spectra(data_dir)
    values: dict[str, Values] = {name: {} for name in size.reducers}
    for sensor in size.sensors:
        made = scene(spectra, sensor, size=size.side, classes=size.classes, seed=seed)
        for name in size.reducers:
            began = time.perf_counter()
            found = make_map(_raster(made), name, size.classes, seed=seed)
            values[name][sensor] = _agreement(made, found) | {"seconds": time.perf_counter() - began}
            if seed == 0 and sensor == size.sensors[0]:
                values[name]["picture"] = embedded(torch.from_numpy(found.classes))
                values[name]["truth"] = embedded(torch.from_numpy((made.truth + 1).astype(np.uint8)))
                if found.spectra is not None:
                    values[name]["spectrum error"] = _spectrum_error(made, found)
    return values


def measure_count(size: Size, data_dir: Path | None, seed: int) -> dict[str, Values]:
    """Let the criteria vote on the number of classes of a scene of the first sensor."""
    made = scene(read_spectra(data_dir), size.sensors[0], size=size.side, classes=size.classes, seed=seed)
    values: dict[str, Values] = {}
    for name in _COUNTED:
        if name in size.reducers:
            found = make_map(_raster(made), name, seed=seed)
            stable = np.mean([[value or 0.0 for value in choice.stability[1:]] for choice in found.choices], 0)
            chosen = {**found.votes, "stability": [int(np.argmax(stable)) + 2]}
            values[name] = {"chosen": chosen, "vote": int(found.raw.max())} | _agreement(made, found)
    return values


def measure_soils(size: Size, data_dir: Path | None, seed: int) -> dict[str, Values]:
    """Cluster the labelled soils of Landsat by every reducer into as many clusters as there are classes."""
    data = np.load(data_folder("satellite", data_dir) / "satellite.npz", allow_pickle=False)
    pixels, truth = torch.from_numpy(data["X"]).float(), data["y"].astype(int)
    pixels = (pixels - pixels.min(0).values) / (pixels.max(0).values - pixels.min(0).values)
    values: dict[str, Values] = {}
    for name in size.reducers:
        fitted = reducer(name)
        fitted.fit(pixels, seed)
        labels = cluster(fitted.in_chunks(pixels).numpy(), len(np.unique(truth)), seed).labels_
        values[name] = {
            "accuracy": matched_accuracy(truth, labels),
            "ari": float(adjusted_rand_score(truth, labels)),
            "features": int(fitted.features(pixels[:2]).shape[1]),
        }
    return values


def measure_real(data_dir: Path | None) -> dict[str, Values]:
    """Map dry, rocky land, of which no truth is known."""
    data = np.load(data_folder("sentinel2", data_dir) / "sentinel2.npz", allow_pickle=False)
    bands = data["stack_20m"].astype(np.float32)
    found = make_map(Raster(bands, np.ones(bands.shape[1:], dtype=bool)), "flow")
    assert found.spectra is not None
    low, high = np.quantile(bands[[2, 1, 0]], [0.02, 0.98], axis=(1, 2), keepdims=True)
    colors = np.clip((bands[[2, 1, 0]] - low) / (high - low), 0, 1)
    return {
        "flow": {
            "votes": found.votes,
            "shares": {str(number): share for number, share in shares(found.classes).items()},
            "spectra": [[round(float(v), 4) for v in row] for row in found.spectra],
            "picture": embedded(torch.from_numpy(found.classes)),
            "colors": embedded(torch.from_numpy((255 * colors).astype(np.uint8)).permute(1, 2, 0).contiguous()),
        }
    }


def _raster(made: Scene) -> Raster:
    return Raster(made.bands.astype(np.float32), np.ones(made.truth.shape, dtype=bool))


def _agreement(made: Scene, found: ClassMap) -> dict[str, Any]:
    known = made.truth >= 0
    truth, raw, smooth = made.truth[known], found.raw[known], found.classes[known]
    return {
        "ari": float(adjusted_rand_score(truth, smooth)),
        "ari before the filter": float(adjusted_rand_score(truth, raw)),
        "nmi": float(normalized_mutual_info_score(truth, smooth)),
        "accuracy": matched_accuracy(truth, smooth),
    }


def _spectrum_error(made: Scene, found: ClassMap) -> float:
    """Return the mean distance of each true spectrum from the nearest of those mapped back, in reflectance."""
    assert found.spectra is not None
    low, high = made.bands.min((1, 2)), made.bands.max((1, 2))
    back = low + found.spectra * (high - low)
    distances = np.linalg.norm(made.spectra[:, None] - back, axis=2) / np.sqrt(len(low))
    return float(distances.min(1).mean())


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    size = SIZES[settings.budget]
    fixed = asdict(size)
    tasks = []
    for seed in range(settings.seeds):
        about = {name: {**fixed, "seed": seed} for name in size.reducers}
        counted = {name: values for name, values in about.items() if name in _COUNTED}
        tasks += [
            Task(f"{_SCENES}{seed}", about, partial(measure_scenes, size, settings.data_dir, seed)),
            Task(f"{_COUNT}{seed}", counted, partial(measure_count, size, settings.data_dir, seed)),
            Task(f"{_SOILS}{seed}", about, partial(measure_soils, size, settings.data_dir, seed)),
        ]
    if "flow" in size.reducers:
        tasks.append(Task(_REAL, {"flow": fixed}, partial(measure_real, settings.data_dir)))
    return tasks


def _column(result: Result, name: str, part: str, *keys: str) -> list[float]:
    found = []
    for row in result.parts(name, part):
        value: Any = row.values
        for key in keys:
            value = value[key]
        found.append(float(value))
    return found


def _reducers(result: Result) -> list[str]:
    return [name for name in REDUCERS if result.parts(name, _SCENES)]


def _sensors(result: Result) -> list[str]:
    return [name for name in SENSORS if name in result.parts("bands", _SCENES)[0].values]


def _parts(result: Result) -> list[str]:
    sensors = _sensors(result)
    rows = []
    for name in _reducers(result):
        cells = [mean_and_deviation(_column(result, name, _SCENES, sensor, "ari"), 3) for sensor in sensors]
        accuracy = mean_and_deviation(_column(result, name, _SCENES, sensors[0], "accuracy"), 3)
        seconds = np.mean([_column(result, name, _SCENES, sensor, "seconds") for sensor in sensors])
        soils = mean_and_deviation(_column(result, name, _SOILS, "accuracy"), 3)
        rows.append([name, *cells, accuracy, f"{seconds:.1f}", soils])
    head = ["reducer", *(f"ARI, {sensor}" for sensor in sensors), f"matched accuracy, {sensors[0]}", "s", "real soils"]
    parts = [table(head, rows), _judged(result, sensors)]
    counted = [name for name in _COUNTED if result.parts(name, _COUNT)]
    votes = [[name, *(_listed(result, name, criterion) for criterion in (*CRITERIA, "stability"))] for name in counted]
    truth = result.parts("bands", _SCENES)[0].settings["classes"]
    parts += [
        f"Numbers of classes that each criterion sees, in three samples of each scene; there are {truth}:",
        table(["reducer", *CRITERIA, "stability"], votes),
    ]
    errors = {name: result.parts(name, _SCENES)[0].values.get("spectrum error") for name in _reducers(result)}
    known = ", ".join(f"{name} {error:.4f}" for name, error in errors.items() if error is not None)
    parts.append(
        f"Distance of a true spectrum from the nearest center mapped back, root mean square over bands: {known}."
    )
    if real := result.parts("flow", _REAL):
        seen = "; ".join(f"{name} {', '.join(map(str, row))}" for name, row in real[0].values["votes"].items())
        parts.append(
            f"The real scene (Sentinel-2, dry and rocky land) has no labels. The criteria see: {seen}; the map on the "
            f"right has {len(real[0].values['shares'])} classes."
        )
    return parts


def _judged(result: Result, sensors: Sequence[str]) -> str:
    mean = {
        name: float(np.mean([_column(result, name, _SCENES, sensor, "ari") for sensor in sensors]))
        for name in _reducers(result)
    }
    best = max(mean, key=lambda name: mean[name])
    soils = {name: float(np.mean(_column(result, name, _SOILS, "accuracy"))) for name in mean}
    gained = [name for name, value in soils.items() if value > _YARDSTICK and name != "bands"] or ["none"]
    return (
        f"Best on the synthetic scenes is {best}, with a mean ARI of {mean[best]:.3f}, beside {mean['bands']:.3f} of "
        f"the bands. On the real soils the bands have a matched accuracy of {soils['bands']:.3f}; above {_YARDSTICK}, "
        f"that of k-means on bands that are not scaled: {', '.join(gained)}."
    )


def _listed(result: Result, name: str, criterion: str) -> str:
    return "; ".join(", ".join(map(str, row.values["chosen"][criterion])) for row in result.parts(name, _COUNT))


def _draw(result: Result) -> Figure:
    names = [name for name in _SHOWN if name == "truth" or name in _reducers(result)]
    real = result.parts("flow", _REAL)
    columns = len(names) + 2 * bool(real)
    figure = Figure(figsize=(2.6 * columns, 3), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, columns))
    for place, name in zip(axes, names, strict=False):
        values = result.parts("bands" if name == "truth" else name, _SCENES)[0].values
        _show(place, pixels_of(values["truth" if name == "truth" else "picture"]), f"{name} (synthetic scene)")
    if real:
        axes[-2].imshow(pixels_of(real[0].values["colors"]))
        axes[-2].set(title="real scene, Sentinel-2", xticks=[], yticks=[])
        _show(axes[-1], pixels_of(real[0].values["picture"]), "flow (real scene)")
    return figure


def _show(place: Any, classes: NDArray[np.uint8], title: str) -> None:
    place.imshow(classes, cmap=colormaps["tab20"], vmin=0, vmax=19)
    place.set_title(title, fontsize=9)
    place.set(xticks=[], yticks=[])


EXPERIMENTS = (
    Experiment(
        name="geology",
        title="Geological maps",
        about="""
Which numbers should be clustered to map rocks and soils from satellite pictures, and how many classes are there? Scenes
with exact truth are built from real spectra of soils (synthetic ground: warped regions, each of the samples of one
place, with relief, plants, mixed borders and noise), as Sentinel-2, Landsat-8 and ASTER would see them. Bands are
scaled to [0, 1] and reduced: not at all, by principal components, by whitening, by an autoencoder, by the three stacked
autoencoders of Nagar et al., *Stacked autoencoders for geological mapping*, 2024, by a tied autoencoder (InvAuto), and
by the latent of a flow of additive couplings, from which every center comes back as a spectrum. Then k-means, told the
number of classes, and a 7×7 majority filter. ARI is the adjusted Rand index with the truth, 0 for guessing and 1 for
agreement. The last column is the matched accuracy on labelled real soils (Landsat, 6 classes, 36 numbers each). The
publication ranks reducers by indices in their own feature spaces, which cannot be compared.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 2, "full": 5},
    ),
)
