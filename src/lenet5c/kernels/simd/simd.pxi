# The vector vocabulary of simd.h, declared to Cython.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

ctypedef float real

cdef extern from "simd.h" nogil:
    ctypedef struct v16:
        pass
    ctypedef struct nv:
        pass
    enum:
        V16_PARTS     # native vectors in a v16
        NV_LANES      # lanes of a native vector
        NV_REGISTERS  # how many of them the processor holds
        V16_REGISTERS  # how many v16
    const char* V16_ISA
    void nv_keep(nv a)
    void nv_reread()
    void pointer_keep(const float* a)
    nv nv_load(const float* a)
    void nv_store(float* to, nv a)
    nv nv_set1(float a)
    nv nv_fma(nv a, nv b, nv c)
    nv nv_add(nv a, nv b)
    nv nv_sub(nv a, nv b)
    nv nv_mul(nv a, nv b)
    nv nv_max(nv a, nv b)
    v16 v16_of(const nv* parts)
    v16 v16_load(const float* a)
    v16 v16_load_bytes(const unsigned char* a)
    v16 v16_load_byte_of(const uint32_t* a, int shift)
    void v16_store(float* to, v16 a)
    void v16_gather(uint32_t* to, const uint32_t* start, const int32_t* at)
    void v16_store_whole(int32_t* to, v16 a)
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
    v16 v16_where_eq(v16 a, v16 b, v16 x, v16 y)
    v16 v16_scale(v16 a, v16 n)
    float v16_reduce(v16 a)
    void v16_transpose(v16* row)

ctypedef v16 vec

cdef extern from "simd.h" nogil:
    # as sources name them that doubles.pxi has, too
    enum:
        VEC_REGISTERS "V16_REGISTERS"
    vec vec_load "v16_load"(const real* a)
    void vec_store "v16_store"(real* to, vec a)
    vec vec_set1 "v16_set1"(real a)
    vec vec_zero "v16_zero"()
    vec vec_add "v16_add"(vec a, vec b)
    vec vec_sub "v16_sub"(vec a, vec b)
    vec vec_mul "v16_mul"(vec a, vec b)
    vec vec_div "v16_div"(vec a, vec b)
    vec vec_max "v16_max"(vec a, vec b)
    vec vec_where_lt "v16_where_lt"(vec a, vec b, vec x, vec y)
    vec vec_fma "v16_fma"(vec a, vec b, vec c)
    vec vec_scale "v16_scale"(vec a, vec n)
    real vec_reduce "v16_reduce"(vec a)
    real vec_reduce_max "v16_reduce_max"(vec a)
    const real* VEC_NUMBERS "V16_NUMBERS"
    void vec_transpose "v16_transpose"(vec* row)
    void vec_load_transposed "v16_load_transposed"(vec* square, const real** rows, Py_ssize_t at)

