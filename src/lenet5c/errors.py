"""Errors that are no fault of the program: their one line says what to do."""


class UserError(ValueError):
    """An argument, option or file that cannot be used; commands show it without a traceback."""


class MissingExtraError(UserError, ImportError):
    """An optional library that is not installed; the message has the command that installs it."""


class RunError(UserError):
    """A run folder, checkpoint or model file that cannot be used, or its model's outputs."""


class TrainingError(RunError):
    """One of several trainings that has failed; the message names it, and says why."""


class NonFiniteError(ArithmeticError):
    """A loss, a parameter, an output or a second derivative that is no longer a finite number."""


class RankError(RuntimeError):
    """Processes of one training that do not fit together."""
