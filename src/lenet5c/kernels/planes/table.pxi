# The table of plane kernels; included once for each instruction set, compiled with its flags.
# cython: language_level=3
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset
from lenet5c.kernels.planes.planes cimport (
    BLOCK, PlaneKernels, Windows, places_before, quotient)

include "lines.pxi"
include "halving.pxi"
include "whole.pxi"
include "maximum.pxi"
include "mean.pxi"


cdef void maximum_f32(const Windows* w, const void* x, void* y, int64_t* indices,
                      Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    maximum_items(w, <const float*>x, <float*>y, indices, first, last)


cdef void maximum_f64(const Windows* w, const void* x, void* y, int64_t* indices,
                      Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    maximum_items(w, <const double*>x, <double*>y, indices, first, last)


cdef bint maximum_backward_f32(const Windows* w, const void* dy, const void* x,
                               const int64_t* indices, void* dx, Py_ssize_t first,
                               Py_ssize_t last) noexcept nogil:
    return gradient_of_parts(w, <const float*>dy, <const float*>x, indices, <float*>dx, first, last)


cdef bint maximum_backward_f64(const Windows* w, const void* dy, const void* x,
                               const int64_t* indices, void* dx, Py_ssize_t first,
                               Py_ssize_t last) noexcept nogil:
    return gradient_of_parts(w, <const double*>dy, <const double*>x, indices, <double*>dx, first, last)


cdef void mean_f32(const Windows* w, const void* x, void* y, Py_ssize_t first,
                   Py_ssize_t last) noexcept nogil:
    mean_items(w, <const float*>x, <float*>y, first, last)


cdef void mean_f64(const Windows* w, const void* x, void* y, Py_ssize_t first,
                   Py_ssize_t last) noexcept nogil:
    mean_items(w, <const double*>x, <double*>y, first, last)


cdef void mean_backward_f32(const Windows* w, const void* dy, void* dx, Py_ssize_t first,
                            Py_ssize_t last) noexcept nogil:
    mean_parts(w, <const float*>dy, <float*>dx, first, last)


cdef void mean_backward_f64(const Windows* w, const void* dy, void* dx, Py_ssize_t first,
                            Py_ssize_t last) noexcept nogil:
    mean_parts(w, <const double*>dy, <double*>dx, first, last)


cdef PlaneKernels table
table.maximum = [maximum_f32, maximum_f64]
table.maximum_backward = [maximum_backward_f32, maximum_backward_f64]
table.mean = [mean_f32, mean_f64]
table.mean_backward = [mean_backward_f32, mean_backward_f64]

kernels = PyCapsule_New(&table, b"lenet5c.PlaneKernels", NULL)
