"""The run folder: its files, its lock, its checkpoints."""

from inverseflow.training.run.folder import Run

__all__ = ["Run"]
