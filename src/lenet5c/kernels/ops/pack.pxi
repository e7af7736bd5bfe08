# Samples into a tile and back: 16 arrays of `size` values <-> (size, 16), as in rows.pxi.

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
    pack_rows(<const void**>samples, size, tile, LANES)


cdef void unpack(const float* tile, Py_ssize_t size, Py_ssize_t lanes,
                 float* samples) noexcept nogil:
    """samples (lanes, size)"""
    cdef void* rows[LANES]
    cdef Py_ssize_t lane
    for lane in range(lanes):
        rows[lane] = samples + lane * size
    unpack_rows(tile, size, lanes, rows)
