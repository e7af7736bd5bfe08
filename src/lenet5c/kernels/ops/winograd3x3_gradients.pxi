# The gradients of the convolution of winograd3x3.pxi, by the transposed maps. With E = S^T dy S of a
# square of dy,
#
#   dd = T^T (sum over o of U * E) T     added to the patch of dx
#   dg = G^T (sum over squares and lanes of E * V) G
#
# The products of dd are those of the result, with the filters transposed. Those of dg have a sum
# over all samples: there V is made of x with 16 channels side by side, and E is read value by value.
# A strip's sum is added to those of the strips before it.
#
# As in winograd_dweight.pxi, the gradient of a filter with a tap that is so small beside what it was
# summed from that it may be rounding is summed anew by the definition.


cdef inline void load_square(const Op* op, const float* dy, const float* argmax, Py_ssize_t h,
                             Py_ssize_t w, v16* d) noexcept nogil:
    """A square of dy (OH, OW, 16), or what a window of pooling passes on; zeros beyond the edge."""
    cdef Py_ssize_t at
    cdef v16 g, which
    cdef int i
    if op.pool:
        at = (h // 2 * (op.OW // 2) + w // 2) * LANES
        g, which = v16_load(dy + at), v16_load(argmax + at)
        for i in range(4):
            d[i] = v16_where_eq(which, v16_set1(i), g, v16_zero())
        return
    dy += (h * op.OW + w) * LANES
    d[0] = v16_load(dy)
    d[1] = v16_load(dy + LANES) if w + 1 < op.OW else v16_zero()
    d[2] = v16_load(dy + op.OW * LANES) if h + 1 < op.OH else v16_zero()
    d[3] = v16_zero()
    if w + 1 < op.OW and h + 1 < op.OH:
        d[3] = v16_load(dy + (op.OW + 1) * LANES)


cdef void transform_squares(const Op* op, const float* dy, const float* argmax, Py_ssize_t first,
                            Py_ssize_t count, float* E) noexcept nogil:
    """E (16, squares, O, 16) = S^T dy S of the squares from `first` on."""
    cdef v16 d[4]
    cdef v16 e[8]
    cdef Py_ssize_t outputs = op.O // op.groups, columns = (op.OW + 1) // 2
    cdef Py_ssize_t plane = term_plane(op, outputs), y_plane = pooled_plane(op)
    cdef Py_ssize_t o, p, h, w
    cdef int i
    cdef float* to
    for o in range(outputs):
        h, w = first // columns * 2, first % columns * 2
        for p in range(count):
            load_square(op, dy + o * y_plane, argmax + o * y_plane if op.pool else NULL, h, w, d)
            for i in range(2):
                e[i] = d[i]
                e[2 + i] = v16_add(d[i], d[2 + i])
                e[4 + i] = v16_sub(d[i], d[2 + i])
                e[6 + i] = d[2 + i]
            to = E + (p * outputs + o) * LANES
            for i in range(4):
                v16_store(to + 4 * i * plane, e[2 * i])
                v16_store(to + (4 * i + 1) * plane, v16_add(e[2 * i], e[2 * i + 1]))
                v16_store(to + (4 * i + 2) * plane, v16_sub(e[2 * i], e[2 * i + 1]))
                v16_store(to + (4 * i + 3) * plane, e[2 * i + 1])
            w += 2
            if w >= op.OW:
                h, w = h + 2, 0


cdef void pooled_dbias(const Op* op, const float* dy, const float* argmax,
                       float* dbias) noexcept nogil:
    """As conv2d_dbias, from the gradient after the pooling."""
    cdef Py_ssize_t o, i
    cdef v16 total
    for o in range(op.O):
        total = v16_zero()
        for i in range(op.OH // 2 * (op.OW // 2)):
            total = v16_add(total, v16_where_lt(v16_load(argmax), v16_set1(NO_ARGMAX),
                                                v16_load(dy), v16_zero()))
            dy += LANES
            argmax += LANES
        dbias[o] += v16_reduce(total)


# The data gradient


cdef void multiply_transposed(const Op* op, const float* U, const float* E, Py_ssize_t count,
                              float* M) noexcept nogil:
    """M (16, squares, C, 16) = U^T E of a strip, term by term."""
    cdef Product product
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef int t
    product.runs, product.run_u, product.run_x = 1, 0, 0
    product.inputs, product.outputs = outputs, channels
    product.next_u, product.next_x = round_up(channels), outputs * LANES
    product.next_y, product.row_y = channels * LANES, LANES
    for t in range(SQUARE_TERMS):
        product_vectors(&product, U + t * outputs * product.next_u, E + t * term_plane(op, outputs),
                        M + t * term_plane(op, channels), count, True, False)


cdef inline void add_patch(const Op* op, const v16* d, Py_ssize_t h, Py_ssize_t w,
                           float* dx) noexcept nogil:
    """Add a patch (4, 4) to the plane dx (H, W, 16), as far as it is inside."""
    cdef float patch[16 * LANES]
    cdef Py_ssize_t row = op.W * LANES, i, j
    cdef int k
    dx += h * row + w * LANES
    if h + 4 <= op.H and w + 4 <= op.W:
        for k in range(16):
            v16_store(dx + k // 4 * row + k % 4 * LANES,
                      v16_add(v16_load(dx + k // 4 * row + k % 4 * LANES), d[k]))
        return
    for k in range(16):
        v16_store(patch + k * LANES, d[k])
    for i in range(min(<Py_ssize_t>4, op.H - h)):
        for j in range(min(<Py_ssize_t>4, op.W - w)):
            v16_store(dx + i * row + j * LANES, v16_add(v16_load(dx + i * row + j * LANES),
                                                        v16_load(patch + (4 * i + j) * LANES)))


cdef void spread_patches(const Op* op, const float* M, Py_ssize_t first, Py_ssize_t count,
                         float* dx) noexcept nogil:
    """dx += T^T M T of the squares from `first` on."""
    cdef v16 m[4]
    cdef v16 s[16]
    cdef v16 d[16]
    cdef Py_ssize_t channels = op.C // op.groups, columns = (op.OW + 1) // 2
    cdef Py_ssize_t plane = term_plane(op, channels)
    cdef Py_ssize_t c, p, h, w
    cdef int i, j
    for c in range(channels):
        h, w = first // columns * 2, first % columns * 2
        for p in range(count):
            for j in range(4):
                for i in range(4):
                    m[i] = v16_load(M + (4 * i + j) * plane + (p * channels + c) * LANES)
                s[j] = m[0]
                s[4 + j] = v16_sub(v16_sub(m[1], m[2]), m[3])
                s[8 + j] = v16_sub(v16_add(m[1], m[2]), m[0])
                s[12 + j] = m[3]
            for i in range(4):
                d[4 * i] = s[4 * i]
                d[4 * i + 1] = v16_sub(v16_sub(s[4 * i + 1], s[4 * i + 2]), s[4 * i + 3])
                d[4 * i + 2] = v16_sub(v16_add(s[4 * i + 1], s[4 * i + 2]), s[4 * i])
                d[4 * i + 3] = s[4 * i + 3]
            add_patch(op, d, h, w, dx + c * op.H * op.W * LANES)
            w += 2
            if w >= op.OW:
                h, w = h + 2, 0


# The weight gradient


cdef void swap_lanes(const Op* op, const float* x, float* to) noexcept nogil:
    """x (C, H, W, samples) of one group as (C / 16, samples, H, W, 16 channels), zeros beyond C."""
    cdef v16 rows[LANES]
    cdef Py_ssize_t channels = op.C // op.groups, plane = op.H * op.W * LANES
    cdef Py_ssize_t c = 0, at
    cdef int i
    while c < channels:
        at = 0
        while at < plane:
            for i in range(LANES):
                rows[i] = v16_load(x + i * plane + at) if c + i < channels else v16_zero()
            v16_transpose(rows)
            for i in range(LANES):
                v16_store(to + i * plane + at, rows[i])
            at += LANES
        x += LANES * plane
        to += LANES * plane
        c += LANES


cdef void multiply_samples(const Op* op, const float* E, const float* V, Py_ssize_t count, bint add,
                           float* sums) noexcept nogil:
    """sums (16, O, C) = the sum over squares and samples of E * V, or added to; V (16, squares,
    C / 16, samples, 16 channels)."""
    cdef Product product
    cdef Py_ssize_t channels = round_up(op.C // op.groups), outputs = op.O // op.groups
    cdef int t
    product.runs, product.run_u, product.run_x = count, outputs * LANES, channels * LANES
    product.inputs, product.outputs = LANES, outputs
    product.next_u, product.next_x = LANES, LANES * LANES
    product.next_y, product.row_y = LANES, channels
    for t in range(SQUARE_TERMS):
        if add:
            product_vectors(&product, E, V, sums, channels // LANES, False, True)
        else:
            product_vectors(&product, E, V, sums, channels // LANES, False, False)
        E += term_plane(op, outputs)
        V += term_plane(op, channels)
        sums += outputs * channels


cdef inline v16 square_taps(const float* sums, Py_ssize_t plane, v16* taps) noexcept nogil:
    """taps (9) = G^T sums G of 16 filters, sums (16, plane); at least 0 where no tap is so small
    that it may be the rounding of others."""
    cdef v16 m[4]
    cdef v16 s[12]
    cdef v16 sizes[12]
    cdef v16 half = v16_set1(0.5), most = v16_set1(MAX_CANCELED)
    cdef v16 add, size, margin
    cdef int i, j
    for j in range(4):
        for i in range(4):
            m[i] = v16_load(sums + (4 * i + j) * plane)
        add = v16_mul(half, v16_add(m[1], m[2]))
        s[j] = v16_add(m[0], add)
        s[4 + j] = v16_mul(half, v16_sub(m[1], m[2]))
        s[8 + j] = v16_add(add, m[3])
        add = v16_mul(half, v16_add(magnitude(m[1]), magnitude(m[2])))
        sizes[j] = v16_add(magnitude(m[0]), add)
        sizes[4 + j] = add
        sizes[8 + j] = v16_add(add, magnitude(m[3]))
    margin = v16_set1(INFINITY)
    for i in range(3):
        add = v16_mul(half, v16_add(s[4 * i + 1], s[4 * i + 2]))
        taps[3 * i] = v16_add(s[4 * i], add)
        taps[3 * i + 1] = v16_mul(half, v16_sub(s[4 * i + 1], s[4 * i + 2]))
        taps[3 * i + 2] = v16_add(add, s[4 * i + 3])
        size = v16_mul(half, v16_add(sizes[4 * i + 1], sizes[4 * i + 2]))
        margin = smaller(margin, v16_sub(v16_mul(magnitude(taps[3 * i]), most),
                                         v16_add(sizes[4 * i], size)))
        margin = smaller(margin, v16_sub(v16_mul(magnitude(taps[3 * i + 1]), most), size))
        margin = smaller(margin, v16_sub(v16_mul(magnitude(taps[3 * i + 2]), most),
                                         v16_add(size, sizes[4 * i + 3])))
    return margin


cdef void add_square_taps(const Op* op, const float* x, const float* dy,
                          float* dweight) noexcept nogil:
    """dweight (9) += the gradient of one filter by the definition, from x (H, W, 16) and dy (OH,
    OW, 16)."""
    cdef float sums[SQUARE_TAPS * LANES]
    cdef nv acc[SQUARE_TAPS]
    cdef nv g
    cdef Py_ssize_t oh, ow, part, row = op.W * LANES
    cdef const float* d
    cdef int k
    for part in range(V16_PARTS):
        for k in range(SQUARE_TAPS):
            acc[k] = nv_set1(0)
        for oh in range(op.OH):
            for ow in range(op.OW):
                d = x + oh * row + ow * LANES + part * NV_LANES
                g = nv_load(dy + (oh * op.OW + ow) * LANES + part * NV_LANES)
                nv_keep(g)
                for k in range(SQUARE_TAPS):
                    acc[k] = nv_fma(nv_load(d + k // 3 * row + k % 3 * LANES), g, acc[k])
        for k in range(SQUARE_TAPS):
            nv_store(sums + k * LANES + part * NV_LANES, acc[k])
    for k in range(SQUARE_TAPS):
        dweight[k] += v16_reduce(v16_load(sums + k * LANES))


cdef void add_squares_gradients(
    const Op* op, const float* x, const float* dy, const float* argmax, const float* sums,
    float* unpooled, float* dweight,
) noexcept nogil:
    """dweight += G^T sums G; by the definition where rounding may hide a tap. unpooled (OH, OW, 16)
    is for a channel of dy before the pooling."""
    cdef v16 taps[LANES]
    cdef float rows[LANES * SQUARE_TAPS + LANES]
    cdef float margin[LANES]
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t plane = outputs * round_up(channels), y_plane = pooled_plane(op)
    cdef Py_ssize_t o, c, lane, lanes
    cdef const float* before = NULL
    cdef int i, k
    for o in range(outputs):
        c, before = 0, NULL if op.pool else dy + o * y_plane
        while c < channels:
            v16_store(margin, square_taps(sums, plane, taps))
            for i in range(SQUARE_TAPS, LANES):
                taps[i] = v16_zero()
            v16_transpose(taps)
            for i in range(LANES):
                v16_store(rows + i * SQUARE_TAPS, taps[i])  # the next one overwrites the zeros
            lanes = min(<Py_ssize_t>LANES, channels - c)
            for lane in range(lanes):
                if margin[lane] >= 0:
                    for k in range(SQUARE_TAPS):
                        dweight[k] += rows[lane * SQUARE_TAPS + k]
                else:
                    if before is NULL:
                        conv2d_unpool(op, argmax + o * y_plane, dy + o * y_plane, unpooled,
                                      op.OH // 2)
                        before = unpooled
                    add_square_taps(op, x + (c + lane) * op.H * op.W * LANES, before, dweight)
                dweight += SQUARE_TAPS
            sums += LANES
            c += LANES


cdef void squares_backward(
    const Op* op, const float* weight, const float* x, const float* dy, const float* argmax,
    float* dx, float* dweight, float* scratch,
) noexcept nogil:
    """One group; dx or dweight may be NULL."""
    cdef Py_ssize_t channels = op.C // op.groups, whole = round_up(channels)
    cdef Py_ssize_t first = 0, count, squares = count_squares(op)
    cdef float* V = scratch + square_filters(op)
    cdef float* E = V + SQUARE_TERMS * term_plane(op, whole)
    cdef float* sums = E + SQUARE_TERMS * term_plane(op, op.O // op.groups)
    cdef float* unpooled = sums + square_filters(op)
    cdef float* swapped = unpooled + op.OH * op.OW * LANES
    if dx is not NULL:
        transform_squares_filters(op, weight, scratch)
        memset(dx, 0, channels * op.H * op.W * LANES * sizeof(float))
    if dweight is not NULL:
        swap_lanes(op, x, swapped)
    while first < squares:
        count = min(strip_squares(op), squares - first)
        transform_squares(op, dy, argmax, first, count, E)
        if dweight is not NULL:
            transform_patches(op, swapped, whole, first, count, V)
            multiply_samples(op, E, V, count, first > 0, sums)
        if dx is not NULL:
            multiply_transposed(op, scratch, E, count, V)
            spread_patches(op, V, first, count, dx)
        first += count
    if dweight is not NULL:
        add_squares_gradients(op, x, dy, argmax, sums, unpooled, dweight)
