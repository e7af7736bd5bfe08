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
# definition by rounding, about twice as much as that differs from the exact sum; what is not finite
# may become not-a-number, and spread to the neighbors of its quad.

cdef enum:
    TERMS = 8
    TAPS = 5
    QUAD = 4
    MOST_STEPS = 16            # of a sum
    LEAST_OUTPUTS = 3          # of a row
    LEAST_CHANNELS = 4         # that share a transform, or it costs more than it saves
    MOST_FLOATS = 1 << 17      # of V, to stay in a core's second-level cache


cdef inline bint suits_winograd(const Op* op) noexcept nogil:
    return (op.KW == TAPS and op.SH == 1 and op.SW == 1 and op.DW == 1 and op.OW >= LEAST_OUTPUTS
            and not (op.pool and op.OW % 2 == 1)
            and not op.definition and op.C // op.groups >= LEAST_CHANNELS
            and op.O // op.groups >= LEAST_CHANNELS and winograd_input_size(op) <= MOST_FLOATS)


cdef Py_ssize_t winograd_scratch(const Op* op) noexcept nogil:
    """One group: V, E or two rows of y, then U or the sums of products."""
    cdef Py_ssize_t outputs = op.O // op.groups
    return (winograd_input_size(op) + TERMS * outputs * op.OH * row_floats(op)
            + TERMS * round_up(outputs * (op.C // op.groups) * op.KH))


cdef inline Py_ssize_t winograd_input_size(const Op* op) noexcept nogil:
    return TERMS * (op.C // op.groups) * op.H * row_floats(op)


cdef inline Py_ssize_t row_floats(const Op* op) noexcept nogil:
    """A row of quads, of V or E."""
    return (op.OW + QUAD - 1) // QUAD * LANES


cdef inline void transform_filter(const float* g, float* u) noexcept nogil:
    """U = G g of one filter row."""
    cdef float even = g[0] + g[2] + g[4], odd = g[1] + g[3]
    u[0] = g[0]
    u[1] = (even + odd) * <float>(-2. / 9)
    u[2] = (even - odd) * <float>(-2. / 9)
    even = g[0] + 4 * g[2] + 16 * g[4]
    odd = 2 * g[1] + 8 * g[3]
    u[3] = (even + odd) * <float>(1. / 90)
    u[4] = (even - odd) * <float>(1. / 90)
    even = 16 * g[0] + 4 * g[2] + g[4]
    odd = 8 * g[1] + 2 * g[3]
    u[5] = (even + odd) * <float>(2. / 45)
    u[6] = (even - odd) * <float>(2. / 45)
    u[7] = g[4]


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


# The result


cdef inline void winograd_term(
    const Py_ssize_t* way, const float* plane, const float* U, float* m, int TO,
) noexcept nogil:
    """m (TO, 16) = sum over steps of plane * U[step]: one term of TO channels.

    A step goes to the next filter row, or channel: way has (steps of a run, runs, what plane moves
    after a step, what plane and U move after a run), plane in floats and U in steps. Runs of
    `MOST_STEPS`, or one of more, are summed by themselves: the shorter a sum, the smaller its error.
    """
    cdef nv acc[32]
    cdef nv v[16]
    cdef nv u
    cdef int i, part
    cdef Py_ssize_t run = 0, step, end
    cdef bint first
    while run < way[1]:
        end = min(way[1], run + max(1, MOST_STEPS // way[0]))
        for i in range(TO * V16_PARTS):
            acc[i] = nv_set1(0)
        first = run == 0
        while run < end:
            for step in range(way[0]):
                for part in range(V16_PARTS):
                    v[part] = nv_load(plane + part * NV_LANES)
                    nv_keep(v[part])
                for i in range(TO):
                    u = nv_set1(U[i])
                    for part in range(V16_PARTS):
                        acc[i * V16_PARTS + part] = nv_fma(v[part], u, acc[i * V16_PARTS + part])
                plane += way[2]
                U += TO
            plane += way[3]
            U += way[4] * TO
            run += 1
        for i in range(TO * V16_PARTS):
            if not first:
                acc[i] = nv_add(nv_load(m + i * NV_LANES), acc[i])
            nv_store(m + i * NV_LANES, acc[i])


cdef inline Py_ssize_t most_channels() noexcept nogil:
    """Channels of a block at most: their sums fill the registers, and hide each other's latency."""
    return min(8, max(1, V16_REGISTERS - 2))


cdef inline void winograd_sum(
    const Py_ssize_t* way, const float* planes, Py_ssize_t plane, const float* U, Py_ssize_t filters,
    float* m, Py_ssize_t count,
) noexcept nogil:
    """m (8, count, 16) of a block of channels; planes and U go so far from term to term."""
    cdef int t
    for t in range(TERMS):
        if most_channels() >= 8 and count == 8:
            winograd_term(way, planes, U, m, 8)
        elif most_channels() >= 7 and count == 7:
            winograd_term(way, planes, U, m, 7)
        elif most_channels() >= 6 and count == 6:
            winograd_term(way, planes, U, m, 6)
        elif most_channels() >= 5 and count == 5:
            winograd_term(way, planes, U, m, 5)
        elif most_channels() >= 4 and count == 4:
            winograd_term(way, planes, U, m, 4)
        elif most_channels() >= 3 and count == 3:
            winograd_term(way, planes, U, m, 3)
        elif most_channels() >= 2 and count == 2:
            winograd_term(way, planes, U, m, 2)
        else:
            winograd_term(way, planes, U, m, 1)
        planes += plane
        U += filters
        m += count * LANES


cdef inline void winograd_block(
    const Op* op, const float* V, const float* U, const float* bias, float* y, Py_ssize_t y_plane,
    Py_ssize_t columns, Py_ssize_t count,
) noexcept nogil:
    """`count` output channels x up to four columns; V at the first input row, U (8, C, KH, count)."""
    cdef float sums[TERMS * 8 * LANES]
    cdef v16 m[TERMS]
    cdef v16 a, b, c, d, e, f, start
    cdef v16 out[QUAD]
    cdef int i, t
    cdef Py_ssize_t row = row_floats(op), channels = op.C // op.groups
    cdef Py_ssize_t way[5]
    way[0], way[1], way[2] = op.KH, channels, op.DH * row
    way[3], way[4] = (op.H - op.KH * op.DH) * row, 0
    winograd_sum(way, V, channels * op.H * row, U, channels * op.KH * count, sums, count)
    for i in range(count):
        for t in range(TERMS):
            m[t] = v16_load(sums + (t * count + i) * LANES)
        start = v16_set1(bias[i] if op.has_bias else 0)
        a, b = v16_add(m[1], m[2]), v16_sub(m[1], m[2])
        c, d = v16_add(m[3], m[4]), v16_sub(m[3], m[4])
        e, f = v16_add(m[5], m[6]), v16_sub(m[5], m[6])
        out[0] = v16_add(v16_add(m[0], a), v16_add(c, e))
        out[1] = v16_fma(v16_set1(0.5), f, v16_fma(v16_set1(2), d, b))
        out[2] = v16_fma(v16_set1(0.25), e, v16_fma(v16_set1(4), c, a))
        out[3] = v16_add(v16_fma(v16_set1(0.125), f, v16_fma(v16_set1(8), d, b)), m[7])
        for t in range(QUAD):
            if t < columns:
                a = v16_add(out[t], start)
                v16_store(y + i * y_plane + t * LANES, v16_max(v16_zero(), a) if op.relu else a)


cdef inline Py_ssize_t block_size(
    Py_ssize_t count, Py_ssize_t first, Py_ssize_t most,
) noexcept nogil:
    """Channels of the block from `first` on; blocks are of nearly equal size, `most` at most."""
    cdef Py_ssize_t blocks = (count + most - 1) // most
    cdef Py_ssize_t small = count // blocks, large = count % blocks
    return small + 1 if first < large * (small + 1) else small


cdef void lay_out_filters(
    const float* weight, float* U, Py_ssize_t count, Py_ssize_t stride, Py_ssize_t others,
    Py_ssize_t other_stride, Py_ssize_t KH,
) noexcept nogil:
    """U of each filter row, in blocks of neighboring channels: (blocks, 8, others, KH, channels of
    the block).

    `count` channels are laid out side by side, `stride` apart in weight; `others` are the channels
    of the other side.
    """
    cdef float u[TERMS]
    cdef Py_ssize_t first = 0, size, i, other, kh, t
    while first < count:
        size = block_size(count, first, most_channels())
        for other in range(others):
            for kh in range(KH):
                for i in range(size):
                    transform_filter(weight + (first + i) * stride + other * other_stride
                                     + kh * TAPS, u)
                    for t in range(TERMS):
                        U[((t * others + other) * KH + kh) * size + i] = u[t]
        U += TERMS * others * KH * size
        first += size


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
    cdef Py_ssize_t oh, quad, o, size
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
        for quad in range(quads):
            v = V + (oh * quads + quad) * LANES
            to = row + quad * QUAD * LANES
            u = U
            o = 0
            while o < outputs:
                size = block_size(outputs, o, most_channels())
                winograd_block(op, v, u, bias + o, to + o * y_plane, y_plane, op.OW - quad * QUAD,
                               size)
                u += size * channels * op.KH * TERMS
                o += size
        if op.pool and oh % 2 == 1:
            for o in range(outputs):
                pool_rows(rows + o * y_plane, pairs, op.mask, y + o * pooled + oh // 2 * pairs
                          * LANES, argmax + o * pooled + oh // 2 * pairs * LANES)


# The data gradient


cdef inline void winograd_dx_block(
    const Op* op, const float* E, const float* U, float* dx, Py_ssize_t first, Py_ssize_t rows,
    Py_ssize_t columns, Py_ssize_t count,
) noexcept nogil:
    """Add what a quad of dy gives to up to eight columns of `count` input channels, from filter rows
    first .. on, so many.

    E points at the quad in the row of dy that filter row `first` sees, U (8, O, KH, count) at the
    first channel.
    """
    cdef float sums[TERMS * 8 * LANES]
    cdef v16 m[TERMS]
    cdef v16 a, b, c, d, e, f
    cdef v16 out[TERMS]
    cdef int i, t
    cdef Py_ssize_t row = row_floats(op), outputs = op.O // op.groups
    cdef Py_ssize_t way[5]
    way[0], way[1], way[2] = rows, outputs, -op.DH * row
    way[3], way[4] = (op.OH + rows * op.DH) * row, op.KH - rows
    winograd_sum(way, E, outputs * op.OH * row, U + first * count, outputs * op.KH * count, sums,
                 count)
    for i in range(count):
        for t in range(TERMS):
            m[t] = v16_load(sums + (t * count + i) * LANES)
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
        for t in range(TERMS):
            if t < columns:
                v16_add_to(dx + t * LANES, out[t])
        dx += op.H * op.W * LANES


cdef inline void v16_add_to(float* to, v16 a) noexcept nogil:
    v16_store(to, v16_add(v16_load(to), a))


cdef void winograd_dx(const Op* op, const float* weight, const float* E, float* dx,
                      float* U) noexcept nogil:
    """One group."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t quads = row_floats(op) // LANES
    cdef Py_ssize_t ih, quad, c, size, first, rows
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
        for quad in range(quads):
            e = E + ((ih - first * op.DH) * quads + quad) * LANES
            u = U
            c = 0
            while c < channels:
                size = block_size(channels, c, most_channels())
                to = dx + ((c * op.H + ih) * op.W + QUAD * quad) * LANES
                winograd_dx_block(op, e, u, to, first, rows, op.W - QUAD * quad, size)
                u += size * outputs * op.KH * TERMS
                c += size


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
