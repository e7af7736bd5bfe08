# One output element per channel on a tile: a fully connected layer, or filters as wide as the
# image.

cdef enum:
    COMPETING = 512    # floats apart, filters have few places of a cache for their lines


cdef inline void conv2d_single(
    const Op* op, const float* x, const float* weight, const float* bias, float* y,
    Py_ssize_t y_plane, int TO,
) noexcept nogil:
    """One element of TO output channels: parts of the lanes in place of columns."""
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    cdef Py_ssize_t part
    for part in range(1 if V16_PARTS <= 4 else V16_PARTS):
        conv2d_block(op, x + part * NV_LANES, weight, 1, filter_size, bias, y + part * NV_LANES,
                     y_plane, NV_LANES, NV_LANES, TO, V16_PARTS if V16_PARTS <= 4 else 1)


cdef inline void conv2d_many_singles(
    const Op* op, const float* x, const float* weight, const float* bias, float* y,
    Py_ssize_t y_plane, int TO,
) noexcept nogil:
    """One element of TO output channels, a multiple of 3, whose sums fill registers of 16 lanes.

    Filters have a pointer for three of them: more than the sums there is room for in addresses.
    """
    cdef nv acc[24]
    cdef nv v
    cdef const float* rows[8]
    cdef int i
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    cdef Py_ssize_t c, kh, kw
    cdef const float* xk
    cdef nv least = nv_set1(0 if op.relu else -INFINITY)
    for i in range(TO):
        acc[i] = nv_set1(bias[i] if op.has_bias else 0)
    for i in range(TO // 3):
        rows[i] = weight + 3 * i * filter_size
    for c in range(op.C // op.groups):
        for kh in range(op.KH):
            xk = x + (c * op.H + kh * op.DH) * op.W * LANES
            for kw in range(op.KW):
                v = nv_load(xk)
                nv_keep(v)
                for i in range(TO // 3):
                    pointer_keep(rows[i])
                    acc[3 * i] = nv_fma(v, nv_set1(rows[i][0]), acc[3 * i])
                    acc[3 * i + 1] = nv_fma(v, nv_set1(rows[i][filter_size]), acc[3 * i + 1])
                    acc[3 * i + 2] = nv_fma(v, nv_set1(rows[i][2 * filter_size]), acc[3 * i + 2])
                    rows[i] += 1
                xk += op.DW * LANES
    for i in range(TO):
        nv_store(y + i * y_plane, nv_max(least, acc[i]))


cdef inline Py_ssize_t conv2d_single_outputs(const Op* op, Py_ssize_t outputs) noexcept nogil:
    """Output channels of a block of conv2d_many_singles, or 0.

    Not where filters lie so that their lines would compete for one place of the first-level cache.
    """
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    if V16_REGISTERS < 32 or op.OW > 1 or filter_size % COMPETING == 0:
        return 0
    return 24 if outputs >= 24 else 12 if outputs >= 12 else 0
