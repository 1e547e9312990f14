"""The typed errors that every floor may raise."""


class InverseFlowError(Exception):
    """Base of every error that this library raises on purpose."""


class DataError(InverseFlowError, ValueError):
    """A data set is missing, damaged, or not what it was said to be. The message names the place and the remedy."""
