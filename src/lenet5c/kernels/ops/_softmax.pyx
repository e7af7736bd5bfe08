"""Softmax of arrays: units on the threads of one OpenMP region."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange, threadid

from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport (
    WIDE, DirectKernels, Softmax, round_up, softmax_scratch, softmax_units)

import numpy as np

include "lenet5c/kernels/canary.pxi"
include "lenet5c/kernels/buffers.pxi"


cdef object ndarray = np.ndarray, empty = np.empty


cdef inline void compute(
    const DirectKernels* kernels, const Softmax* s, Py_ssize_t unit, const void* a, const void* b,
    void* to, float* scratch, Py_ssize_t size,
) noexcept nogil:
    set_canary(scratch + size)
    kernels.softmax(s, unit, a, b, to, scratch)
    check_canary(scratch + size, b"softmax", b"scratch")


cdef run(const DirectKernels* kernels, const Softmax* s, const void* a, const void* b, void* to,
         int num_threads):
    cdef Py_ssize_t unit, units = softmax_units(s, kernels.lanes)
    cdef int threads = <int>max(1, min(<Py_ssize_t>num_threads, min(units, <Py_ssize_t>1024)))
    # in floats
    cdef Py_ssize_t size = softmax_scratch(s, kernels.lanes) * (16 // kernels.lanes)
    cdef Py_ssize_t stride = round_up(size + CANARY_FLOATS)
    cdef Workspace space
    cdef float* start = NULL
    if stride > 0:
        space = Workspace(threads * stride)
        start = space.start
    if threads == 1:  # a region of one thread takes longer than a small softmax
        with nogil:
            for unit in range(units):
                compute(kernels, s, unit, a, b, to, start, size)
    else:
        for unit in prange(units, schedule="static", num_threads=threads, nogil=True):
            compute(kernels, s, unit, a, b, to, start + threadid() * stride, size)
    raise_overrun()


def apply_alone(dict capsules not None, bint logarithmic, x, axis, Py_ssize_t most):
    """Return softmax or log-softmax of a small plain array, None for any other argument.

    For few values, general checks of the arguments take most of the time.

    `capsules` has the kernels by the `char` of a dtype.
    """
    cdef const DirectKernels* kernels
    cdef Softmax s
    cdef Py_buffer[2] views
    cdef Py_ssize_t i, at, total
    cdef char kind
    if type(x) is not ndarray or type(axis) is not int:
        return None
    try:
        PyObject_GetBuffer(x, &views[0], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except (BufferError, ValueError):
        return None
    try:
        kind = views[0].format[0] if views[0].format[1] == 0 else 0
        total = views[0].len // views[0].itemsize
        if (kind != b"f" and kind != b"d") or not 0 < total <= most:
            return None
        if not -views[0].ndim <= axis < views[0].ndim:
            return None
        at = axis if axis >= 0 else axis + views[0].ndim
        kernels = <const DirectKernels*>PyCapsule_GetPointer(
            capsules["f" if kind == b"f" else "d"], b"lenet5c.DirectKernels")
        s.logarithmic, s.K, s.outer, s.inner, s.wide = logarithmic, views[0].shape[at], 1, 1, 1
        for i in range(at):
            s.outer *= views[0].shape[i]
        s.inner = total // (s.outer * s.K)
        result = empty(x.shape, x.dtype)
        get_reals(&views[1], result, total, True)
        try:
            run(kernels, &s, views[0].buf, NULL, views[1].buf, 1)
        finally:
            PyBuffer_Release(&views[1])
    finally:
        PyBuffer_Release(&views[0])
    return result


def apply(capsule, bint logarithmic, shape, a not None, b, to not None, int num_threads):
    """to = the softmax of a, or its logarithm; or with b, which is that, the gradient from dy = a.

    shape is (outer, K, inner), none of them 0; the arrays have its size, in the dtype of the
    kernels.
    """
    cdef const DirectKernels* kernels = <const DirectKernels*>PyCapsule_GetPointer(
        capsule, b"lenet5c.DirectKernels")
    cdef Softmax s
    cdef Py_buffer[3] views
    cdef Py_ssize_t total
    cdef int taken = 0, kind = b"f" if kernels.lanes == 16 else b"d"
    s.logarithmic = logarithmic
    s.outer, s.K, s.inner = shape
    s.wide = WIDE if b is not None and s.inner >= WIDE * kernels.lanes else 1
    if s.outer < 1 or s.K < 1 or s.inner < 1 or <double>s.outer * s.K * s.inner > 1e12:
        raise ValueError(f"shape must be three sizes of at least 1, got {shape}")
    total = s.outer * s.K * s.inner
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
