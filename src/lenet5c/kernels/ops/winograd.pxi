# Convolution with filter rows of five taps in fewer multiplications (Winograd, Arithmetic
# Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural
# Networks, 2016): four neighboring outputs of a row, a quad, take eight products where the
# definition takes twenty.
#
#   d = eight neighboring inputs    V = T d     T, G and S are reference.winograd_matrices(), but for
#   g = five taps of a filter row   U = G g     the sign of T's and G's first row
#   y = S (U * V), elementwise
#
#   T = 1    0  -5.25 0   5.25   0   -1 0     S = 1 1  1 1  1  1     1    0
#       0    1   1   -4.25 -4.25 1    1 0         0 1 -1 2 -2  1/2  -1/2  0
#       0   -1   1    4.25 -4.25 -1   1 0         0 1  1 4  4  1/4   1/4  0
#       0   0.5  0.25 -2.5 -1.25 2    1 0         0 1 -1 8 -8  1/8  -1/8  1
#       0  -0.5  0.25 2.5  -1.25 -2   1 0
#       0   2    4   -2.5  -5   0.5   1 0
#       0  -2    4    2.5  -5  -0.5   1 0
#       0  -1    0    5.25  0  -5.25  0 1
#
# The sum over channels and filter rows is taken of the products, so each transform is made once for
# all that use it.
#
# The gradients are the transposed maps: with E = S^T (dy of the four), dg = G^T sum of E * V and dd
# = T^T sum of E * U.
#
# Planes: V (8, C, H, quads, 16), E (8, O, OH, quads, 16). Strides and horizontal dilation are 1. A
# last quad of less than four outputs is one with zeros behind the row. Results differ from the
# definition by rounding, about twice as much as that differs from the exact sum; a value that is
# not finite may become not-a-number and spread within its quad.

cdef enum:
    TERMS = 8
    TAPS = 5
    QUAD = 4
    MAX_STEPS = 16            # of a sum
    MAX_QUADS = 3             # whose sums are in registers together
    MAX_SPAN = 16             # channels whose sums are transformed together
    MIN_OUTPUTS = 3          # of a row
    MIN_CHANNELS = 4         # that share a transform, or it costs more than it saves
    MAX_FLOATS = 1 << 17      # of V, to stay in a core's second-level cache


cdef inline bint suits_winograd(const Op* op) noexcept nogil:
    return (op.KW == TAPS and op.SH == 1 and op.SW == 1 and op.DW == 1 and op.OW >= MIN_OUTPUTS
            and not (op.pool and op.OW % 2 == 1)
            and not op.definition and op.C // op.groups >= MIN_CHANNELS
            and op.O // op.groups >= MIN_CHANNELS and winograd_input_size(op) <= MAX_FLOATS)


cdef Py_ssize_t winograd_scratch(const Op* op) noexcept nogil:
    """One group: V, E or two rows of y, then U and a filter of 16 channels, or sums of products."""
    cdef Py_ssize_t outputs = op.O // op.groups
    return (winograd_input_size(op) + TERMS * outputs * op.OH * row_floats(op)
            + TERMS * round_up(outputs * (op.C // op.groups) * op.KH) + op.KH * TAPS * LANES)


cdef inline Py_ssize_t winograd_input_size(const Op* op) noexcept nogil:
    return TERMS * (op.C // op.groups) * op.H * row_floats(op)


cdef inline Py_ssize_t row_floats(const Op* op) noexcept nogil:
    """A row of quads, of V or E."""
    return (op.OW + QUAD - 1) // QUAD * LANES


cdef inline void transform_filters(const float* g, float* u, Py_ssize_t count) noexcept nogil:
    """U = G g of the first filter rows of 16: g (5, 16), u (8, 16). Sums with factors are in double.

    `count` is an argument because the compiler vectorizes the loop only if it is not a constant.
    """
    cdef Py_ssize_t i
    cdef float even, odd
    for i in range(count):
        even, odd = g[i] + g[2 * LANES + i] + g[4 * LANES + i], g[LANES + i] + g[3 * LANES + i]
        u[i] = g[i]
        u[LANES + i] = (even + odd) * <float>(-2. / 9)
        u[2 * LANES + i] = (even - odd) * <float>(-2. / 9)
        even = g[i] + 4. * g[2 * LANES + i] + 16. * g[4 * LANES + i]
        odd = 2. * g[LANES + i] + 8. * g[3 * LANES + i]
        u[3 * LANES + i] = (even + odd) * <float>(1. / 90)
        u[4 * LANES + i] = (even - odd) * <float>(1. / 90)
        even = 16. * g[i] + 4. * g[2 * LANES + i] + g[4 * LANES + i]
        odd = 8. * g[LANES + i] + 2. * g[3 * LANES + i]
        u[5 * LANES + i] = (even + odd) * <float>(2. / 45)
        u[6 * LANES + i] = (even - odd) * <float>(2. / 45)
        u[7 * LANES + i] = g[4 * LANES + i]


cdef inline void load_columns(v16* d, const float* row, Py_ssize_t count, int most) noexcept nogil:
    """d (most): the next columns of a row that has `count` more, then zeros."""
    cdef int i
    for i in range(most):
        d[i] = v16_load(row + i * LANES) if i < count else v16_zero()


cdef void transform_input(const Op* op, const float* x, float* V) noexcept nogil:
    """V = T d for each quad of one group's x (C, H, W, 16)."""
    cdef Py_ssize_t row, quad, start, rows = (op.C // op.groups) * op.H
    cdef Py_ssize_t quads = row_floats(op) // LANES, plane = rows * row_floats(op)
    cdef v16 a, b
    cdef v16 d[TERMS]
    for row in range(rows):
        for quad in range(quads):
            start = quad * QUAD
            load_columns(d, x + start * LANES, op.W - start, TERMS)
            v16_store(V, v16_fma(v16_set1(5.25), v16_sub(d[4], d[2]), v16_sub(d[0], d[6])))
            a = v16_fma(v16_set1(-4.25), d[4], v16_add(d[2], d[6]))
            b = v16_fma(v16_set1(-4.25), d[3], v16_add(d[1], d[5]))
            v16_store(V + plane, v16_add(a, b))
            v16_store(V + 2 * plane, v16_sub(a, b))
            a = v16_fma(v16_set1(0.25), d[2], v16_fma(v16_set1(-1.25), d[4], d[6]))
            b = v16_fma(v16_set1(0.25), d[1], v16_fma(v16_set1(-1.25), d[3], d[5]))
            v16_store(V + 3 * plane, v16_fma(v16_set1(2), b, a))
            v16_store(V + 4 * plane, v16_fma(v16_set1(-2), b, a))
            a = v16_fma(v16_set1(4), d[2], v16_fma(v16_set1(-5), d[4], d[6]))
            b = v16_fma(v16_set1(4), d[1], v16_fma(v16_set1(-5), d[3], d[5]))
            v16_store(V + 5 * plane, v16_fma(v16_set1(0.5), b, a))
            v16_store(V + 6 * plane, v16_fma(v16_set1(-0.5), b, a))
            v16_store(V + 7 * plane, v16_fma(v16_set1(5.25), v16_sub(d[3], d[5]),
                                             v16_sub(d[7], d[1])))
            V += LANES
        x += op.W * LANES


# The result


cdef inline void winograd_term(
    const Py_ssize_t* moves, const float* plane, const float* U, float* m, int TO, int TP,
) noexcept nogil:
    """m (TO, TP native vectors) = sum over steps of plane * U[step]: one term of TO channels, for
    neighboring quads.

    A step goes to the next filter row, or channel: moves has (steps of a run, runs, what plane moves
    after a step, what plane and U move after a run), plane in floats and U in steps. Runs of
    `MAX_STEPS`, or one of more, are summed by themselves: the shorter a sum, the smaller its error.
    """
    cdef nv acc[32]
    cdef nv v[16]
    cdef nv u
    cdef int i, part
    cdef Py_ssize_t run = 0, step, end
    cdef bint first
    while run < moves[1]:
        end = min(moves[1], run + max(1, MAX_STEPS // moves[0]))
        for i in range(TO * TP):
            acc[i] = nv_set1(0)
        first = run == 0
        while run < end:
            for step in range(moves[0]):
                for part in range(TP):
                    v[part] = nv_load(plane + part * NV_LANES)
                    nv_keep(v[part])
                for i in range(TO):
                    u = nv_set1(U[i])
                    for part in range(TP):
                        acc[i * TP + part] = nv_fma(v[part], u, acc[i * TP + part])
                plane += moves[2]
                U += TO
            plane += moves[3]
            U += moves[4] * TO
            run += 1
        for i in range(TO * TP):
            if not first:
                acc[i] = nv_add(nv_load(m + i * NV_LANES), acc[i])
            nv_store(m + i * NV_LANES, acc[i])


cdef inline Py_ssize_t most_channels() noexcept nogil:
    """Channels of a block at most: their sums fill the registers, and hide each other's latency."""
    return min(8, max(1, V16_REGISTERS - 2))


cdef inline Py_ssize_t most_quads() noexcept nogil:
    """Quads of a block at most: where there are registers for it, a filter is read once for several."""
    return MAX_QUADS if V16_REGISTERS == 32 else 1


cdef inline Py_ssize_t block_size(
    Py_ssize_t count, Py_ssize_t first, Py_ssize_t most,
) noexcept nogil:
    """Channels of the block from `first` on; blocks are of nearly equal size, `most` at most."""
    cdef Py_ssize_t blocks = (count + most - 1) // most
    cdef Py_ssize_t small = count // blocks, large = count % blocks
    return small + 1 if first < large * (small + 1) else small


cdef inline Py_ssize_t span_size(Py_ssize_t count, Py_ssize_t first) noexcept nogil:
    """Channels of the blocks from `first` on that are transformed together."""
    cdef Py_ssize_t span = 0, size = block_size(count, first, most_channels())
    while size > 0 and span + size <= MAX_SPAN:
        span += size
        size = 0
        if first + span < count:
            size = block_size(count, first + span, most_channels())
    return span


cdef inline void winograd_term_of(
    const Py_ssize_t* moves, const float* plane, const float* U, float* m, Py_ssize_t count, int TQ,
) noexcept nogil:
    """One term of a block of `count` channels x TQ quads."""
    if V16_REGISTERS >= 10 and count == 8:
        winograd_term(moves, plane, U, m, 8, V16_PARTS * TQ)
    elif V16_REGISTERS >= 9 and count == 7:
        winograd_term(moves, plane, U, m, 7, V16_PARTS * TQ)
    elif V16_REGISTERS >= 8 and count == 6:
        winograd_term(moves, plane, U, m, 6, V16_PARTS * TQ)
    elif V16_REGISTERS >= 7 and count == 5:
        winograd_term(moves, plane, U, m, 5, V16_PARTS * TQ)
    elif V16_REGISTERS >= 6 and count == 4:
        winograd_term(moves, plane, U, m, 4, V16_PARTS * TQ)
    elif V16_REGISTERS >= 5 and count == 3:
        winograd_term(moves, plane, U, m, 3, V16_PARTS * TQ)
    elif V16_REGISTERS >= 4 and count == 2:
        winograd_term(moves, plane, U, m, 2, V16_PARTS * TQ)
    else:
        winograd_term(moves, plane, U, m, 1, V16_PARTS * TQ)


cdef void winograd_sum(
    const Py_ssize_t* moves, const float* planes, Py_ssize_t plane, const float* U, Py_ssize_t filters,
    Py_ssize_t skipped, float* m, Py_ssize_t channels, Py_ssize_t first, Py_ssize_t quads,
) noexcept nogil:
    """m (8, channels of the span from `first` on, quads, 16) of some neighboring quads.

    Planes go so far from term to term; U has so many filter rows a channel, and the first few are
    skipped. A term of the planes stays in the first-level cache for all of the span.
    """
    cdef Py_ssize_t span = span_size(channels, first), o, size
    cdef const float* u
    cdef int t
    for t in range(TERMS):
        u = U
        o = 0
        while o < span:
            size = block_size(channels, first + o, most_channels())
            if V16_REGISTERS == 32 and quads == 3:
                winograd_term_of(moves, planes, u + (t * filters + skipped) * size, m, size, 3)
            elif V16_REGISTERS == 32 and quads == 2:
                winograd_term_of(moves, planes, u + (t * filters + skipped) * size, m, size, 2)
            else:
                winograd_term_of(moves, planes, u + (t * filters + skipped) * size, m, size, 1)
            u += TERMS * filters * size
            m += size * quads * LANES
            o += size
        planes += plane


cdef inline void winograd_block(
    const Op* op, const float* V, const float* U, const float* bias, float* y, Py_ssize_t y_plane,
    Py_ssize_t columns, Py_ssize_t first, Py_ssize_t quads,
) noexcept nogil:
    """A span of output channels x some quads of a row that has `columns` more columns.

    V points at the first input row; U, bias and y at the first channel.
    """
    cdef float sums[TERMS * MAX_SPAN * MAX_QUADS * LANES]
    cdef v16 m[TERMS]
    cdef v16 a, b, c, d, e, f, start
    cdef v16 least = v16_set1(0 if op.relu and not op.pool else -INFINITY)
    cdef v16 out[QUAD]
    cdef int i, t
    cdef Py_ssize_t row = row_floats(op), channels = op.C // op.groups, quad
    cdef Py_ssize_t span = span_size(op.O // op.groups, first)
    cdef Py_ssize_t moves[5]
    cdef float* to
    moves[0], moves[1], moves[2] = op.KH, channels, op.DH * row
    moves[3], moves[4] = (op.H - op.KH * op.DH) * row, 0
    winograd_sum(moves, V, channels * op.H * row, U, channels * op.KH, 0, sums, op.O // op.groups,
                 first, quads)
    for i in range(span):
        start = v16_set1(bias[i] if op.has_bias else 0)
        for quad in range(quads):
            for t in range(TERMS):
                m[t] = v16_load(sums + ((t * span + i) * quads + quad) * LANES)
            a, b = v16_add(m[1], m[2]), v16_sub(m[1], m[2])
            c, d = v16_add(m[3], m[4]), v16_sub(m[3], m[4])
            e, f = v16_add(m[5], m[6]), v16_sub(m[5], m[6])
            out[0] = v16_add(v16_add(m[0], a), v16_add(c, e))
            out[1] = v16_fma(v16_set1(0.5), f, v16_fma(v16_set1(2), d, b))
            out[2] = v16_fma(v16_set1(0.25), e, v16_fma(v16_set1(4), c, a))
            out[3] = v16_add(v16_fma(v16_set1(0.125), f, v16_fma(v16_set1(8), d, b)), m[7])
            to = y + i * y_plane + quad * QUAD * LANES
            for t in range(QUAD):
                if t < columns - quad * QUAD:
                    v16_store(to + t * LANES, v16_max(least, v16_add(out[t], start)))


cdef inline void store_filters(const float* u, float* U, Py_ssize_t plane, int TO) noexcept nogil:
    """U (8, plane, TO) at a place of the plane, from lanes of u (8, 16)."""
    cdef int i, t
    for t in range(TERMS):
        for i in range(TO):
            U[t * plane * TO + i] = u[t * LANES + i]


cdef inline void store_filters_of(const float* u, float* U, Py_ssize_t plane,
                                  Py_ssize_t size) noexcept nogil:
    if size == 8:
        store_filters(u, U, plane, 8)
    elif size == 7:
        store_filters(u, U, plane, 7)
    elif size == 6:
        store_filters(u, U, plane, 6)
    elif size == 5:
        store_filters(u, U, plane, 5)
    elif size == 4:
        store_filters(u, U, plane, 4)
    elif size == 3:
        store_filters(u, U, plane, 3)
    elif size == 2:
        store_filters(u, U, plane, 2)
    else:
        store_filters(u, U, plane, 1)


cdef void lay_out_filters(
    const float* weight, float* U, Py_ssize_t count, Py_ssize_t stride, Py_ssize_t others,
    Py_ssize_t other_stride, Py_ssize_t KH,
) noexcept nogil:
    """U of each filter row, in blocks of neighboring channels: (blocks, 8, others, KH, channels of
    the block); after it, it takes the floats of one filter of 16 channels.

    `count` channels are laid out side by side, `stride` apart in weight; `others` are the channels
    of the other side.
    """
    cdef const float* filters[LANES]
    cdef float u[TERMS * LANES]
    cdef float* taps = U + TERMS * count * others * KH
    cdef float* to
    cdef Py_ssize_t first = 0, span, other, kh, lane, o, size, plane = others * KH
    while first < count:
        span = span_size(count, first)
        for other in range(others):
            for lane in range(LANES):
                filters[lane] = (weight + (first + (lane if lane < span else 0)) * stride
                                 + other * other_stride)
            pack_rows(<const void**>filters, KH * TAPS, taps, LANES)
            for kh in range(KH):
                transform_filters(taps + kh * TAPS * LANES, u, span)
                to = U
                o = 0
                while o < span:
                    size = block_size(count, first + o, most_channels())
                    store_filters_of(u + o, to + (other * KH + kh) * size, plane, size)
                    to += TERMS * plane * size
                    o += size
        U += TERMS * plane * span
        first += span


cdef void winograd_forward(
    const Op* op, const float* x, const float* weight, const float* bias, float* y, float* argmax,
    float* scratch,
) noexcept nogil:
    """One group; the filters and KH rows of V stay in the first-level cache."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t filter_size = channels * op.KH * TAPS
    cdef Py_ssize_t pairs = op.OW // 2, pooled = (op.OH // 2) * pairs * LANES
    cdef Py_ssize_t quads = row_floats(op) // LANES
    cdef Py_ssize_t y_plane = (2 if op.pool else op.OH) * op.OW * LANES
    cdef Py_ssize_t oh, quad, count, o, size, at
    cdef float* V = scratch
    cdef float* rows = V + winograd_input_size(op)
    cdef float* U = rows + (outputs * y_plane if op.pool else 0)
    cdef const float* u
    cdef const float* v
    cdef float* row
    cdef float* to
    transform_input(op, x, V)
    lay_out_filters(weight, U, outputs, filter_size, channels, op.KH * TAPS, op.KH)
    for oh in range(op.OH):
        row = rows + oh % 2 * op.OW * LANES if op.pool else y + oh * op.OW * LANES
        quad = 0
        while quad < quads:
            count = block_size(quads, quad, most_quads())
            v = V + (oh * quads + quad) * LANES
            to = row + quad * QUAD * LANES
            u = U
            o = 0
            while o < outputs:
                winograd_block(op, v, u, bias + o, to + o * y_plane, y_plane, op.OW - quad * QUAD,
                               o, count)
                size = span_size(outputs, o)
                u += size * channels * op.KH * TERMS
                o += size
            quad += count
        if op.pool and oh % 2 == 1:
            for o in range(outputs):
                at = o * pooled + oh // 2 * pairs * LANES
                pool_rows(op, rows + o * y_plane, y + at, argmax + at)
