"""Softmax of whole arrays: units on the threads of one OpenMP region."""
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange, threadid

from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport (
    LANES, Softmax, TileKernels, round_up, softmax_scratch, softmax_units)

include "lenet5c/kernels/canary.pxi"


cdef class Values:
    """The values of an array in C order, float or double; memoryviews take longer to make."""
    cdef Py_buffer view
    cdef bint taken

    def __cinit__(self, array, Py_ssize_t count, bint output=False):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT
                           | (PyBUF_WRITABLE if output else 0))
        self.taken = True
        if self.kind() == 0 or self.view.len != count * self.view.itemsize:
            raise ValueError(f"arrays must have {count} values of float32 or float64")

    cdef char kind(self):
        cdef const char* name = self.view.format
        if name is NULL or name[0] not in (c"f", c"d") or name[1] != 0:
            return 0
        return name[0]

    def __dealloc__(self):
        if self.taken:
            PyBuffer_Release(&self.view)


def apply(capsule, bint logarithmic, shape, a not None, b, to not None, int num_threads):
    """to = the softmax of a, or its logarithm; or with b, which is that, the gradient from dy = a.

    shape is (outer, K, inner), none of them 0; the arrays have its size.
    """
    cdef const TileKernels* kernels = <const TileKernels*>PyCapsule_GetPointer(
        capsule, b"lenet5c.TileKernels")
    cdef Softmax s
    cdef Py_ssize_t unit, units, count, floats, stride
    cdef int threads
    cdef bint is_double
    cdef Values x, y, result
    cdef const void* first
    cdef const void* second = NULL
    cdef void* into
    cdef float* scratch
    cdef float* end
    cdef Workspace space
    s.logarithmic = logarithmic
    s.outer, s.K, s.inner = shape
    total = int(s.outer) * s.K * s.inner
    if min(s.outer, s.K, s.inner) < 1 or total > 1 << 40:
        raise ValueError(f"shape must be three sizes of at least 1, got {shape}")
    count = total
    x, result = Values(a, count), Values(to, count, True)
    first, into = x.view.buf, result.view.buf
    if x.kind() != result.kind():
        raise ValueError("arrays must be of the same dtype")
    if b is not None:
        y = Values(b, count)
        second = y.view.buf
        if y.kind() != x.kind():
            raise ValueError("arrays must be of the same dtype")
    is_double = x.kind() == c"d"
    units = softmax_units(&s)
    threads = <int>max(1, min(<Py_ssize_t>num_threads, min(units, <Py_ssize_t>1024)))
    floats = softmax_scratch(&s) * (2 if is_double else 1)
    stride = round_up(floats + CANARY_FLOATS)
    space = Workspace(threads * stride)
    for unit in prange(units, schedule="static", num_threads=threads, nogil=True):
        scratch = space.start + threadid() * stride
        end = scratch + floats
        set_canary(end)
        if is_double:
            kernels.softmax_double(&s, unit, <const double*>first, <const double*>second,
                                   <double*>into, <double*>scratch)
        else:
            kernels.softmax_float(&s, unit, <const float*>first, <const float*>second,
                                  <float*>into, scratch)
        check_canary(end, b"softmax", b"scratch")
    raise_overrun()
