# The kernels for double; included once for each instruction set, as tiles.pxi.
# cython: language_level=3
from cpython.pycapsule cimport PyCapsule_New

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from lenet5c.kernels.simd.tiles cimport (
    WIDE, DirectKernels, DirectSum, RowProduct, Softmax, softmax_along, softmax_blocks, softmax_width)

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
    vec vec_sub(vec a, vec b)
    vec vec_mul(vec a, vec b)
    vec vec_div(vec a, vec b)
    vec vec_max(vec a, vec b)
    vec vec_where_lt(vec a, vec b, vec x, vec y)
    vec vec_scale(vec a, vec n)
    real vec_reduce(vec a)
    real vec_reduce_max(vec a)
    const real* VEC_NUMBERS
    vec vec_fma(vec a, vec b, vec c)
    void vec_transpose(vec* row)
    void vec_load_transposed(vec* square, const real** rows, Py_ssize_t at)


cdef inline vec exponential(vec x) noexcept nogil:
    """exp to 1 ulp: x = n ln 2 + r, exp(x) = 2^n (1 + r + r^2 P(r)), by Taylor's series; saturates."""
    cdef vec n, r, p, magic = vec_set1(6755399441055744.)
    x = vec_max(vec_set1(-708.), x)
    x = vec_where_lt(vec_set1(709.), x, vec_set1(709.), x)
    # Adding and taking away 1.5 * 2^52 rounds to a whole number.
    n = vec_sub(vec_add(vec_mul(x, vec_set1(1.4426950408889634)), magic), magic)
    r = vec_fma(n, vec_set1(-6.93145751953125e-1), x)
    r = vec_fma(n, vec_set1(-1.42860682030941723212e-6), r)
    p = vec_fma(vec_set1(1 / 6227020800.), r, vec_set1(1 / 479001600.))
    p = vec_fma(p, r, vec_set1(1 / 39916800.))
    p = vec_fma(p, r, vec_set1(1 / 3628800.))
    p = vec_fma(p, r, vec_set1(1 / 362880.))
    p = vec_fma(p, r, vec_set1(1 / 40320.))
    p = vec_fma(p, r, vec_set1(1 / 5040.))
    p = vec_fma(p, r, vec_set1(1 / 720.))
    p = vec_fma(p, r, vec_set1(1 / 120.))
    p = vec_fma(p, r, vec_set1(1 / 24.))
    p = vec_fma(p, r, vec_set1(1 / 6.))
    p = vec_fma(p, r, vec_set1(0.5))
    p = vec_add(vec_fma(p, vec_mul(r, r), r), vec_set1(1))
    return vec_scale(p, n)


include "rows.pxi"
include "lenet5c/kernels/direct/direct.pxi"
include "lenet5c/kernels/direct/products.pxi"
include "lenet5c/kernels/ops/softmax.pxi"

cdef DirectKernels table
set_direct(&table)
set_products(&table)
table.softmax = softmax_unit

direct = PyCapsule_New(&table, b"lenet5c.DirectKernels", NULL)
