"""Errors of exports and imports."""

from lenet5c.errors import UserError


class ExportError(UserError):
    """Raised when a model cannot be exported to a format, or weights do not match a model."""
