"""Deterministic names of test cases, as required by pytest-xdist."""

import re


def name_of(value):
    """Return the text of a value without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
