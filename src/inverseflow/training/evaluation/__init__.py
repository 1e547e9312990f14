"""Measurements of a trained flow, and the baselines that it has to beat."""

from inverseflow.training.evaluation.baselines import baseline_bits
from inverseflow.training.evaluation.measure import Evaluation, bits_of_images, evaluate

__all__ = ["Evaluation", "baseline_bits", "bits_of_images", "evaluate"]
