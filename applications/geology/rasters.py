"""Rasters of several bands: GeoTIFF with place and projection, NumPy archives, and pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from applications.pictures import SUFFIXES, read_picture
from inverseflow.errors import DataError, OptionError
from inverseflow.utils.files import atomic_write, errors_naming
from inverseflow.utils.packages import packages_for

_TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class Raster:
    """Bands of one size, and where on Earth they are."""

    bands: NDArray[np.float32]
    """``(B, H, W)``."""
    valid: NDArray[np.bool_]
    """``(H, W)``: where no band is missing."""
    crs: Any = None
    """Projection, None if it is not known."""
    transform: Any = None
    """From pixels to coordinates, None if it is not known."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.valid.shape[0], self.valid.shape[1]


def read_raster(paths: list[Path], array: str | None = None) -> Raster:
    """Read one file of several bands, or several files of one or more bands each.

    A pixel that is the file's nodata value, or not finite, in one band is missing in all.

    Args:
        paths: GeoTIFF files (which need rasterio), NumPy archives (``.npz``) or arrays (``.npy``) of ``(B, H, W)``, or
            pictures.
        array: name of the array in an archive of several.

    Raises:
        DataError: if a file cannot be read, bands have different sizes or places, or every pixel is missing.
        MissingPackageError: if a GeoTIFF is to be read without rasterio.
    """
    parts = [_read(path, array) for path in paths]
    first = parts[0]
    for path, part in zip(paths, parts, strict=True):
        if part.size != first.size:
            raise DataError(
                f"{path} has {part.size[0]}×{part.size[1]} pixels, and {paths[0]} {first.size[0]}×{first.size[1]}: "
                "resample them to one size"
            )
        if (part.crs, part.transform) != (first.crs, first.transform):
            raise DataError(f"{path} and {paths[0]} lie in different places or projections: warp them to one")
    bands = np.concatenate([part.bands for part in parts])
    valid = np.logical_and.reduce([part.valid for part in parts])
    if not valid.any():
        raise DataError(f"every pixel of {paths[0]} is missing")
    return replace(first, bands=bands, valid=valid)


def write_classes(path: Path, classes: NDArray[np.uint8], raster: Raster) -> None:
    """Write a map of classes, 0 where there is none, with the place and projection of a raster.

    Args:
        path: ``.tif`` (needs rasterio) or ``.npz``.
        classes: ``(H, W)``.
        raster: what the map is of.

    Raises:
        OptionError: if the name ends otherwise.
    """
    if path.suffix.lower() in _TIFF:
        rasterio = _rasterio()
        height, width = classes.shape
        profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": 0}
        place = {"crs": raster.crs, "transform": raster.transform} if raster.transform is not None else {}
        with (
            atomic_write(path) as temporary,
            errors_naming(path, temporary),
            rasterio.open(temporary, "w", **profile, **place, compress="deflate") as file,
        ):
            file.write(classes, 1)
    elif path.suffix.lower() == ".npz":
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, classes=classes)
    else:
        raise OptionError(f"{path} must end in .tif or .npz")


def _read(path: Path, array: str | None) -> Raster:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix in _TIFF:
        return _read_tiff(path)
    if suffix in (".npz", ".npy"):
        return _masked(_read_numpy(path, array))
    if suffix in SUFFIXES:
        return _masked(read_picture(path).numpy())
    raise DataError(f"{path} is no raster that can be read: .tif, .npz, .npy or a picture")


def _read_tiff(path: Path) -> Raster:
    rasterio = _rasterio()
    try:
        with rasterio.open(path) as file:
            bands = file.read().astype(np.float32)
            valid = (file.read_masks() > 0).all(0)
            crs, transform = file.crs, file.transform
    except rasterio.errors.RasterioError as error:
        raise DataError(f"{path} cannot be read as a raster ({error})") from error
    masked = _masked(bands)
    placed = None if crs is None and transform.is_identity else transform
    return Raster(masked.bands, valid & masked.valid, crs, placed)


def _read_numpy(path: Path, array: str | None) -> NDArray[np.float32]:
    loaded = np.load(path, allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        cubes = [name for name in loaded.files if loaded[name].ndim == 3]
        if array is None and len(cubes) != 1:
            raise OptionError(
                f"{path} holds {len(cubes)} arrays of bands ({', '.join(cubes)}); choose one with --array"
            )
        name = array or cubes[0]
        if name not in cubes:
            raise OptionError(f"{path} has no array {name!r} of bands; it has {', '.join(cubes)}")
        loaded = loaded[name]
    if loaded.ndim != 3:
        raise DataError(f"{path} must hold bands (B, H, W), got an array of shape {loaded.shape}")
    return np.asarray(loaded, dtype=np.float32)


def _masked(bands: NDArray[np.float32]) -> Raster:
    valid: NDArray[np.bool_] = np.asarray(np.isfinite(bands).all(0))
    return Raster(np.where(valid, bands, 0), valid)


def _rasterio() -> Any:
    with packages_for("a GeoTIFF"):
        import rasterio
    return rasterio


def scaled(raster: Raster) -> torch.Tensor:
    """Return the valid pixels ``(N, B)``, each band scaled to [0, 1] by its least and largest value.

    Raises:
        DataError: if a band is constant.
    """
    pixels = torch.from_numpy(raster.bands[:, raster.valid].T.copy())
    low, high = pixels.min(0).values, pixels.max(0).values
    constant = (low == high).nonzero().flatten().tolist()
    if constant:
        raise DataError(f"band {constant[0] + 1} is {low[constant[0]]:g} at every pixel; leave it out")
    return (pixels - low) / (high - low)
