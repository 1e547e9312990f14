"""What report.json holds."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from inverseflow.errors import RunError
from inverseflow.training.evaluation import Evaluation
from inverseflow.training.run import Run
from inverseflow.utils.files import errors_naming


@dataclass(frozen=True)
class Report:
    """Content of report.json."""

    title: str
    """Name of the data for tables."""
    split: str
    """The examples that were measured: test, or validation if there are none for test."""
    baselines: dict[str, float]
    """The metric of the baselines on the same examples, by name."""
    best_value: float
    """Objective in the best validation during training."""
    max_reconstruction_error: float | None
    """Of the evaluation."""
    parameters: int
    """Number of trained parameters."""
    train_seconds: float
    """Time in training, validation included."""
    ms_per_step: float | None
    """Mean time of a training step; None if too few steps were made."""
    sample_ms_per_100: float | None
    """Time to draw 100 examples; None if sampling fails."""
    steps: int
    """Training steps."""
    best_step: int
    """Training step of the exported weights."""
    stopped_early: bool
    """Whether the patience ended the training."""
    seed: int
    """Seed of the run."""
    model: dict[str, Any]
    """Options of the model."""
    evaluation: Evaluation
    """All measurements on these examples."""
    problems: list[str]
    """Sentences about what does not work, for instance an inverse that loses the images."""
    device: str
    """Device of the measurements."""
    versions: dict[str, str]
    """Versions of Python and of the packages that matter."""

    @property
    def value(self) -> float:
        """Mean over the examples in the metric of the density: bits per dimension of gray levels, else nats."""
        return self.evaluation.value

    @property
    def stderr(self) -> float | None:
        """Its standard error over the examples; None for one example."""
        return self.evaluation.stderr

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields for JSON, with the measurement as ``test_bits_per_dim`` or as its metric is called."""
        measured = f"{self.split}_{self.evaluation.metric}"
        mapping = {"title": self.title, measured: self.value, f"{measured}_stderr": self.stderr}
        mapping["likelihood"] = self.evaluation.likelihood
        return {**mapping, **asdict(self), "evaluation": self.evaluation.to_mapping()}

    @classmethod
    def read(cls, run: Run) -> "Report":
        """Read the report of a run.

        Raises:
            RunError: if the run is not finished, or its report is damaged or of another version.
        """
        run.options()
        if not run.report.is_file():
            raise RunError(f"{run.path} has no report.json: its training has not come to its end")
        again = "train the run again, or compare others"
        try:
            with errors_naming(run.report):
                content = json.loads(run.report.read_text("utf-8"))
            evaluation = Evaluation.from_mapping(content["evaluation"])
            return cls(**{item.name: content[item.name] for item in fields(cls)} | {"evaluation": evaluation})
        except KeyError as error:
            made_by = content.get("versions", {}).get("inverseflow", "unknown")
            raise RunError(
                f"{run.report} lacks {error}, so another version of inverseflow ({made_by}) wrote it; {again}"
            ) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(f"{run.report} is damaged: {error}; {again}") from error
