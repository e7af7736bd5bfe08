"""Errors caused by input or environment, each with a one-line message and a remedy."""


class UserError(ValueError):
    """Raised for an invalid argument, option or file; commands show it without a traceback."""


class MissingExtraError(UserError, ImportError):
    """Raised when an optional library is missing; the message has the command to install it."""


class RunError(UserError):
    """Raised for a run folder, checkpoint, model file or model output that cannot be used."""


class TrainingError(RunError):
    """Raised when one of several trainings fails; the message has its name and the reason."""


class NonFiniteError(ArithmeticError):
    """Raised when a loss, parameter, output or second derivative is NaN or infinite."""


class RankError(RuntimeError):
    """Raised when the processes of one training do not match."""
