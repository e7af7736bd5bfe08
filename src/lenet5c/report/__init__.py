"""Pictures, text tables and self-contained pages."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenet5c.report import pictures as pictures

__all__ = ["pictures"]


def __getattr__(name: str) -> Any:
    # Imported when used, as `lenet5c` does.
    if name in __all__:
        return import_module(f"lenet5c.report.{name}")
    raise AttributeError(f"module 'lenet5c.report' has no attribute {name!r}")
