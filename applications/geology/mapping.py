"""From bands to a map of classes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from skimage.filters.rank import majority

from applications.geology.clusters import CRITERIA, Choice, cluster, count_clusters, vote
from applications.geology.rasters import Raster, scaled
from applications.geology.reducers import Reducer, reducer
from inverseflow.errors import OptionError

TRAINING_PIXELS = 8192
_COUNTING_PIXELS, _DRAWS = 1000, 3
_MOST = 12


@dataclass(frozen=True)
class ClassMap:
    """A map, and how it came about."""

    classes: NDArray[np.uint8]
    """Class of each pixel from 1, after the majority filter; 0 where a band is missing."""
    raw: NDArray[np.uint8]
    """The same before the filter."""
    spectra: NDArray[np.float32] | None
    """Bands of the center of each class, scaled to [0, 1]; None if the reducer has no inverse."""
    choices: list[Choice]
    """How many classes each criterion sees, for each sample of pixels; empty if the number was given."""

    @property
    def votes(self) -> dict[str, list[int]]:
        """What each criterion chose, by sample."""
        return {name: [choice.chosen[name] for choice in self.choices] for name in CRITERIA if self.choices}


def make_map(
    raster: Raster, reducer_name: str = "pca", count: int | None = None, *, filter_size: int = 7, seed: int = 0
) -> ClassMap:
    """Reduce the bands, cluster the pixels and smooth the map.

    Args:
        raster: the bands.
        reducer_name: one of `REDUCERS`.
        count: number of classes; None lets the criteria vote.
        filter_size: side of the window of the majority filter, odd; 1 for none.
        seed: of samples, weights and starts.

    Raises:
        OptionError: if an argument is out of its range, or there are more classes than pixels.
        DataError: if a band is constant.
    """
    if filter_size < 1 or filter_size % 2 == 0:
        raise OptionError(f"the side of the filter must be odd and at least 1, got {filter_size}")
    if count is not None and not 1 <= count <= 255:
        raise OptionError(f"the number of classes must be from 1 to 255, got {count}")
    pixels = scaled(raster)
    if count is not None and count > len(pixels):
        raise OptionError(f"{count} classes need as many pixels, and there are {len(pixels)}; ask for fewer")
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(pixels))[:TRAINING_PIXELS]
    fitted = reducer(reducer_name)
    fitted.fit(pixels[chosen], seed)
    features = fitted.in_chunks(pixels).numpy()
    choices = [] if count else choose(features, generator, seed)
    if count is None:
        count = vote(number for choice in choices for number in choice.chosen.values())
    model = cluster(features[chosen], count, seed)
    raw = np.zeros(raster.size, dtype=np.uint8)
    raw[raster.valid] = 1 + model.predict(features)
    return ClassMap(smooth(raw, filter_size), raw, _spectra(fitted, model.cluster_centers_), choices)


def choose(features: NDArray[np.float32], generator: np.random.Generator, seed: int) -> list[Choice]:
    """Count the clusters in several samples of the pixels."""
    size = min(_COUNTING_PIXELS, len(features))
    samples = [features[generator.choice(len(features), size, replace=False)] for _ in range(_DRAWS)]
    return [count_clusters(sample, min(_MOST, size - 1), seed) for sample in samples]


def smooth(classes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Give every pixel the most frequent class of its square neighborhood; 0 is no class and stays.

    Example:
        >>> smooth(np.array([[1, 1, 1], [1, 2, 0], [1, 1, 1]], dtype=np.uint8), 3)[1].tolist()
        [1, 1, 0]
    """
    known = classes > 0
    most: NDArray[np.uint8] = majority(classes, np.ones((size, size), dtype=np.uint8), mask=known)
    return np.where(known, most, 0).astype(np.uint8)


def shares(classes: NDArray[np.uint8]) -> dict[int, float]:
    """Return the share of each class of the known pixels."""
    known = classes[classes > 0]
    return {int(number): count / len(known) for number, count in sorted(Counter(known.tolist()).items())}


def draw_map(found: ClassMap, title: str) -> Figure:
    """Draw a map with its legend, and the spectra of its classes."""
    numbers = [int(number) for number in np.unique(found.classes) if number]
    palette = colormaps["tab10" if max(numbers) <= 10 else "tab20"]
    colors = [to_hex(palette((number - 1) % palette.N)) for number in range(1, max(numbers) + 1)]
    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.imshow(found.classes, cmap=ListedColormap(["white", *colors]), vmin=-0.5, vmax=len(colors) + 0.5)
    left.set(title=title, xticks=[], yticks=[])
    portions = shares(found.classes)
    handles = [Patch(color=colors[number - 1], label=f"{number}: {portions[number]:.0%}") for number in numbers]
    left.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    if found.spectra is None:
        right.set_axis_off()
    else:
        for number in numbers:
            spectrum = found.spectra[number - 1]
            right.plot(range(1, len(spectrum) + 1), spectrum, color=colors[number - 1], marker="o")
        right.set(xlabel="band", ylabel="value, scaled to [0, 1]", title="centers of the classes, mapped back")
    return figure


def _spectra(fitted: Reducer, centers: NDArray[np.floating]) -> NDArray[np.float32] | None:
    with torch.no_grad():
        bands = fitted.spectra(torch.from_numpy(centers.astype(np.float32)))
    return None if bands is None else bands.numpy()
