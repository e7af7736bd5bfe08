"""Products of a matrix with a few rows, on arrays and threads; the kernels are in products.pxi."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange

from lenet5c.kernels.simd.tiles cimport DirectKernels, RowProduct

from lenet5c.kernels.shapes import MAX_ELEMENTS

include "lenet5c/kernels/buffers.pxi"

cdef enum:
    CHUNK = 64   # columns of y, or rows of the matrix, that a thread takes at a time


cdef class Products:
    """The kernels for a dtype, and the sizes of x (N, K) and y (N, M)."""
    cdef object capsule
    cdef const DirectKernels* kernels
    cdef RowProduct p
    cdef Py_ssize_t chunks

    def __cinit__(self, capsule, Py_ssize_t N, Py_ssize_t K, Py_ssize_t M):
        cdef double n = N, k = K, m = M
        if min(n, k, m) < 0 or max(n * k, n * m, k * m, n, k, m) > MAX_ELEMENTS:
            raise ValueError(f"sizes must be at least 0, and arrays have at most {MAX_ELEMENTS} "
                             f"elements, got {N}, {K} and {M}")
        self.capsule = capsule
        self.kernels = <const DirectKernels*>PyCapsule_GetPointer(
            capsule, b"lenet5c.DirectKernels")
        self.p.N, self.p.K, self.p.M, self.p.x_row, self.p.y_row = N, K, M, K, M
        self.chunks = (M + CHUNK - 1) // CHUNK

    cdef void* take(self, Py_buffer* view, array, Py_ssize_t elements, bint written) except? NULL:
        """The memory of a C-contiguous array of so many elements in the dtype of the kernels."""
        cdef char kind = get_reals(view, array, elements, written)
        if kind != (c"f" if self.kernels.lanes == 16 else c"d"):
            PyBuffer_Release(view)
            raise TypeError("arrays must have the dtype of the kernels")
        return view.buf

    def multiply(self, x, matrix, bint transposed, bias, y, int num_threads):
        """y = x times the matrix (M, K), (K, M) if `transposed`, plus bias (M,) unless None."""
        cdef Py_buffer[4] views
        cdef const void* biases = NULL
        cdef Py_ssize_t chunk
        cdef int taken = 0
        try:
            self.take(&views[0], x, self.p.N * self.p.K, False)
            taken = 1
            self.take(&views[1], matrix, self.p.M * self.p.K, False)
            taken = 2
            self.take(&views[2], y, self.p.N * self.p.M, True)
            taken = 3
            if bias is not None:
                biases = self.take(&views[3], bias, self.p.M, False)
                taken = 4
            if num_threads == 1 or self.chunks <= 1:
                with nogil:
                    self.multiply_range(transposed, views[0].buf, views[1].buf, biases, 0,
                                        self.p.M, views[2].buf)
            else:
                for chunk in prange(self.chunks, schedule="static", nogil=True,
                                    num_threads=max(1, min(num_threads, 1024))):
                    self.multiply_range(transposed, views[0].buf, views[1].buf, biases,
                                        chunk * CHUNK, min(self.p.M, (chunk + 1) * CHUNK),
                                        views[2].buf)
        finally:
            while taken > 0:
                taken -= 1
                PyBuffer_Release(&views[taken])

    cdef void multiply_range(self, bint transposed, const void* x, const void* matrix,
                             const void* bias, Py_ssize_t first, Py_ssize_t stop,
                             void* y) noexcept nogil:
        if transposed:
            self.kernels.add(&self.p, x, matrix, bias, first, stop, y)
        else:
            self.kernels.dot(&self.p, x, matrix, bias, first, stop, y)

    def outer(self, x, y, matrix, int num_threads):
        """matrix (M, K) = the sum of the products of the rows of y and x."""
        cdef Py_buffer[3] views
        cdef Py_ssize_t chunk
        cdef int taken = 0
        try:
            self.take(&views[0], x, self.p.N * self.p.K, False)
            taken = 1
            self.take(&views[1], y, self.p.N * self.p.M, False)
            taken = 2
            self.take(&views[2], matrix, self.p.M * self.p.K, True)
            taken = 3
            if num_threads == 1 or self.chunks <= 1:
                with nogil:
                    self.kernels.outer(&self.p, views[0].buf, views[1].buf, 0, self.p.M,
                                       views[2].buf)
            else:
                for chunk in prange(self.chunks, schedule="static", nogil=True,
                                    num_threads=max(1, min(num_threads, 1024))):
                    self.kernels.outer(&self.p, views[0].buf, views[1].buf, chunk * CHUNK,
                                       min(self.p.M, (chunk + 1) * CHUNK), views[2].buf)
        finally:
            while taken > 0:
                taken -= 1
                PyBuffer_Release(&views[taken])
