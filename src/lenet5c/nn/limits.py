"""Memory limit for nets described by untrusted files."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lenet5c.kernels.shapes import check_elements

Shape = tuple[int, ...]


class LimitError(ValueError):
    """Raised when layers would exceed the limit of `limit_values`."""


# Remaining number of values of each enclosing block.
_left: ContextVar[tuple[list[int], ...]] = ContextVar("left", default=())


@contextmanager
def limit_values(most: int) -> Iterator[None]:
    """Limit the total number of values of the layers created in the `with` block.

    The limit applies to `params` and `buffers` of the package's layers and is checked before memory
    is allocated.

    Raises
    ------
    LimitError
        Within the block, by the constructor of a layer that would exceed the limit.

    Examples
    --------
    >>> from lenet5c import nn
    >>> from lenet5c.nn.limits import limit_values
    >>> with limit_values(1000):
    ...     nn.Linear(10**6, 10**6)
    Traceback (most recent call last):
    lenet5c.nn.limits.LimitError: weight must have at most 1,000 values, got (1000000, 1000000)
    """
    token = _left.set((*_left.get(), [most]))
    try:
        yield
    finally:
        _left.reset(token)


def reserve(**shapes: Shape) -> None:
    """Raise an error if arrays of these shapes cannot be addressed or exceed the limit."""
    for name, shape in shapes.items():
        count = check_elements(name, shape)
        for left in _left.get():
            if count > left[0]:
                raise LimitError(f"{name} must have at most {left[0]:,} values, got {tuple(shape)}")
            left[0] -= count
