# Arrays of one dtype by the buffer protocol, in a tenth of the time of a typed memoryview.
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)
from libc.string cimport strchr


cdef char get_buffer(Py_buffer* view, array, Py_ssize_t elements, const char* kinds,
                     bint writable) except 0:
    """Fill the view of a contiguous array of this many elements; return its kind, one of those in
    `kinds`: 'f' for floats, 'd' for doubles, 'l' or 'q' for integers of 64 bits.

    The caller releases the view, unless this raises.
    """
    cdef int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
    cdef char kind
    PyObject_GetBuffer(array, view, flags)
    kind = view.format[0] if view.format is not NULL else 0
    if (kind != 0 and strchr(kinds, kind) is not NULL and view.format[1] == 0
            and view.itemsize == (4 if kind == b"f" else 8)
            and view.len == elements * view.itemsize):
        return kind
    PyBuffer_Release(view)
    raise ValueError(f"array must have {elements} elements of the kind '{kinds.decode()}', got "
                     f"{type(array).__name__} of another size or dtype")


cdef inline char get_reals(Py_buffer* view, array, Py_ssize_t elements, bint writable) except 0:
    """Fill the view of an array of floats or doubles."""
    return get_buffer(view, array, elements, b"fd", writable)
