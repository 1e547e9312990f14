"""The ten published tasks: where their reference samples are, and what was published about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.folders import data_folder

FOLDER = "sbibm"
COMPARED = 10_000
"""Number of simulations of the published values and of the goals."""


@dataclass(frozen=True)
class PublishedTask:
    """One task."""

    title: str
    """Name in the publication."""
    file: str
    """Name of the file of observations and reference samples, which variants of a task share."""
    observations: str = "observations"
    """Key of the observations in it."""
    npe: float | None = None
    """Published C2ST of neural posterior estimation with 10,000 simulations, mean of ten observations."""
    goal: float | None = None
    """Our goal for it."""


TASKS = {
    "gaussian-linear": PublishedTask("Gaussian linear", "gaussian_linear", npe=0.552, goal=0.52),
    "gaussian-linear-uniform": PublishedTask("Gaussian linear uniform", "gaussian_linear_uniform"),
    "slcp": PublishedTask("SLCP", "slcp", npe=0.901, goal=0.80),
    "slcp-distractors": PublishedTask("SLCP distractors", "slcp", "observations_distractors"),
    "bernoulli-glm": PublishedTask("Bernoulli GLM", "bernoulli_glm", npe=0.678, goal=0.60),
    "bernoulli-glm-raw": PublishedTask("Bernoulli GLM raw", "bernoulli_glm", "observations_raw"),
    "gaussian-mixture": PublishedTask("Gaussian mixture", "gaussian_mixture", npe=0.615, goal=0.56),
    "two-moons": PublishedTask("Two moons", "two_moons", npe=0.606, goal=0.56),
    "sir": PublishedTask("SIR", "sir"),
    "lotka-volterra": PublishedTask("Lotka–Volterra", "lotka_volterra"),
}
"""By the name of the problem."""


def observations_and_references(task: str, data_dir: Path | None) -> tuple[Tensor, Tensor]:
    """Return ten observations ``(10, M)`` of a task and reference samples of their posteriors ``(10, 10000, D)``.

    Args:
        task: one of `TASKS`.
        data_dir: the folder that holds ``sbibm/``.

    Raises:
        DataError: if there is no such folder.
    """
    published = TASKS[task]
    with np.load(data_folder(FOLDER, data_dir) / f"{published.file}.npz") as arrays:
        observations, references = arrays[published.observations], arrays["reference_posterior"]
    return torch.from_numpy(observations).float(), torch.from_numpy(references)
