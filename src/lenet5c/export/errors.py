"""Errors of exports and imports."""

from lenet5c.errors import UserError


class ExportError(UserError):
    """A model cannot be written in a form, or weights do not fit one; the message says why."""
