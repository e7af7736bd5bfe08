# Arrays of float32 or float64 by the buffer protocol, in a tenth of the time that a memoryview takes.
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)


cdef char get_reals(Py_buffer* view, array, Py_ssize_t elements, bint writable) except 0:
    """Fill the view of a contiguous array of so many floats or doubles; return 'f' or 'd'.

    The caller releases the view, unless this raises.
    """
    cdef int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
    cdef char kind
    PyObject_GetBuffer(array, view, flags)
    kind = view.format[0] if view.format is not NULL else 0
    if ((kind == b"f" and view.itemsize == sizeof(float)
         or kind == b"d" and view.itemsize == sizeof(double))
            and view.format[1] == 0 and view.len == elements * view.itemsize):
        return kind
    PyBuffer_Release(view)
    raise ValueError(f"array must have {elements} elements of float32 or float64, "
                     f"got {type(array).__name__} of another size or dtype")
