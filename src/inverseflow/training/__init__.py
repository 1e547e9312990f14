"""Training: from options to a run folder with a trained density.

Rooms: `run` (the folder of a run), `loop` (what Lightning's trainer is given, and what we add to it), `evaluation`
(measurements of a trained density) and `report` (pictures and report.json).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inverseflow.training.evaluation import Evaluation, LabelEvaluation, evaluate, evaluate_labels
    from inverseflow.training.fitting import FitResult, fit
    from inverseflow.training.model import build_density, describe, load_data, load_density
    from inverseflow.training.objective import CycleLoss, Loss, MaximumLikelihood, Objective, ReconstructionLoss
    from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
    from inverseflow.training.presets import load_preset, preset_names
    from inverseflow.training.report import Report
    from inverseflow.training.run import Run
    from inverseflow.training.trainer import train

__all__ = [
    "CycleLoss",
    "Evaluation",
    "FitResult",
    "LabelEvaluation",
    "Loss",
    "MaximumLikelihood",
    "ModelOptions",
    "Objective",
    "OptimizerOptions",
    "ReconstructionLoss",
    "Report",
    "Run",
    "TrainOptions",
    "build_density",
    "describe",
    "evaluate",
    "evaluate_labels",
    "fit",
    "load_data",
    "load_density",
    "load_preset",
    "preset_names",
    "train",
]

# Names are fetched when they are first used: the command line makes its help without torch and Lightning.
_NAMES = {
    "evaluation": ("Evaluation", "LabelEvaluation", "evaluate", "evaluate_labels"),
    "fitting": ("FitResult", "fit"),
    "model": ("build_density", "describe", "load_data", "load_density"),
    "objective": ("CycleLoss", "Loss", "MaximumLikelihood", "Objective", "ReconstructionLoss"),
    "options": ("ModelOptions", "OptimizerOptions", "TrainOptions"),
    "presets": ("load_preset", "preset_names"),
    "report": ("Report",),
    "run": ("Run",),
    "trainer": ("train",),
}


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
