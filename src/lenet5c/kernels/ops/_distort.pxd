from lenet5c.kernels.simd.tiles cimport Distort


cdef class Warp:
    cdef Distort settings   # for images of no shape yet
    cdef const float[::1] gaussian
    cdef const double[::1] quantiles
    cdef Distort of(self, Py_ssize_t C, Py_ssize_t H, Py_ssize_t W) except *
