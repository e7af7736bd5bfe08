# The gradients of the convolution of winograd.pxi. The weight gradient is in winograd_dweight.pxi.


cdef void transform_gradient(const Op* op, const float* dy, float* E) noexcept nogil:
    """E = S^T dy for each quad of one group's dy (O, OH, OW, 16)."""
    cdef Py_ssize_t row, quad, start, rows = (op.O // op.groups) * op.OH
    cdef Py_ssize_t quads = row_floats(op) // LANES, plane = rows * row_floats(op)
    cdef v16 a, b
    cdef v16 d[QUAD]
    for row in range(rows):
        for quad in range(quads):
            start = quad * QUAD
            load_columns(d, dy + start * LANES, op.OW - start, QUAD)
            v16_store(E, d[0])
            a, b = v16_add(d[0], d[2]), v16_add(d[1], d[3])
            v16_store(E + plane, v16_add(a, b))
            v16_store(E + 2 * plane, v16_sub(a, b))
            a, b = v16_fma(v16_set1(4), d[2], d[0]), v16_fma(v16_set1(4), d[3], d[1])
            v16_store(E + 3 * plane, v16_fma(v16_set1(2), b, a))
            v16_store(E + 4 * plane, v16_fma(v16_set1(-2), b, a))
            a, b = v16_fma(v16_set1(0.25), d[2], d[0]), v16_fma(v16_set1(0.25), d[3], d[1])
            v16_store(E + 5 * plane, v16_fma(v16_set1(0.5), b, a))
            v16_store(E + 6 * plane, v16_fma(v16_set1(-0.5), b, a))
            v16_store(E + 7 * plane, d[3])
            E += LANES
        dy += op.OW * LANES


cdef inline void winograd_dx_block(
    const Op* op, const float* E, const float* U, float* dx, Py_ssize_t first, Py_ssize_t rows,
    Py_ssize_t columns, Py_ssize_t channel, Py_ssize_t quads,
) noexcept nogil:
    """Add what some quads of dy give to up to eight columns each of a span of input channels, from
    filter rows first .. on, so many.

    E points at the first quad in the row of dy that filter row `first` sees, U and dx at the first
    channel; the row of dx has `columns` more columns.
    """
    cdef float sums[TERMS * MAX_SPAN * MAX_QUADS * LANES]
    cdef v16 m[TERMS]
    cdef v16 a, b, c, d, e, f
    cdef v16 out[TERMS]
    cdef int i, t
    cdef Py_ssize_t row = row_floats(op), outputs = op.O // op.groups, quad
    cdef Py_ssize_t span = span_size(op.C // op.groups, channel)
    cdef Py_ssize_t moves[5]
    cdef float* to
    moves[0], moves[1], moves[2] = rows, outputs, -op.DH * row
    moves[3], moves[4] = (op.OH + rows * op.DH) * row, op.KH - rows
    winograd_sum(moves, E, outputs * op.OH * row, U, outputs * op.KH, first, sums, op.C // op.groups,
                 channel, quads)
    for i in range(span):
        for quad in range(quads):
            for t in range(TERMS):
                m[t] = v16_load(sums + ((t * span + i) * quads + quad) * LANES)
            # T^T: the columns of T
            a, b = v16_add(m[1], m[2]), v16_sub(m[1], m[2])
            c, d = v16_add(m[3], m[4]), v16_sub(m[3], m[4])
            e, f = v16_add(m[5], m[6]), v16_sub(m[5], m[6])
            out[0] = m[0]
            out[1] = v16_sub(v16_fma(v16_set1(0.5), d, v16_fma(v16_set1(2), f, b)), m[7])
            out[2] = v16_fma(v16_set1(-5.25), m[0], v16_fma(v16_set1(0.25), c,
                                                            v16_fma(v16_set1(4), e, a)))
            out[3] = v16_fma(v16_set1(5.25), m[7], v16_fma(v16_set1(-4.25), b, v16_mul(
                v16_set1(-2.5), v16_add(d, f))))
            out[4] = v16_fma(v16_set1(5.25), m[0], v16_fma(v16_set1(-4.25), a, v16_fma(
                v16_set1(-1.25), c, v16_mul(v16_set1(-5), e))))
            out[5] = v16_fma(v16_set1(-5.25), m[7], v16_fma(v16_set1(2), d,
                                                            v16_fma(v16_set1(0.5), f, b)))
            out[6] = v16_sub(v16_add(v16_add(a, c), e), m[0])
            out[7] = m[7]
            to = dx + (i * op.H * op.W + quad * QUAD) * LANES
            for t in range(TERMS):
                if t < columns - quad * QUAD:
                    v16_add_to(to + t * LANES, out[t])


cdef inline void v16_add_to(float* to, v16 a) noexcept nogil:
    v16_store(to, v16_add(v16_load(to), a))


cdef void winograd_dx(const Op* op, const float* weight, const float* E, float* dx,
                      float* U) noexcept nogil:
    """One group."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t quads = row_floats(op) // LANES
    cdef Py_ssize_t ih, quad, count, c, size, first, rows
    cdef const float* u
    cdef const float* e
    cdef float* to
    lay_out_filters(weight, U, channels, op.KH * TAPS, outputs, channels * op.KH * TAPS, op.KH)
    memset(dx, 0, channels * op.H * op.W * LANES * sizeof(float))
    for ih in range(op.H):
        first = (ih - op.OH + op.DH) // op.DH if ih >= op.OH else 0
        rows = min(op.KH - 1, ih // op.DH) - first + 1
        if rows <= 0:
            continue
        quad = 0
        while quad < quads:
            count = block_size(quads, quad, most_quads())
            e = E + ((ih - first * op.DH) * quads + quad) * LANES
            u = U
            c = 0
            while c < channels:
                to = dx + ((c * op.H + ih) * op.W + QUAD * quad) * LANES
                winograd_dx_block(op, e, u, to, first, rows, op.W - QUAD * quad, c, count)
                size = span_size(channels, c)
                u += size * outputs * op.KH * TERMS
                c += size
            quad += count


cdef void winograd_backward(
    const Op* op, const float* weight, const float* x, const float* dy, float* dx, float* dweight,
    float* scratch,
) noexcept nogil:
    """One group; dx or dweight may be NULL."""
    cdef float* V = scratch
    cdef float* E = V + winograd_input_size(op)
    cdef float* U = E + TERMS * (op.O // op.groups) * op.OH * row_floats(op)
    transform_gradient(op, dy, E)
    if dweight is not NULL:
        transform_input(op, x, V)
        winograd_dweight(op, x, dy, V, E, dweight, U)
    if dx is not NULL:
        winograd_dx(op, weight, E, dx, U)
