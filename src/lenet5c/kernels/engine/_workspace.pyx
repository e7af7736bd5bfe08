"""Scratch memory of the compiled drivers."""
from libc.stdlib cimport calloc, free

from lenet5c.kernels.simd.tiles cimport LANES


cdef class Workspace:
    """Memory for floats, 64-byte aligned."""

    def __cinit__(self, Py_ssize_t floats):
        if floats < 0:
            raise ValueError(f"floats must be at least 0, got {floats}")
        # Zeros, so that no kernel reads a not-a-number from memory that it has not written.
        self.memory = calloc(<size_t>floats + LANES, sizeof(float))
        if self.memory is NULL:
            raise MemoryError(f"not enough memory for a workspace of {floats} floats")
        self.floats = floats
        self.start = <float*>((<size_t>self.memory + 63) & ~<size_t>63)

    def __dealloc__(self):
        free(self.memory)
