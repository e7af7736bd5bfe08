"""Names of the cases of a test, the same in every process: pytest-xdist compares them."""

import re


def name_of(value):
    """Return the text of a value without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
