"""Instruction set of the tile kernels, and a measurement of their peak speed."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange

from lenet5c.kernels.simd.tiles cimport TileKernels


cdef const TileKernels* table(capsule) except NULL:
    return <const TileKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.TileKernels")


def instructions(capsule):
    """Return the name that simd.h gives the tile kernels' instructions, such as 'avx512'."""
    return table(capsule).isa.decode()


def burst(capsule, Py_ssize_t rounds, int num_threads):
    """Run multiply-adds on some threads; return the number of floating-point operations."""
    cdef const TileKernels* kernels = table(capsule)
    cdef float results[64]
    cdef int thread, threads = max(1, min(num_threads, 64))
    cdef double operations = 0
    for thread in prange(threads, schedule="static", chunksize=1, num_threads=threads, nogil=True):
        operations += kernels.burst(rounds, &results[thread])
    return operations
