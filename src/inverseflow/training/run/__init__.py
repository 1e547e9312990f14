"""The run folder."""

from inverseflow.training.run.folder import Run

__all__ = ["Run"]
