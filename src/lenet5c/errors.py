"""Errors that are no fault of the program: their one line says what to do, and a user sees no traceback."""


class UserError(ValueError):
    """An argument, option or file that cannot be used; the message names it, its value and the remedy."""


class MissingExtraError(UserError, ImportError):
    """An optional library that is not installed; the message has the command that installs it."""


class RunError(UserError):
    """A run folder, a checkpoint or a model file that cannot be used; the message has the reason and the remedy."""


class NonFiniteError(ArithmeticError):
    """A loss, a parameter or a second derivative that is no longer a finite number."""
