# The pooling of a convolution: 2 x 2 windows of its outputs, before or after they are in memory.
#
# The operations of pool2d.pxi, on outputs before the rectifier: it commutes with the maximum, so
# one operation rectifies a window. With `outputs_only` the pooling may be that of the mean, and
# there is no argmax.


cdef inline v16 rectified(const Op* op, v16 a) noexcept nogil:
    return v16_max(v16_zero(), a) if op.relu else a


cdef inline v16 pooled(const Op* op, const v16* window) noexcept nogil:
    """Pool four values per lane, with the operations of pool2d.pxi."""
    cdef v16 total
    if op.average:
        total = v16_add(v16_add(v16_zero(), rectified(op, window[0])), rectified(op, window[1]))
        total = v16_add(v16_add(total, rectified(op, window[2])), rectified(op, window[3]))
        return v16_mul(total, v16_set1(0.25))
    total = larger(larger(larger(window[0], window[1]), window[2]), window[3])
    return rectified(op, total)


cdef inline void pool_window(const Op* op, const v16* x, float* y, float* argmax) noexcept nogil:
    """Of a 2 x 2 window the mean, or the maximum: the first of equals, not-a-number before all."""
    cdef v16 best = x[0], which = v16_zero()
    cdef int k
    if op.outputs_only:
        v16_store(y, pooled(op, x))
        return
    for k in range(1, 4):
        which = v16_where_le(best, best, v16_where_le(x[k], best, which, v16_set1(k)), which)
        best = v16_where_le(best, best, v16_where_le(x[k], best, best, x[k]), best)
    if op.mask:
        which = v16_where_lt(v16_zero(), best, which, v16_set1(NO_ARGMAX))
    v16_store(y, rectified(op, best))
    v16_store(argmax, which)


cdef inline void pool_rows(const Op* op, const float* x, float* y, float* argmax) noexcept nogil:
    """A row of 2 x 2 windows, of two rows before the rectifier."""
    cdef v16 window[4]
    cdef Py_ssize_t i
    cdef int k
    for i in range(op.OW // 2):
        for k in range(4):
            window[k] = v16_load(x + (k // 2 * op.OW + i * 2 + k % 2) * LANES)
        pool_window(op, window, y + i * LANES, argmax + i * LANES)


cdef inline void conv2d_windows(
    const Op* op, const float* x, const float* filters, const float* bias, float* y, float* argmax,
    Py_ssize_t plane, int TO,
) noexcept nogil:
    """A row of 2 x 2 windows of TO output channels, each pooled while it is in registers.

    For vectors of 16 lanes; y and argmax go `plane` floats from channel to channel.
    """
    cdef nv acc[32]
    cdef nv column[4]
    cdef nv w
    cdef v16 window[4]
    cdef int i, j
    cdef Py_ssize_t ow, c, kh, kw
    cdef const float* xk
    cdef const float* filter
    for ow in range(op.OW // 2):
        for i in range(TO):
            for j in range(4):
                acc[i * 4 + j] = nv_set1(bias[i] if op.has_bias else 0)
        filter = filters
        for c in range(op.C // op.groups):
            for kh in range(op.KH):
                xk = x + (c * op.H + kh * op.DH) * op.W * LANES
                for kw in range(op.KW):
                    for j in range(4):
                        column[j] = nv_load(xk + (j // 2 * op.SH * op.W + j % 2 * op.SW) * LANES)
                        nv_keep(column[j])
                    for i in range(TO):
                        w = nv_set1(filter[i])
                        for j in range(4):
                            acc[i * 4 + j] = nv_fma(column[j], w, acc[i * 4 + j])
                    xk += op.DW * LANES
                    filter += TO
        for i in range(TO):
            for j in range(4):
                window[j] = v16_of(acc + i * 4 + j)
            pool_window(op, window, y + i * plane, argmax + i * plane)
        x += 2 * op.SW * LANES
        y += LANES
        argmax += LANES


cdef void conv2d_unpool(const Op* op, const float* argmax, const float* dy, float* dx,
                        Py_ssize_t rows) noexcept nogil:
    """Pass each window's gradient to its maximum: (rows, OW / 2) to (2 rows, OW)."""
    cdef Py_ssize_t row, ow, width = op.OW * LANES
    cdef float* to
    cdef v16 g, which
    for row in range(rows):
        for ow in range(op.OW // 2):
            g = v16_load(dy)
            which = v16_load(argmax)
            to = dx + ow * 2 * LANES
            v16_store(to, v16_where_eq(which, v16_zero(), g, v16_zero()))
            v16_store(to + LANES, v16_where_eq(which, v16_set1(1), g, v16_zero()))
            v16_store(to + width, v16_where_eq(which, v16_set1(2), g, v16_zero()))
            v16_store(to + width + LANES, v16_where_eq(which, v16_set1(3), g, v16_zero()))
            dy += LANES
            argmax += LANES
        dx += 2 * width
