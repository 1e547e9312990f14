"""Detectors with a map: flows of features, a normal distribution of them, and the nearest ones."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.nn import functional as F

from applications.backbone import pretrained
from inverseflow.estimators import FeatureFlowDetector, feature_maps

Floats = npt.NDArray[np.float64]

LAYERS = ("_blocks.2", "_blocks.4", "_blocks.7")
"""24, 40 and 80 channels, at 1/4, 1/8 and 1/16 of the size."""
STRIDE = 16
_BLOCKS = 8
_AT_ONCE = 16
_TRAINING = {"learning_rate": 2e-3, "progress": False}


def backbone(data_dir: Path | None) -> nn.Module:
    """Return the part of EfficientNet-Lite0 whose features are seen, with its weights."""
    return pretrained(data_dir, _BLOCKS)


def flow_detector(
    network: nn.Module,
    *,
    max_steps: int,
    seed: int,
    rate: float | None = None,
    position_channels: int = 0,
    **options: object,
) -> FeatureFlowDetector:
    """Return a detector of small flows; a feature is as usual in one place of a surface as in another."""
    return FeatureFlowDetector(
        network,
        LAYERS,
        steps=4,
        position_channels=position_channels,
        false_alarm_rate=rate,
        fit_options={**_TRAINING, "max_steps": max_steps},
        random_state=seed,
    )


class Mapping(Protocol):
    """A detector with a map."""

    def anomaly_map(self, images: Tensor) -> Floats:
        """Return how anomalous each pixel ``(N, H, W)`` is."""
        ...


class NormalFeatures:
    r"""The Mahalanobis distance of the features of all layers together from those of normal images.

    As in PaDiM, but with one mean and covariance (shrunk after Ledoit and Wolf) for all places: a crop of a surface has
    none.

    Reference:
        Defard et al., `PaDiM <https://arxiv.org/abs/2011.08785>`_, 2021.
    """

    def __init__(self, network: nn.Module, images: Tensor, *, vectors: int, seed: int) -> None:
        self.network = network
        self.normal = LedoitWolf().fit(_chosen(_joined(network, images, finest=True), vectors, seed))

    def anomaly_map(self, images: Tensor) -> Floats:
        """Return the distances ``(N, H, W)``."""
        joined = _joined(self.network, images, finest=True)
        return _full_size(np.sqrt(self.normal.mahalanobis(_rows(joined))), joined, images)


class NearestFeatures:
    """The distance of the features of all layers together from the nearest ones in normal images.

    As in PatchCore, but the normal ones are chosen at random.

    Reference:
        Roth et al., `PatchCore <https://arxiv.org/abs/2106.08265>`_, 2022.
    """

    def __init__(self, network: nn.Module, images: Tensor, *, vectors: int, seed: int) -> None:
        self.network = network
        chosen = _chosen(_joined(network, images, finest=False), vectors, seed)
        self.unit = chosen.std(0)
        self.neighbors = NearestNeighbors(n_neighbors=1).fit(chosen / self.unit)

    def anomaly_map(self, images: Tensor) -> Floats:
        """Return the distances ``(N, H, W)``."""
        joined = _joined(self.network, images, finest=False)
        distances, _ = self.neighbors.kneighbors(_rows(joined) / self.unit)
        return _full_size(distances[:, 0], joined, images)


def _joined(network: nn.Module, images: Tensor, *, finest: bool) -> Tensor:
    """Return the features of all layers together ``(N, C, h, w)``, at the size of the finest or of the middle layer."""
    parts = []
    for chunk in images.split(_AT_ONCE):
        maps = feature_maps(network, LAYERS, chunk)
        height, width = maps[0 if finest else 1].shape[-2:]
        resized = [
            F.adaptive_avg_pool2d(features, (height, width))
            if features.shape[-1] > width
            else F.interpolate(features, (height, width), mode="bilinear", align_corners=False)
            for features in maps
        ]
        parts.append(torch.cat(resized, 1))
    return torch.cat(parts)


def _rows(joined: Tensor) -> Floats:
    rows: Floats = joined.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    return rows


def _chosen(joined: Tensor, count: int, seed: int) -> Floats:
    rows = _rows(joined)
    chosen: Floats = rows[np.random.default_rng(seed).permutation(len(rows))[:count]]
    return chosen


def _full_size(distances: Floats, joined: Tensor, images: Tensor) -> Floats:
    maps = torch.from_numpy(distances).view(len(images), 1, *joined.shape[-2:])
    full: Floats = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0].numpy()
    return full
