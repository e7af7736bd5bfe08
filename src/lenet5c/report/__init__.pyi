from lenet5c.report import pictures as pictures

__all__ = ["pictures"]
