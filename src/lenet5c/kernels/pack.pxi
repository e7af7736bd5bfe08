# Samples into a tile and back: 16 arrays of `size` values <-> (size, 16).

cdef void pack_bytes(
    const unsigned char** samples, Py_ssize_t size, float scale, const float* offset, float* tile,
) noexcept nogil:
    """tile[q, lane] = samples[lane][q] * scale + offset[q], rounded twice as NumPy does."""
    cdef Py_ssize_t q
    cdef int lane
    for q in range(size):
        for lane in range(16):
            tile[q * 16 + lane] = <float>samples[lane][q] * scale + offset[q]


cdef void pack_floats(const float** samples, Py_ssize_t size, float* tile) noexcept nogil:
    cdef Py_ssize_t q
    cdef int lane
    for q in range(size):
        for lane in range(16):
            tile[q * 16 + lane] = samples[lane][q]


cdef void unpack(const float* tile, Py_ssize_t size, Py_ssize_t lanes, float* samples) noexcept nogil:
    """samples (lanes, size)."""
    cdef Py_ssize_t q, lane
    for lane in range(lanes):
        for q in range(size):
            samples[lane * size + q] = tile[q * 16 + lane]
