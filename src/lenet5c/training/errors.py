"""What can go wrong with a run that is not a mistake in the program."""

from lenet5c.errors import UserError


class RunError(UserError):
    """A run folder, a checkpoint or a model file cannot be used; the message says why and what to do."""


class NonFiniteError(ArithmeticError):
    """The loss is no longer a finite number."""
