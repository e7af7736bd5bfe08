"""What a person is shown of a model: pictures, tables in text, and pages that need nothing beside them."""

from importlib import import_module

__all__ = ["pictures"]


def __getattr__(name):
    # Imported when used, as `lenet5c` does.
    if name in __all__:
        return import_module(f"lenet5c.report.{name}")
    raise AttributeError(f"module 'lenet5c.report' has no attribute {name!r}")
