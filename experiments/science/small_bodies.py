"""Real small bodies of the solar system: how large and how dark is one of this brightness on this orbit?"""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from inverseflow.errors import DataError

FILE = Path("asteroids") / "asteroids.csv.gz"
CLASSES = ("MBA", "TNO", "TJN", "OMB")
PARAMETERS = ("log10 diameter [km]", "log10 albedo")
OBSERVATIONS = ("magnitude", "log10 semi-axis [au]", "eccentricity", "inclination [deg]", *CLASSES)


@dataclass(frozen=True)
class SmallBodies:
    """Bodies of NASA/JPL's Small-Body Database."""

    x: Tensor
    """log10 of diameter and albedo where both were measured, ``(N, 2)``."""
    y: Tensor
    """Magnitude, orbit and class of the same, ``(N, 8)``."""
    unmeasured: Tensor
    """Magnitude, orbit and class of the others, ``(U, 8)``."""


def small_bodies(folder: Path | None) -> SmallBodies:
    """Read the bodies.

    Diameters and albedos are not missing at random: they were measured of bright and near bodies.

    Args:
        folder: of the data sets.

    Raises:
        DataError: if the file is not there.
    """
    path = (folder or Path()) / FILE
    if folder is None or not path.is_file():
        raise DataError(f"{path} is missing: name the folder of the data sets with --data-dir or INVERSEFLOW_DATA")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    x, y, unmeasured = [], [], []
    for row in rows:
        seen = [float(row["H"]), math.log10(float(row["a"])), float(row["e"]), float(row["i"])]
        seen += [float(row["class"] == name) for name in CLASSES]
        if row["diameter"] and row["albedo"]:
            x.append([math.log10(float(row["diameter"])), math.log10(float(row["albedo"]))])
            y.append(seen)
        else:
            unmeasured.append(seen)
    return SmallBodies(*map(torch.tensor, (x, y, unmeasured)))


def relation(x: Tensor, magnitude: Tensor) -> Tensor:
    r"""Return how far a body is from the relation of diameter, albedo and magnitude, in log10.

    .. math:: \log_{10} \frac{D \sqrt{p}}{1329\ \mathrm{km}} + \frac{H}{5}

    It is 0 by definition of the albedo. In the database it scatters, as magnitudes were measured anew.

    Args:
        x: log10 of diameter and albedo, ``(..., 2)``.
        magnitude: H, ``(...)``.

    Example:
        >>> ceres = torch.tensor([math.log10(939.4), math.log10(0.09)])
        >>> relation(ceres, torch.tensor(3.33))
        tensor(-0.0076)
    """
    return x[..., 0] + 0.5 * x[..., 1] - math.log10(1329) + magnitude / 5


def linear_regression_log_prob(x: Tensor, y: Tensor, held_out_x: Tensor, held_out_y: Tensor) -> Tensor:
    """Return the log-density of held-out bodies under a linear regression with normal residuals, ``(n,)``.

    Args:
        x: parameters to fit to.
        y: observations to fit to.
        held_out_x: parameters to evaluate.
        held_out_y: their observations.
    """
    design = torch.cat([torch.ones(len(y), 1), y], dim=1).double()
    weights = torch.linalg.lstsq(design, x.double(), driver="gelsd").solution
    covariance = (x.double() - design @ weights).T.cov()
    mean = torch.cat([torch.ones(len(held_out_y), 1), held_out_y], dim=1).double() @ weights
    log_prob: Tensor = MultivariateNormal(mean, covariance).log_prob(held_out_x.double())
    return log_prob
