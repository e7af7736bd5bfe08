# The kernels for double; included once for each instruction set, as tiles.pxi.
# cython: language_level=3
from cpython.pycapsule cimport PyCapsule_New

from lenet5c.kernels.simd.tiles cimport DirectKernels, DirectSum

ctypedef double real

cdef enum:
    LANES = 8

cdef extern from "doubles.h" nogil:
    ctypedef struct vec:
        pass
    enum:
        VEC_REGISTERS
    vec vec_load(const real* a)
    void vec_store(real* to, vec a)
    vec vec_set1(real a)
    vec vec_zero()
    vec vec_add(vec a, vec b)
    vec vec_fma(vec a, vec b, vec c)
    void vec_transpose(vec* row)

include "rows.pxi"
include "lenet5c/kernels/direct/direct.pxi"

cdef DirectKernels table
set_direct(&table)

direct = PyCapsule_New(&table, b"lenet5c.DirectKernels", NULL)
