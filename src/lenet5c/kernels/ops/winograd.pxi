# Convolution with filter rows of five taps in fewer multiplications (Winograd, Arithmetic
# Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural
# Networks, 2016): two neighboring outputs of a row take six products where the definition takes
# ten.
#
#   d = six neighboring inputs      V = T d, T (6, 6)    T = 4  0 -5  0  1  0
#   g = five taps of a filter row   U = G g, G (6, 5)        0 -4 -4  1  1  0
#   y = S (U * V), elementwise, S (2, 6)                     0  4 -4 -1  1  0
#                                                            0 -2 -1  2  1  0
#   S = 1  1  1  1  1  0                                     0  2 -1 -2  1  0
#       0  1 -1  2 -2  1                                     0  4  0 -5  0  1
#
# G follows from both, see transform_filter. The sum over channels and filter rows is taken of the
# products, so each transform is made once for all that use it.
#
# The gradients are the transposed maps: with E = S^T (dy of the two), dg = G^T sum of E * V and dd
# = T^T sum of E * U.
#
# Planes: V (6, C, H, pairs, 16), E (6, O, OH, pairs, 16). Strides and horizontal dilation are 1, OW
# is even. Results differ from the definition by rounding, about as much as that differs from the
# exact sum; what is not finite may become not-a-number, and spread to the neighbor of its pair.

cdef enum:
    TERMS = 6
    TAPS = 5
    LEAST_CHANNELS = 4         # that share a transform, or it costs more than it saves
    MOST_FLOATS = 1 << 17      # of V, to stay in a core's second-level cache


cdef inline bint suits_winograd(const Op* op) noexcept nogil:
    return (op.KW == TAPS and op.SH == 1 and op.SW == 1 and op.DW == 1 and op.OW % 2 == 0
            and not op.definition and op.C // op.groups >= LEAST_CHANNELS
            and op.O // op.groups >= LEAST_CHANNELS and winograd_input_size(op) <= MOST_FLOATS)


cdef Py_ssize_t winograd_scratch(const Op* op) noexcept nogil:
    """One group: V, E or two rows of y, then U or the sums of products."""
    cdef Py_ssize_t outputs = op.O // op.groups
    return (winograd_input_size(op) + TERMS * outputs * op.OH * (op.OW // 2) * LANES
            + TERMS * round_up(outputs * (op.C // op.groups) * op.KH))


cdef inline Py_ssize_t winograd_input_size(const Op* op) noexcept nogil:
    return TERMS * (op.C // op.groups) * op.H * (op.OW // 2) * LANES


cdef inline void transform_filter(const float* g, float* u) noexcept nogil:
    """U = G g of one filter row."""
    cdef float even = g[0] + g[2] + g[4], odd = g[1] + g[3]
    u[0] = g[0] * 0.25
    u[1] = (even + odd) * <float>(-1. / 6)
    u[2] = (even - odd) * <float>(-1. / 6)
    even = g[0] + 4 * g[2] + 16 * g[4]
    odd = 2 * g[1] + 8 * g[3]
    u[3] = (even + odd) * <float>(1. / 24)
    u[4] = (even - odd) * <float>(1. / 24)
    u[5] = g[4]


cdef void transform_input(const Op* op, const float* x, float* V) noexcept nogil:
    """V = T d for each pair of columns of one group's x (C, H, W, 16)."""
    cdef Py_ssize_t row, pair, rows = (op.C // op.groups) * op.H, pairs = op.OW // 2
    cdef Py_ssize_t plane = rows * pairs * LANES
    cdef v16 a, b, c, e
    cdef const float* d
    for row in range(rows):
        for pair in range(pairs):
            d = x + (row * op.W + 2 * pair) * LANES
            a = v16_fma(v16_set1(-4), v16_load(d + 2 * LANES), v16_load(d + 4 * LANES))
            b = v16_fma(v16_set1(-4), v16_load(d + LANES), v16_load(d + 3 * LANES))
            c = v16_sub(v16_load(d + 4 * LANES), v16_load(d + 2 * LANES))
            e = v16_sub(v16_load(d + 3 * LANES), v16_load(d + LANES))
            v16_store(V, v16_fma(v16_set1(-5), v16_load(d + 2 * LANES),
                                 v16_fma(v16_set1(4), v16_load(d), v16_load(d + 4 * LANES))))
            v16_store(V + plane, v16_add(a, b))
            v16_store(V + 2 * plane, v16_sub(a, b))
            v16_store(V + 3 * plane, v16_fma(v16_set1(2), e, c))
            v16_store(V + 4 * plane, v16_fma(v16_set1(-2), e, c))
            v16_store(V + 5 * plane, v16_fma(v16_set1(-5), v16_load(d + 3 * LANES),
                                             v16_fma(v16_set1(4), v16_load(d + LANES),
                                                     v16_load(d + 5 * LANES))))
            V += LANES


cdef void transform_gradient(const Op* op, const float* dy, float* E) noexcept nogil:
    """E = S^T dy for each pair of columns of one group's dy (O, OH, OW, 16)."""
    cdef Py_ssize_t i, places = (op.O // op.groups) * op.OH * (op.OW // 2)
    cdef v16 a, b
    for i in range(places):
        a, b = v16_load(dy + i * 2 * LANES), v16_load(dy + i * 2 * LANES + LANES)
        v16_store(E + i * LANES, a)
        v16_store(E + (places + i) * LANES, v16_add(a, b))
        v16_store(E + (2 * places + i) * LANES, v16_sub(a, b))
        v16_store(E + (3 * places + i) * LANES, v16_fma(v16_set1(2), b, a))
        v16_store(E + (4 * places + i) * LANES, v16_fma(v16_set1(-2), b, a))
        v16_store(E + (5 * places + i) * LANES, b)


# The result


cdef inline void winograd_term(
    const Py_ssize_t* way, const float* plane, const float* U, float* m, int TO,
) noexcept nogil:
    """m (TO, 16) = sum over steps of plane * U[step]: one term of TO channels.

    A step goes to the next filter row, or channel: way has (steps of a run, runs, what plane moves
    after a step, what plane and U move after a run), plane in floats and U in steps.
    """
    cdef nv acc[32]
    cdef nv v[16]
    cdef nv u
    cdef int i, part
    cdef Py_ssize_t run, step
    for i in range(TO * V16_PARTS):
        acc[i] = nv_set1(0)
    for run in range(way[1]):
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
    for i in range(TO * V16_PARTS):
        nv_store(m + i * NV_LANES, acc[i])


cdef inline Py_ssize_t most_channels() noexcept nogil:
    """Channels of a block at most: their sums fill the registers, and hide each other's latency."""
    return min(8, max(1, V16_REGISTERS - 2))


cdef inline void winograd_sum(
    const Py_ssize_t* way, const float* planes, Py_ssize_t plane, const float* U, Py_ssize_t filters,
    float* m, Py_ssize_t count,
) noexcept nogil:
    """m (6, count, 16) of a block of channels; planes and U go so far from term to term."""
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
    Py_ssize_t count,
) noexcept nogil:
    """`count` output channels x a pair of columns; V at its first input row, U (6, C, KH, count)."""
    cdef float sums[TERMS * 8 * LANES]
    cdef v16 m[TERMS]
    cdef v16 even, odd, even2, odd2, start
    cdef int i, t
    cdef Py_ssize_t row = (op.OW // 2) * LANES, channels = op.C // op.groups
    cdef Py_ssize_t way[5]
    way[0], way[1], way[2] = op.KH, channels, op.DH * row
    way[3], way[4] = (op.H - op.KH * op.DH) * row, 0
    winograd_sum(way, V, channels * op.H * row, U, channels * op.KH * count, sums, count)
    for i in range(count):
        for t in range(TERMS):
            m[t] = v16_load(sums + (t * count + i) * LANES)
        start = v16_set1(bias[i] if op.has_bias else 0)
        even, odd = v16_add(m[1], m[2]), v16_sub(m[1], m[2])
        even2, odd2 = v16_add(m[3], m[4]), v16_sub(m[3], m[4])
        even = v16_add(v16_add(v16_add(m[0], even), even2), start)
        odd = v16_add(v16_add(v16_fma(v16_set1(2), odd2, odd), m[5]), start)
        v16_store(y + i * y_plane, v16_max(v16_zero(), even) if op.relu else even)
        v16_store(y + i * y_plane + LANES, v16_max(v16_zero(), odd) if op.relu else odd)


cdef inline Py_ssize_t winograd_block_size(Py_ssize_t count, Py_ssize_t first) noexcept nogil:
    """Channels of the block from `first` on; blocks are of nearly equal size."""
    cdef Py_ssize_t blocks = (count + most_channels() - 1) // most_channels()
    cdef Py_ssize_t small = count // blocks, large = count % blocks
    return small + 1 if first < large * (small + 1) else small


cdef void lay_out_filters(
    const float* weight, float* U, Py_ssize_t count, Py_ssize_t stride, Py_ssize_t others,
    Py_ssize_t other_stride, Py_ssize_t KH,
) noexcept nogil:
    """U of each filter row, in blocks of neighboring channels: (blocks, 6, others, KH, channels of
    the block).

    `count` channels are laid out side by side, `stride` apart in weight; `others` are the channels
    of the other side.
    """
    cdef float u[TERMS]
    cdef Py_ssize_t first = 0, size, i, other, kh, t
    while first < count:
        size = winograd_block_size(count, first)
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
    cdef Py_ssize_t y_plane = (2 if op.pool else op.OH) * op.OW * LANES
    cdef Py_ssize_t oh, pair, o, size
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
        for pair in range(pairs):
            v = V + (oh * pairs + pair) * LANES
            to = row + pair * 2 * LANES
            u = U
            o = 0
            while o < outputs:
                size = winograd_block_size(outputs, o)
                winograd_block(op, v, u, bias + o, to + o * y_plane, y_plane, size)
                u += size * channels * op.KH * TERMS
                o += size
        if op.pool and oh % 2 == 1:
            for o in range(outputs):
                pool_rows(rows + o * y_plane, pairs, op.mask, y + o * pooled + oh // 2 * pairs
                          * LANES, argmax + o * pooled + oh // 2 * pairs * LANES)


# The data gradient


cdef inline void winograd_dx_block(
    const Op* op, const float* E, const float* U, float* dx, Py_ssize_t first, Py_ssize_t rows,
    Py_ssize_t count,
) noexcept nogil:
    """Add what a pair of columns of dy gives to six columns of `count` input channels, from filter
    rows first .. on, so many.

    E points at the pair in the row of dy that filter row `first` sees, U (6, O, KH, count) at the
    first channel.
    """
    cdef float sums[TERMS * 8 * LANES]
    cdef v16 m[TERMS]
    cdef v16 a, b, c, d
    cdef int i, t
    cdef Py_ssize_t row = (op.OW // 2) * LANES, outputs = op.O // op.groups
    cdef Py_ssize_t way[5]
    way[0], way[1], way[2] = rows, outputs, -op.DH * row
    way[3], way[4] = (op.OH + rows * op.DH) * row, op.KH - rows
    winograd_sum(way, E, outputs * op.OH * row, U + first * count, outputs * op.KH * count, sums,
                 count)
    for i in range(count):
        for t in range(TERMS):
            m[t] = v16_load(sums + (t * count + i) * LANES)
        # T^T: the columns of T
        a, b = v16_add(m[1], m[2]), v16_sub(m[2], m[1])
        c, d = v16_add(m[3], m[4]), v16_sub(m[4], m[3])
        v16_add_to(dx, v16_mul(v16_set1(4), m[0]))
        v16_add_to(dx + LANES, v16_fma(v16_set1(4), v16_add(b, m[5]), v16_add(d, d)))
        v16_add_to(dx + 2 * LANES, v16_sub(v16_fma(v16_set1(-5), m[0], v16_mul(v16_set1(-4), a)), c))
        v16_add_to(dx + 3 * LANES, v16_sub(v16_fma(v16_set1(-5), m[5], v16_mul(v16_set1(-2), d)), b))
        v16_add_to(dx + 4 * LANES, v16_add(v16_add(m[0], a), c))
        v16_add_to(dx + 5 * LANES, m[5])
        dx += op.H * op.W * LANES


cdef inline void v16_add_to(float* to, v16 a) noexcept nogil:
    v16_store(to, v16_add(v16_load(to), a))


cdef void winograd_dx(const Op* op, const float* weight, const float* E, float* dx,
                      float* U) noexcept nogil:
    """One group."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t pairs = op.OW // 2
    cdef Py_ssize_t ih, pair, c, size, first, rows
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
        for pair in range(pairs):
            e = E + ((ih - first * op.DH) * pairs + pair) * LANES
            u = U
            c = 0
            while c < channels:
                size = winograd_block_size(channels, c)
                to = dx + ((c * op.H + ih) * op.W + 2 * pair) * LANES
                winograd_dx_block(op, e, u, to, first, rows, size)
                u += size * outputs * op.KH * TERMS
                c += size


cdef void winograd_backward(
    const Op* op, const float* weight, const float* x, const float* dy, float* dx, float* dweight,
    float* scratch,
) noexcept nogil:
    """One group; dx or dweight may be NULL."""
    cdef float* V = scratch
    cdef float* E = V + winograd_input_size(op)
    cdef float* U = E + TERMS * (op.O // op.groups) * op.OH * (op.OW // 2) * LANES
    transform_gradient(op, dy, E)
    if dweight is not NULL:
        transform_input(op, x, V)
        winograd_dweight(op, x, dy, V, E, dweight, U)
    if dx is not NULL:
        winograd_dx(op, weight, E, dx, U)
