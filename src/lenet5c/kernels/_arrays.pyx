"""Fast check of arguments: arrays that can be used without conversion."""
import numpy as np

include "lenet5c/kernels/buffers.pxi"

cdef object ndarray = np.ndarray


def are_plain(tuple arrays not None):
    """Return True if all are C-contiguous, aligned arrays of float32, or all of float64, or None.

    The first must not be None.
    """
    cdef Py_buffer view
    cdef char kind = 0, other
    for array in arrays:
        if array is None and kind != 0:
            continue
        if type(array) is not ndarray:
            return False
        try:
            PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, ValueError):
            return False
        other = view.format[0] if view.format[1] == 0 else 0  # another character if not aligned
        PyBuffer_Release(&view)
        if other == 0 or (kind != 0 and other != kind) or strchr(b"fd", other) is NULL:
            return False
        kind = other
    return kind != 0
