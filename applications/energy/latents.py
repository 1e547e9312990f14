"""Windows as latents of a flow that knows the calendar, for any detector of scikit-learn."""

from __future__ import annotations

from typing import Any

import torch
from scipy.stats import kstest
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from applications.energy.series import Floats
from inverseflow.flows import RealNVP
from inverseflow.training import fit
from inverseflow.utils.seeding import seeded


class LatentWindows:
    r"""A conditional flow of windows given the calendar, :math:`z = f(x; c)`.

    What the calendar explains is gone from z, which is standard normal for usual windows.

    Args:
        windows: usual windows ``(N, length)``.
        context: the calendar of each ``(N, K)``, or None.
        max_steps: training steps.
        seed: of weights and training.
    """

    def __init__(self, windows: Floats, context: Floats | None, *, max_steps: int, seed: int = 0) -> None:
        channels = None if context is None else context.shape[1]
        with seeded(seed, "weights"):
            self.flow = RealNVP((windows.shape[1],), steps=6, width=64, context_channels=channels)
        fit(self.flow, windows, context, max_steps=max_steps, weight_decay=0.1, seed=seed, progress=False)

    @torch.no_grad()
    def encode(self, windows: Floats, context: Floats | None) -> Floats:
        """Return the latent ``(N, length)`` of each window."""
        given = None if context is None else torch.from_numpy(context).float()
        latents: Floats = self.flow.encode(torch.from_numpy(windows).float(), given).double().numpy()
        return latents

    @torch.no_grad()
    def log_prob(self, windows: Floats, context: Floats | None) -> Floats:
        """Return the log density ``(N,)`` of each window given the calendar, in nats."""
        given = None if context is None else torch.from_numpy(context).float()
        nats: Floats = self.flow.log_prob(torch.from_numpy(windows).float(), given).double().numpy()
        return nats


def distance_from_normal(latents: Floats) -> float:
    """Return the Kolmogorov–Smirnov distance of all numbers in latents from the standard normal distribution."""
    return float(kstest(latents.ravel(), "norm").statistic)


def detectors(rate: float, seed: int) -> dict[str, Any]:
    """Return three detectors of scikit-learn at a rate of alarms in training."""
    return {
        "local outlier factor": LocalOutlierFactor(novelty=True, contamination=rate),
        "isolation forest": IsolationForest(contamination=rate, random_state=seed),
        "one-class SVM": OneClassSVM(nu=rate),
    }


def scaled(train: Floats, rows: Floats) -> Floats:
    """Return windows in units of the deviation of all values of the training windows, for detectors of raw windows."""
    units: Floats = (rows - train.mean()) / float(train.std() or 1.0)
    return units
