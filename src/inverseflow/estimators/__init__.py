"""Densities as scikit-learn estimators: outlier detectors and classifiers.

They need scikit-learn, which the extra ``inverseflow[train]`` brings.
"""

from inverseflow.utils.packages import packages_for

with packages_for("inverseflow.estimators"):
    import sklearn  # noqa: F401

from inverseflow.estimators.classifier import GenerativeClassifier
from inverseflow.estimators.features import FeatureFlowDetector, feature_maps, position_code
from inverseflow.estimators.hierarchical import HierarchicalOutlierDetector, log_prob_by_scale
from inverseflow.estimators.incremental import LowRankOvAClassifier, OvAClassifier, stored_bytes
from inverseflow.estimators.invertible import HybridFlow, HybridLoss, InvertibleClassifier
from inverseflow.estimators.localization import aupro
from inverseflow.estimators.outliers import DensityOutlierDetector
from inverseflow.estimators.threshold import Threshold, false_alarm_threshold

__all__ = [
    "DensityOutlierDetector",
    "FeatureFlowDetector",
    "GenerativeClassifier",
    "HierarchicalOutlierDetector",
    "HybridFlow",
    "HybridLoss",
    "InvertibleClassifier",
    "LowRankOvAClassifier",
    "OvAClassifier",
    "Threshold",
    "aupro",
    "false_alarm_threshold",
    "feature_maps",
    "log_prob_by_scale",
    "position_code",
    "stored_bytes",
]
