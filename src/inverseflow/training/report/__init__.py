"""The results of a run: report.json, pictures and the exported model."""

from inverseflow.training.report.pictures import image_grid, save_curves, save_grid, save_reconstructions
from inverseflow.training.report.results import Report, TrainingSummary, closing_lines, finish, reconstruct, with_error

__all__ = [
    "Report",
    "TrainingSummary",
    "closing_lines",
    "finish",
    "image_grid",
    "reconstruct",
    "save_curves",
    "save_grid",
    "save_reconstructions",
    "with_error",
]
