# Arrays of `size` values, one for each lane, into vectors and back: squares of as many values as
# there are lanes, one after the other. The last square is moved back inside the array and moves
# some values twice; arrays shorter than a square go value by value.


cdef void pack_rows(const void** samples, Py_ssize_t size, void* tile,
                    Py_ssize_t stride) noexcept nogil:
    """tile[q * stride + lane] = samples[lane][q]"""
    cdef const real** rows = <const real**>samples
    cdef real* to = <real*>tile
    cdef vec square[LANES]
    cdef Py_ssize_t q, at
    cdef int i
    if size < LANES:
        for q in range(size):
            for i in range(LANES):
                to[q * stride + i] = rows[i][q]
        return
    for q in range((size + LANES - 1) // LANES):
        at = min(q * LANES, size - LANES)
        vec_load_transposed(square, rows, at)
        for i in range(LANES):
            vec_store(to + (at + i) * stride, square[i])


cdef void unpack_rows(const void* tile, Py_ssize_t size, Py_ssize_t lanes,
                      void** samples) noexcept nogil:
    """samples[lane][q] = tile[q, lane] for the first lanes."""
    cdef const real* vectors = <const real*>tile
    cdef real** rows = <real**>samples
    cdef vec square[LANES]
    cdef Py_ssize_t q, at, lane
    cdef int i
    if size < LANES:
        for lane in range(lanes):
            for q in range(size):
                rows[lane][q] = vectors[q * LANES + lane]
        return
    for q in range((size + LANES - 1) // LANES):
        at = min(q * LANES, size - LANES)
        for i in range(LANES):
            square[i] = vec_load(vectors + (at + i) * LANES)
        vec_transpose(square)
        for i in range(LANES):
            if i < lanes:
                vec_store(rows[i] + at, square[i])


cdef inline vec load_some(const real* a, Py_ssize_t count) noexcept nogil:
    """The first `count` values of a vector, and zeros."""
    cdef real[LANES] whole
    memset(whole, 0, sizeof(whole))
    memcpy(whole, a, count * sizeof(real))
    return vec_load(whole)


cdef inline void store_some(real* to, Py_ssize_t count, vec a) noexcept nogil:
    """The first `count` values of a vector."""
    cdef real[LANES] whole
    vec_store(whole, a)
    memcpy(to, whole, count * sizeof(real))
