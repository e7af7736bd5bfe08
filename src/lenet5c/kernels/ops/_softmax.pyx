"""Softmax of whole arrays: units on the threads of one OpenMP region."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange, threadid

from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport (
    DirectKernels, Softmax, round_up, softmax_scratch, softmax_units)

include "lenet5c/kernels/canary.pxi"
include "lenet5c/kernels/buffers.pxi"


cdef run(const DirectKernels* kernels, const Softmax* s, const void* a, const void* b, void* to,
         int num_threads):
    cdef Py_ssize_t unit, units = softmax_units(s, kernels.lanes)
    cdef int threads = <int>max(1, min(<Py_ssize_t>num_threads, min(units, <Py_ssize_t>1024)))
    # in floats
    cdef Py_ssize_t size = softmax_scratch(s, kernels.lanes) * (16 // kernels.lanes)
    cdef Py_ssize_t stride = round_up(size + CANARY_FLOATS)
    cdef Workspace space = Workspace(threads * stride)
    cdef float* scratch
    for unit in prange(units, schedule="static", num_threads=threads, nogil=True):
        scratch = space.start + threadid() * stride
        set_canary(scratch + size)
        kernels.softmax(s, unit, a, b, to, scratch)
        check_canary(scratch + size, b"softmax", b"scratch")
    raise_overrun()


def apply(capsule, bint logarithmic, shape, a not None, b, to not None, int num_threads):
    """to = the softmax of a, or its logarithm; or with b, which is that, the gradient from dy = a.

    shape is (outer, K, inner), none of them 0; the arrays have its size, in the dtype of the
    kernels.
    """
    cdef const DirectKernels* kernels = <const DirectKernels*>PyCapsule_GetPointer(
        capsule, b"lenet5c.DirectKernels")
    cdef Softmax s
    cdef Py_buffer[3] views
    cdef int taken = 0, kind = b"f" if kernels.lanes == 16 else b"d"
    s.logarithmic = logarithmic
    s.outer, s.K, s.inner = shape
    total = int(s.outer) * s.K * s.inner
    if min(s.outer, s.K, s.inner) < 1 or total > 1 << 40:
        raise ValueError(f"shape must be three sizes of at least 1, got {shape}")
    try:
        for array in (a, to) if b is None else (a, to, b):
            if get_reals(&views[taken], array, total, taken == 1) != kind:
                taken += 1
                raise ValueError(f"arrays must all have the dtype {chr(kind)!r} of the kernels")
            taken += 1
        run(kernels, &s, views[0].buf, NULL if b is None else views[2].buf, views[1].buf,
            num_threads)
    finally:
        while taken > 0:
            taken -= 1
            PyBuffer_Release(&views[taken])
