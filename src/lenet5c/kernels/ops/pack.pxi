# Samples into a tile and back: 16 arrays of `size` values <-> (size, 16), 16 x 16 squares at a
# time. The last square is moved back inside the array and moves some values twice; arrays shorter
# than a square go value by value.

cdef void pack_bytes(
    const unsigned char** samples, Py_ssize_t size, float scale, const float* offset, float* tile,
) noexcept nogil:
    """tile[q, lane] = samples[lane][q] * scale + offset[q], rounded twice as NumPy does."""
    cdef v16 square[LANES]
    cdef Py_ssize_t q, at
    cdef int i
    if size < LANES:
        for q in range(size):
            for i in range(LANES):
                tile[q * LANES + i] = <float>samples[i][q] * scale + offset[q]
        return
    for q in range((size + LANES - 1) // LANES):
        at = min(q * LANES, size - LANES)
        for i in range(LANES):
            square[i] = v16_load_bytes(samples[i] + at)
        v16_transpose(square)
        for i in range(LANES):
            v16_store(tile + (at + i) * LANES,
                      v16_add(v16_mul(square[i], v16_set1(scale)), v16_set1(offset[at + i])))


cdef void pack_floats(const float** samples, Py_ssize_t size, float* tile) noexcept nogil:
    """tile[q, lane] = samples[lane][q]"""
    pack_rows(samples, size, tile, LANES)


cdef void pack_rows(const float** samples, Py_ssize_t size, float* tile,
                    Py_ssize_t stride) noexcept nogil:
    """tile[q * stride + lane] = samples[lane][q]"""
    cdef v16 square[LANES]
    cdef Py_ssize_t q, at
    cdef int i
    if size < LANES:
        for q in range(size):
            for i in range(LANES):
                tile[q * stride + i] = samples[i][q]
        return
    for q in range((size + LANES - 1) // LANES):
        at = min(q * LANES, size - LANES)
        for i in range(LANES):
            square[i] = v16_load(samples[i] + at)
        v16_transpose(square)
        for i in range(LANES):
            v16_store(tile + (at + i) * stride, square[i])


cdef void unpack(const float* tile, Py_ssize_t size, Py_ssize_t lanes,
                 float* samples) noexcept nogil:
    """samples (lanes, size)"""
    unpack_rows(tile, size, lanes, size, samples)


cdef void unpack_rows(
    const float* tile, Py_ssize_t size, Py_ssize_t lanes, Py_ssize_t stride, float* samples,
) noexcept nogil:
    """samples[lane * stride + q] = tile[q, lane] for the first lanes."""
    cdef v16 square[LANES]
    cdef Py_ssize_t q, at, lane
    cdef int i
    if size < LANES:
        for lane in range(lanes):
            for q in range(size):
                samples[lane * stride + q] = tile[q * LANES + lane]
        return
    for q in range((size + LANES - 1) // LANES):
        at = min(q * LANES, size - LANES)
        for i in range(LANES):
            square[i] = v16_load(tile + (at + i) * LANES)
        v16_transpose(square)
        for i in range(LANES):
            if i < lanes:
                v16_store(samples + i * stride + at, square[i])
