"""What is not a mistake in the program: it ends in one line that says what to do, never in a traceback."""


class UserError(ValueError):
    """Something that was given cannot be used; the message names it, what is wrong with it, and the remedy."""


class MissingExtraError(UserError, ImportError):
    """An optional library is not installed; the message has the line that installs it."""
