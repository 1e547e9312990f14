"""Training: from options to a run folder with a trained flow.

Rooms: `run` (the folder of a run), `loop` (what Lightning's trainer is given, and what we add to it), `evaluation`
(measurements of a trained flow) and `report` (pictures and report.json).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inverseflow.training.evaluation import Evaluation, bits_of_images, evaluate
    from inverseflow.training.model import build_flow, load_data, load_flow
    from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
    from inverseflow.training.presets import load_preset, preset_names
    from inverseflow.training.report import Report
    from inverseflow.training.run import Run
    from inverseflow.training.trainer import train

__all__ = [
    "Evaluation",
    "ModelOptions",
    "OptimizerOptions",
    "Report",
    "Run",
    "TrainOptions",
    "bits_of_images",
    "build_flow",
    "evaluate",
    "load_data",
    "load_flow",
    "load_preset",
    "preset_names",
    "train",
]

# Names are fetched when they are first used: the command line makes its help without torch and Lightning.
_HOMES = {
    "Evaluation": "evaluation",
    "ModelOptions": "options",
    "OptimizerOptions": "options",
    "Report": "report",
    "Run": "run",
    "TrainOptions": "options",
    "bits_of_images": "evaluation",
    "build_flow": "model",
    "evaluate": "evaluation",
    "load_data": "model",
    "load_flow": "model",
    "load_preset": "presets",
    "preset_names": "presets",
    "train": "trainer",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
