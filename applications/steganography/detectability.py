"""Whether a classifier tells containers from covers, by the features of a package of steganalysis."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

_FOLDS = 3


def available() -> bool:
    """Return whether sealwatch is installed: ``pip install sealwatch``."""
    return find_spec("sealwatch") is not None


def auroc(covers: Sequence[Tensor], containers: Sequence[Tensor], groups: Sequence[int]) -> float:
    """Return how well a linear classifier that has seen other pictures tells containers from covers.

    The features are SPAM (subtractive pixel adjacency), 686 for each color.

    Args:
        covers: bytes ``(3, H, W)``.
        containers: one for each cover.
        groups: number of the picture that a cover is a part of; a picture is in the training or in the test part.

    Returns:
        The area under the ROC curve: ½ is undetected, 1 always detected.

    Reference:
        Pevný, Bas and Fridrich, Steganalysis by Subtractive Pixel Adjacency Matrix, 2010,
        https://doi.org/10.1109/TIFS.2010.2045842; computed by https://github.com/uibk-uncover/sealwatch.
    """
    features = np.stack([_features(picture) for picture in [*covers, *containers]])
    labels = np.repeat([0, 1], [len(covers), len(containers)])
    classifier = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    scores = cross_val_predict(
        classifier, features, labels, groups=[*groups, *groups], cv=GroupKFold(_FOLDS), method="decision_function"
    )
    return float(roc_auc_score(labels, scores))


def _features(picture: Tensor) -> npt.NDArray[np.float64]:
    import sealwatch

    parts = [sealwatch.spam.extract(np.ascontiguousarray(plane)) for plane in picture.numpy()]
    return np.concatenate([np.ravel(values) for part in parts for values in part.values()])
