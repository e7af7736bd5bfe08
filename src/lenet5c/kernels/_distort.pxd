from lenet5c.kernels.tiles cimport Distort


cdef class Warp:
    cdef Distort settings   # for images of no shape yet
    cdef const float[::1] gaussian
