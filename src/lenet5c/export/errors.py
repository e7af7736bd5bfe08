"""What cannot be exported or taken over."""

from lenet5c.errors import UserError


class ExportError(UserError):
    """A model cannot be written in a form, or a file's weights do not fit a model; the message says why."""
