"""Every table and figure of the paper, and what else is to be known of these layers, each as one command."""

from experiments.experiment import Budget, Experiment, Settings, run
from experiments.registry import EXPERIMENTS, experiment_named
from experiments.result import Result, Row, read_result

__all__ = ["EXPERIMENTS", "Budget", "Experiment", "Result", "Row", "Settings", "experiment_named", "read_result", "run"]
