"""How well an anomaly map tells where an image is anomalous."""

from typing import Any

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import auc

from inverseflow.errors import DataError
from inverseflow.utils.arguments import finite_number


def aupro(maps: Any, masks: Any, *, limit: float = 0.3) -> float:
    r"""Return the area under the curve of per-region overlap by the rate of false positives, up to a limit.

    The overlap is the share of a connected region that lies above a threshold, averaged over regions, so that small
    anomalies count as much as large ones. Thresholds are all values of the maps, and the curve is linear between them.
    The area is divided by the limit: it lies in [0, 1], and is 1 for a map that is higher in every anomalous pixel than
    in any normal one.

    Args:
        maps: anomaly maps ``(N, H, W)``, higher for what is anomalous.
        masks: ``(N, H, W)``, not zero where an image is anomalous. Pixels that touch by an edge or a corner belong to
            one region.
        limit: largest rate of false positives.

    Raises:
        DataError: if shapes differ, a map is not finite, or there are no normal or no anomalous pixels.
        ValueError: if the limit is not above 0 and at most 1.

    Reference:
        Bergmann et al., `The MVTec Anomaly Detection Dataset <https://doi.org/10.1007/s11263-020-01400-4>`_, 2021,
        section 5.2.

    Example:
        >>> mask = np.zeros((1, 4, 4))
        >>> mask[0, 1, 1] = 1
        >>> aupro(mask, mask), aupro(-mask, mask)
        (1.0, 0.0)
    """
    limit = finite_number("limit", limit, above=0, at_most=1)
    scores, anomalous = np.asarray(maps, dtype=np.float64), np.asarray(masks) != 0
    if scores.shape != anomalous.shape or scores.ndim != 3:
        raise DataError(f"maps and masks must have one shape (N, H, W), got {scores.shape} and {anomalous.shape}")
    if not np.isfinite(scores).all():
        raise DataError(f"{int((~np.isfinite(scores)).sum())} values of the maps are not finite")
    if not anomalous.any() or anomalous.all():
        raise DataError(f"the masks have {int(anomalous.sum())} anomalous of {anomalous.size} pixels: both are needed")
    regions, overlap = 0, np.zeros(scores.shape)
    for share, mask in zip(overlap, anomalous, strict=True):
        labels, count = label(mask, structure=np.ones((3, 3)))
        regions += count
        share[mask] = 1 / np.bincount(labels.ravel())[labels[mask]]
    order = np.argsort(-scores.ravel(), kind="stable")
    last = np.append(np.diff(scores.ravel()[order]) != 0, True)  # of pixels with equal values, all at once
    found = np.append(0, np.cumsum(overlap.ravel()[order])[last] / regions)
    false = np.append(0, np.cumsum(~anomalous.ravel()[order])[last] / (~anomalous).sum())
    inside = false <= limit
    false, found = np.append(false[inside], limit), np.append(found[inside], np.interp(limit, false, found))
    return min(1.0, float(auc(false, found)) / limit)  # rounding
