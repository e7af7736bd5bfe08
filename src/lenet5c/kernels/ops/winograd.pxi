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
#
# The gradient of a tap whose products are all zero would be what rounding leaves of its neighbors':
# a row with a tap so small beside its terms is summed by the definition. y and dd need nothing like
# it: inputs that their definition does not take have no part in the products they are sums of.

cdef enum:
    TERMS = 6
    TAPS = 5
    LEAST_CHANNELS = 4         # that share a transform, or it costs more than it saves
    MOST_FLOATS = 1 << 17      # of V, to stay in a core's second-level cache
    MOST_CANCELED = 1 << 14    # times a tap's gradient may be smaller than its terms


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


cdef inline v16 transform_sums(const float* m, Py_ssize_t plane, float* dg) noexcept nogil:
    """dg (5, 16) = G^T m of 16 rows, m (6, plane); negative where a tap may be mere rounding."""
    cdef v16 taps[TAPS]
    cdef v16 terms[TERMS]
    cdef v16 even1, odd1, even3, odd3, least, size
    cdef int i
    for i in range(TERMS):
        terms[i] = v16_load(m + i * plane)
    even1 = v16_mul(v16_set1(-1. / 6), v16_add(terms[1], terms[2]))
    odd1 = v16_mul(v16_set1(-1. / 6), v16_sub(terms[1], terms[2]))
    even3 = v16_mul(v16_set1(1. / 24), v16_add(terms[3], terms[4]))
    odd3 = v16_mul(v16_set1(1. / 24), v16_sub(terms[3], terms[4]))
    taps[0] = v16_add(v16_fma(v16_set1(0.25), terms[0], even1), even3)
    taps[1] = v16_fma(v16_set1(2), odd3, odd1)
    taps[2] = v16_fma(v16_set1(4), even3, even1)
    taps[3] = v16_fma(v16_set1(8), odd3, odd1)
    taps[4] = v16_add(v16_fma(v16_set1(16), even3, even1), terms[5])
    for i in range(TERMS):
        terms[i] = magnitude(terms[i])
    size = v16_fma(v16_set1(0.25), terms[0], terms[5])
    size = v16_fma(v16_set1(1. / 6), v16_add(terms[1], terms[2]), size)
    size = v16_fma(v16_set1(16. / 24), v16_add(terms[3], terms[4]), size)
    least = magnitude(taps[0])
    for i in range(TAPS):
        v16_store(dg + i * LANES, taps[i])
        least = v16_where_lt(magnitude(taps[i]), least, magnitude(taps[i]), least)
    return v16_sub(v16_mul(least, v16_set1(MOST_CANCELED)), size)


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


cdef inline void winograd_sum(
    const Py_ssize_t* way, const float* planes, Py_ssize_t plane, const float* U, nv* acc, int TO,
) noexcept nogil:
    """acc[t TO + i] = sum over steps of planes[t] * U[step, t, i]: the six terms of TO channels.

    A step goes to the next filter row, or channel: way has (steps of a run, runs, what planes moves
    after a step, what planes and U move after a run), planes in floats and U in steps.
    """
    cdef nv v
    cdef int i, t
    cdef Py_ssize_t run, step
    for i in range(TO * TERMS):
        acc[i] = nv_set1(0)
    for run in range(way[1]):
        for step in range(way[0]):
            for t in range(TERMS):
                v = nv_load(planes + t * plane)
                nv_keep(v)
                for i in range(TO):
                    acc[t * TO + i] = nv_fma(v, nv_set1(U[t * TO + i]), acc[t * TO + i])
            planes += way[2]
            U += TERMS * TO
        planes += way[3]
        U += way[4] * TERMS * TO


cdef inline void winograd_block(
    const Op* op, const float* V, const float* U, const float* bias, float* y, Py_ssize_t y_plane,
    int TO,
) noexcept nogil:
    """TO output channels x a pair of columns; V at its first input row, U (C, KH, 6, TO)."""
    cdef nv m[24]
    cdef nv even, odd, even2, odd2, start
    cdef int i
    cdef Py_ssize_t row = (op.OW // 2) * LANES, channels = op.C // op.groups
    cdef Py_ssize_t way[5]
    way[0], way[1], way[2] = op.KH, channels, op.DH * row
    way[3], way[4] = (op.H - op.KH * op.DH) * row, 0
    winograd_sum(way, V, channels * op.H * row, U, m, TO)
    for i in range(TO):
        start = nv_set1(bias[i] if op.has_bias else 0)
        even, odd = nv_add(m[TO + i], m[2 * TO + i]), nv_sub(m[TO + i], m[2 * TO + i])
        even2, odd2 = nv_add(m[3 * TO + i], m[4 * TO + i]), nv_sub(m[3 * TO + i], m[4 * TO + i])
        even = nv_add(nv_add(nv_add(m[i], even), even2), start)
        odd = nv_add(nv_add(nv_fma(nv_set1(2), odd2, odd), m[5 * TO + i]), start)
        nv_store(y + i * y_plane, nv_max(nv_set1(0), even) if op.relu else even)
        nv_store(y + i * y_plane + LANES, nv_max(nv_set1(0), odd) if op.relu else odd)


cdef inline Py_ssize_t block_size(Py_ssize_t count, Py_ssize_t first) noexcept nogil:
    """Channels of the block from `first` on; blocks are of nearly equal size."""
    cdef Py_ssize_t most = 4 if NV_REGISTERS == 32 else 2
    cdef Py_ssize_t blocks = (count + most - 1) // most
    cdef Py_ssize_t small = count // blocks, large = count % blocks
    return small + 1 if first < large * (small + 1) else small


cdef void lay_out_filters(
    const float* weight, float* U, Py_ssize_t count, Py_ssize_t stride, Py_ssize_t others,
    Py_ssize_t other_stride, Py_ssize_t KH,
) noexcept nogil:
    """U of each filter row, in blocks of neighboring channels: (blocks, others, KH, 6, channels of
    the block).

    `count` channels are laid out side by side, `stride` apart in weight; `others` are the channels
    of the other side.
    """
    cdef float u[TERMS]
    cdef Py_ssize_t first = 0, size, i, other, kh, t
    while first < count:
        size = block_size(count, first)
        for other in range(others):
            for kh in range(KH):
                for i in range(size):
                    transform_filter(weight + (first + i) * stride + other * other_stride
                                     + kh * TAPS, u)
                    for t in range(TERMS):
                        U[t * size + i] = u[t]
                U += TERMS * size
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
    cdef Py_ssize_t oh, pair, part, o, size
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
            for part in range(V16_PARTS):
                v = V + (oh * pairs + pair) * LANES + part * NV_LANES
                to = row + pair * 2 * LANES + part * NV_LANES
                u = U
                o = 0
                while o < outputs:
                    size = block_size(outputs, o)
                    if NV_REGISTERS == 32 and size == 4:
                        winograd_block(op, v, u, bias + o, to + o * y_plane, y_plane, 4)
                    elif NV_REGISTERS == 32 and size == 3:
                        winograd_block(op, v, u, bias + o, to + o * y_plane, y_plane, 3)
                    elif size == 2:
                        winograd_block(op, v, u, bias + o, to + o * y_plane, y_plane, 2)
                    else:
                        winograd_block(op, v, u, bias + o, to + o * y_plane, y_plane, 1)
                    u += size * channels * op.KH * TERMS
                    o += size
        if op.pool and oh % 2 == 1:
            for o in range(outputs):
                pool_rows(rows + o * y_plane, pairs, op.mask, y + o * pooled + oh // 2 * pairs
                          * LANES, argmax + o * pooled + oh // 2 * pairs * LANES)


# The data gradient


cdef inline void winograd_dx_block(
    const Op* op, const float* E, const float* U, float* dx, Py_ssize_t first, Py_ssize_t count,
    int TC,
) noexcept nogil:
    """Add what a pair of columns of dy gives to six columns of TC input channels, from filter rows
    first .. on.

    E points at the pair in the row of dy that filter row `first` sees, U (O, KH, 6, TC) at the
    first channel.
    """
    cdef nv m[24]
    cdef nv a, b, c, d
    cdef int i
    cdef Py_ssize_t row = (op.OW // 2) * LANES, outputs = op.O // op.groups
    cdef Py_ssize_t way[5]
    way[0], way[1], way[2] = count, outputs, -op.DH * row
    way[3], way[4] = (op.OH + count * op.DH) * row, op.KH - count
    winograd_sum(way, E, outputs * op.OH * row, U + first * TERMS * TC, m, TC)
    for i in range(TC):
        # T^T: the columns of T
        a, b = nv_add(m[TC + i], m[2 * TC + i]), nv_sub(m[2 * TC + i], m[TC + i])
        c, d = nv_add(m[3 * TC + i], m[4 * TC + i]), nv_sub(m[4 * TC + i], m[3 * TC + i])
        nv_add_to(dx, nv_mul(nv_set1(4), m[i]))
        nv_add_to(dx + LANES, nv_fma(nv_set1(4), nv_add(b, m[5 * TC + i]), nv_add(d, d)))
        nv_add_to(dx + 2 * LANES, nv_sub(nv_fma(nv_set1(-5), m[i], nv_mul(nv_set1(-4), a)), c))
        nv_add_to(dx + 3 * LANES, nv_sub(nv_fma(nv_set1(-5), m[5 * TC + i], nv_mul(nv_set1(-2),
                                                                                   d)), b))
        nv_add_to(dx + 4 * LANES, nv_add(nv_add(m[i], a), c))
        nv_add_to(dx + 5 * LANES, m[5 * TC + i])
        dx += op.H * op.W * LANES


cdef inline void nv_add_to(float* to, nv a) noexcept nogil:
    nv_store(to, nv_add(nv_load(to), a))


cdef void winograd_dx(const Op* op, const float* weight, const float* E, float* dx,
                      float* U) noexcept nogil:
    """One group."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t pairs = op.OW // 2
    cdef Py_ssize_t ih, pair, part, c, size, first, count
    cdef const float* u
    cdef const float* e
    cdef float* to
    lay_out_filters(weight, U, channels, op.KH * TAPS, outputs, channels * op.KH * TAPS, op.KH)
    memset(dx, 0, channels * op.H * op.W * LANES * sizeof(float))
    for ih in range(op.H):
        first = (ih - op.OH + op.DH) // op.DH if ih >= op.OH else 0
        count = min(op.KH - 1, ih // op.DH) - first + 1
        if count <= 0:
            continue
        for pair in range(pairs):
            for part in range(V16_PARTS):
                e = E + ((ih - first * op.DH) * pairs + pair) * LANES + part * NV_LANES
                u = U
                c = 0
                while c < channels:
                    size = block_size(channels, c)
                    to = dx + ((c * op.H + ih) * op.W + 2 * pair) * LANES + part * NV_LANES
                    if NV_REGISTERS == 32 and size == 4:
                        winograd_dx_block(op, e, u, to, first, count, 4)
                    elif NV_REGISTERS == 32 and size == 3:
                        winograd_dx_block(op, e, u, to, first, count, 3)
                    elif size == 2:
                        winograd_dx_block(op, e, u, to, first, count, 2)
                    else:
                        winograd_dx_block(op, e, u, to, first, count, 1)
                    u += size * outputs * op.KH * TERMS
                    c += size


# The weight gradient


cdef inline void winograd_dweight_block(
    const Op* op, const float* V, const float* E, float* m, Py_ssize_t next_output, int TO, int TK,
) noexcept nogil:
    """One term of TO outputs x TK filter rows: m[i next_output + k] = sum of E * V."""
    cdef float sums[32 * LANES]
    cdef nv acc[32]
    cdef nv e[4]
    cdef nv v
    cdef int i, k
    cdef Py_ssize_t place, at, part, row = (op.OW // 2) * LANES
    cdef Py_ssize_t places = op.OH * row
    for part in range(V16_PARTS):
        for i in range(TO * TK):
            acc[i] = nv_set1(0)
        for place in range(op.OH * (op.OW // 2)):
            at = place * LANES + part * NV_LANES
            for i in range(TO):
                e[i] = nv_load(E + i * places + at)
            for k in range(TK):
                v = nv_load(V + k * op.DH * row + at)
                nv_keep(v)
                for i in range(TO):
                    acc[i * TK + k] = nv_fma(v, e[i], acc[i * TK + k])
        for i in range(TO * TK):
            nv_store(sums + i * LANES + part * NV_LANES, acc[i])
    for i in range(TO):
        for k in range(TK):
            m[i * next_output + k] = v16_reduce(v16_load(sums + (i * TK + k) * LANES))


cdef inline void winograd_dweight_term(
    const Op* op, const float* V, const float* E, float* m, Py_ssize_t next_output, int TO,
) noexcept nogil:
    """One term of TO output channels x all filter rows of one input channel."""
    cdef Py_ssize_t kh = 0, row = (op.OW // 2) * LANES
    while kh < op.KH:
        if op.KH - kh >= 5:
            winograd_dweight_block(op, V + kh * op.DH * row, E, m + kh, next_output, TO, 5)
            kh += 5
        else:
            winograd_dweight_block(op, V + kh * op.DH * row, E, m + kh, next_output, TO, 1)
            kh += 1


cdef void winograd_dweight(
    const Op* op, const float* x, const float* dy, const float* V, const float* E, float* dweight,
    float* m,
) noexcept nogil:
    """One group; m (6, O * C * KH, rounded up) takes the sums of products."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t row = (op.OW // 2) * LANES, next_output = channels * op.KH
    cdef Py_ssize_t plane = round_up(outputs * next_output)
    cdef Py_ssize_t t, c, o, size
    cdef const float* v
    cdef const float* e
    cdef float* to
    for t in range(TERMS):
        for c in range(channels):
            v = V + (t * channels + c) * op.H * row
            o = 0
            while o < outputs:
                size = block_size(outputs, o)
                e = E + (t * outputs + o) * op.OH * row
                to = m + t * plane + o * next_output + c * op.KH
                if NV_REGISTERS == 32 and size == 4:
                    winograd_dweight_term(op, v, e, to, next_output, 4)
                elif NV_REGISTERS == 32 and size == 3:
                    winograd_dweight_term(op, v, e, to, next_output, 3)
                elif size == 2:
                    winograd_dweight_term(op, v, e, to, next_output, 2)
                else:
                    winograd_dweight_term(op, v, e, to, next_output, 1)
                o += size
    add_filter_gradients(op, x, dy, m, plane, dweight)


cdef void add_filter_gradients(
    const Op* op, const float* x, const float* dy, const float* m, Py_ssize_t plane, float* dweight,
) noexcept nogil:
    """dweight += G^T m; by the definition where rounding may hide a tap."""
    cdef float dg[TAPS * LANES]
    cdef float margin[LANES]
    cdef Py_ssize_t channels = op.C // op.groups, row, o, c, kh
    cdef int k
    for row in range(op.O // op.groups * channels * op.KH):
        if row % LANES == 0:
            v16_store(margin, transform_sums(m + row, plane, dg))
        if margin[row % LANES] >= 0:
            for k in range(TAPS):
                dweight[row * TAPS + k] += dg[k * LANES + row % LANES]
            continue
        o, c, kh = row // op.KH // channels, row // op.KH % channels, row % op.KH
        conv2d_dweight_rows(op, x + (c * op.H + kh * op.DH) * op.W * LANES,
                            dy + o * op.OH * op.OW * LANES, dweight + row * TAPS, NULL, 1, 1, TAPS)


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
