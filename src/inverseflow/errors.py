"""Typed errors of all modules."""


class InverseFlowError(Exception):
    """Base of every error that this library raises on purpose."""


class DataError(InverseFlowError, ValueError):
    """A data set is missing, damaged or of another kind. The message names the file or folder and the remedy."""


class OptionError(InverseFlowError, ValueError):
    """An option has an impossible value, or the model lacks the option. The message names the option and the value."""


class UsageError(InverseFlowError):
    """A command line is invalid. The message names the option, its value and the values allowed."""


class RunError(InverseFlowError):
    """A run folder is missing, already exists, or lacks a file."""


class CheckpointError(InverseFlowError):
    """A checkpoint could not be written or read. An earlier checkpoint is left intact."""


class NonFiniteError(InverseFlowError, ArithmeticError):
    """A loss, a gradient or a result is not finite. The message names the place."""


class TrainingInterrupted(InverseFlowError):  # noqa: N818 (not an error: somebody asked to stop)
    """Training stopped on request, after it saved a checkpoint. The message says how to go on."""


class MissingPackageError(InverseFlowError, ImportError):
    """An optional package is not installed. The message says what needs it and how to install it."""


class BackendError(InverseFlowError, RuntimeError):
    """The requested backend cannot serve a call. The message names the backend and the reason."""


class LayerError(InverseFlowError):
    """A layer could not be evaluated on this input."""

    layer: object | None = None
    """The innermost bijection that the error passed through, None outside of one."""


class ConvergenceError(LayerError, ArithmeticError):
    """An iteration did not reach its tolerance. The message names the residual, the iterations and the remedy."""


class SingularError(LayerError, ValueError):
    """A map has no inverse. The message says how many of its matrices are singular."""
