"""Scenes whose geology is known: real spectra of soils on synthetic ground. Every scene is synthetic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from experiments.folders import data_folder

Array = NDArray[np.floating]

SENSORS: dict[str, tuple[tuple[float, float], ...]] = {
    "Sentinel-2": (
        (0.458, 0.523),
        (0.543, 0.578),
        (0.650, 0.680),
        (0.698, 0.713),
        (0.733, 0.748),
        (0.773, 0.793),
        (0.785, 0.900),
        (0.855, 0.875),
        (1.565, 1.655),
        (2.100, 2.280),
    ),
    "Landsat-8": (
        (0.435, 0.451),
        (0.452, 0.512),
        (0.533, 0.590),
        (0.636, 0.673),
        (0.851, 0.879),
        (1.566, 1.651),
        (2.107, 2.294),
    ),
    "ASTER": (
        (0.52, 0.60),
        (0.63, 0.69),
        (0.76, 0.86),
        (1.600, 1.700),
        (2.145, 2.185),
        (2.185, 2.225),
        (2.235, 2.285),
        (2.295, 2.365),
        (2.360, 2.430),
    ),
}
"""Lower and upper wavelength of each band, in µm; the thermal bands are left out."""


@dataclass(frozen=True)
class Scene:
    """A picture whose classes are known."""

    bands: Array
    """Reflectances, ``(B, H, W)``."""
    truth: NDArray[np.int64]
    """The class of each pixel, from 0; -1 where plants cover most of it."""
    spectra: Array
    """Mean reflectances of the classes, ``(classes, B)``."""


@dataclass(frozen=True)
class Spectra:
    """Measured reflectances by place, and those of plants."""

    wavelengths: Array
    places: list[Array]
    """Reflectances of the samples of one place, ``(samples, wavelengths)``."""
    plants: Array


def read_spectra(data_dir: Path | None) -> Spectra:
    """Read the soils that have coordinates, grouped by place, where there are at least five samples.

    Raises:
        DataError: if the folder is missing.
    """
    folder = data_folder("soil-spectra", data_dir)
    soils = np.load(folder / "soils.npz", allow_pickle=False)
    materials = np.load(folder / "materials.npz", allow_pickle=False)
    where = np.stack([soils["lat"], soils["lon"]], 1)
    known = np.isfinite(where).all(1) & (where != 0).any(1)
    _, place = np.unique(where[known], axis=0, return_inverse=True)
    reflectance = soils["reflectance"][known]
    counts = np.bincount(place)
    places = [reflectance[place == number] for number in np.flatnonzero(counts >= 5)]
    plants = materials["mean"][[("canopy" in name.lower()) for name in materials["material"]]].mean(0)
    return Spectra(soils["wavelength_um"], places, plants)


def resample(wavelengths: Array, spectra: Array, bands: tuple[tuple[float, float], ...]) -> Array:
    """Return mean reflectances ``(..., B)`` within each band.

    Example:
        >>> resample(np.array([0.4, 0.5, 0.6]), np.array([1.0, 2.0, 4.0]), ((0.45, 0.65),))
        array([3.])
    """
    weights = np.stack([(wavelengths >= low - 1e-6) & (wavelengths <= high + 1e-6) for low, high in bands])
    return np.asarray(spectra @ (weights / weights.sum(1, keepdims=True)).T)


def scene(
    spectra: Spectra,
    sensor: str,
    *,
    size: int = 256,
    classes: int = 7,
    shading: float = 0.15,
    plants: float = 0.15,
    noise: float = 0.004,
    seed: int = 0,
) -> Scene:
    """Build a scene of warped regions, each of the soils of one place.

    Spectra vary within a class from sample to sample of its place, slowly over the ground. Pixels on borders mix,
    relief darkens and lightens, plants cover patches, and every band has noise.

    Args:
        spectra: of soils and plants.
        sensor: one of `SENSORS`.
        size: side of the scene in pixels.
        classes: number of places.
        shading: deviation of the brightness by relief.
        plants: share of the ground that plants cover somewhat.
        noise: deviation of the noise of a reflectance.
        seed: of everything.
    """
    generator = np.random.default_rng(seed)
    bands = SENSORS[sensor]
    side = 2 * size  # border pixels are means of four points on the ground
    chosen = [resample(spectra.wavelengths, place, bands) for place in _apart(spectra.places, classes, generator)]
    ground = _regions(side, classes, generator)
    reflectance = np.empty((side, side, len(bands)))
    for number, samples in enumerate(chosen):
        fields = np.stack([_smooth(side, side / 8, generator) for _ in samples])
        weights = np.exp(fields)
        weights /= weights.sum(0)
        inside = ground == number
        reflectance[inside] = np.einsum("sp,sb->pb", weights[:, inside], samples)
    cover = np.zeros((side, side))
    if plants:
        field = _smooth(side, side / 16, generator)
        cover = np.clip((field - np.quantile(field, 1 - plants)) / 0.5, 0, 0.9)
    leaves = resample(spectra.wavelengths, spectra.plants, bands)
    reflectance = (1 - cover[..., None]) * reflectance + cover[..., None] * leaves
    reflectance *= np.clip(1 + shading * _smooth(side, side / 24, generator), 0.3, None)[..., None]
    pixels = _blocks(reflectance).mean((1, 3)) + noise * generator.normal(size=(size, size, len(bands)))
    truth = ground[::2, ::2].copy()
    truth[_blocks(cover[..., None]).mean((1, 3))[..., 0] > 0.5] = -1
    means = np.stack([samples.mean(0) for samples in chosen])
    return Scene(pixels.transpose(2, 0, 1).astype(np.float32), truth, means)


def _blocks(values: Array) -> Array:
    side, _, bands = values.shape
    return values.reshape(side // 2, 2, side // 2, 2, bands)


def _smooth(side: int, scale: float, generator: np.random.Generator) -> Array:
    """Return a random field of mean 0 and deviation 1 that varies over a number of pixels."""
    field = gaussian_filter(generator.normal(size=(side, side)), scale, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def _regions(side: int, classes: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return a map of warped Voronoi cells, three for each class."""
    sites = generator.uniform(0, side, (3 * classes, 2))
    rows, columns = np.indices((side, side))
    warped = [axis + side / 12 * _smooth(side, side / 16, generator) for axis in (rows, columns)]
    distances = [(warped[0] - y) ** 2 + (warped[1] - x) ** 2 for y, x in sites]
    cells = np.argmin(distances, 0)
    regions: NDArray[np.int64] = (np.arange(3 * classes) % classes)[cells]
    return regions


def _apart(places: list[Array], classes: int, generator: np.random.Generator) -> list[Array]:
    """Return places whose mean spectra differ: each is the farthest of some random ones from those chosen before."""
    means = np.stack([place.mean(0) for place in places])
    chosen = [int(generator.integers(len(places)))]
    while len(chosen) < classes:
        others = generator.choice(len(places), 20, replace=False)
        nearest = [min(np.linalg.norm(means[other] - means[known]) for known in chosen) for other in others]
        chosen.append(int(others[int(np.argmax(nearest))]))
    return [places[number] for number in chosen]
