"""The typed errors that every floor may raise."""


class InverseFlowError(Exception):
    """Base of every error that this library raises on purpose."""


class DataError(InverseFlowError, ValueError):
    """A data set is missing, damaged, or not what it was said to be. The message names the place and the remedy."""


class OptionError(InverseFlowError, ValueError):
    """An option has a value that cannot work, or the chosen model does not have it. The message names both."""


class UsageError(InverseFlowError):
    """The command line cannot be understood. The message names the option, its value and what it takes."""


class RunError(InverseFlowError):
    """A run folder is not there, is in the way, or does not hold what was asked for."""


class CheckpointError(InverseFlowError):
    """A checkpoint could not be written or read. The checkpoint that was there before is whole."""


class NonFiniteError(InverseFlowError, ArithmeticError):
    """Training met a loss or a gradient that is not a finite number. The message names the step and the layer."""


class TrainingInterrupted(InverseFlowError):  # noqa: N818 (nothing went wrong: somebody asked to stop)
    """Training was asked to stop and did, after it had saved what it had. The message says how to go on."""


class MissingPackageError(InverseFlowError, ImportError):
    """An optional package is not installed. The message says what needs it and how to install it."""


class BackendError(InverseFlowError, RuntimeError):
    """A backend that was asked for cannot serve a call. The message says which, and why."""


class LayerError(InverseFlowError):
    """A layer could not be evaluated on this input."""

    layer: object | None = None
    """The innermost bijection that the error passed through, None outside of one."""


class ConvergenceError(LayerError, ArithmeticError):
    """An iteration did not reach its tolerance. The message names the residual, the iterations and the remedy."""


class SingularError(LayerError, ValueError):
    """A map that is to be inverted has no inverse. The message says how many of its matrices are singular."""
