# The vector vocabulary of simd.h, declared to Cython.
from libc.string cimport memcpy, memset

cdef extern from "simd.h" nogil:
    ctypedef struct v16:
        pass
    enum:
        V16_WIDE
        V16_SIX
    const char* V16_ISA
    v16 v16_load(const float* a)
    v16 v16_load_bytes(const unsigned char* a)
    void v16_store(float* to, v16 a)
    v16 v16_set1(float a)
    v16 v16_zero()
    v16 v16_add(v16 a, v16 b)
    v16 v16_sub(v16 a, v16 b)
    v16 v16_mul(v16 a, v16 b)
    v16 v16_div(v16 a, v16 b)
    v16 v16_fma(v16 a, v16 b, v16 c)
    v16 v16_max(v16 a, v16 b)
    v16 v16_where_lt(v16 a, v16 b, v16 x, v16 y)
    v16 v16_where_le(v16 a, v16 b, v16 x, v16 y)
    v16 v16_pow2(v16 n)
    float v16_reduce(v16 a)
    void v16_transpose(v16* row)

