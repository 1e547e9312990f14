"""The results of a run: report.json, report.html, pictures and the exported model."""

from inverseflow.training.report.measured import Report
from inverseflow.training.report.pictures import save_grid, save_points
from inverseflow.training.report.results import closing_lines, finish, reconstruct

__all__ = ["Report", "closing_lines", "finish", "reconstruct", "save_grid", "save_points"]
