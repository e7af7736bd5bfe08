# Softmax along the axis K of x (outer, K, inner), its logarithm, and the gradients of both; for
# float in the tile modules, for double in those of doubles.pxi.
#
#   y = exp(x - peak) / total, or x - peak - log(total), with peak the largest x along the axis, and
#     total the sum of exp(x - peak)
#   dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy)
#
# A unit is as many vectors of K values as there are lanes, one in each; of a long axis where fewer
# lie side by side, it is a single one, along the lanes. What does not lie so is moved into scratch,
# and the result back.

cdef inline vec load_part(const real* a, Py_ssize_t count, real fill) noexcept nogil:
    cdef real whole[LANES]
    cdef Py_ssize_t lane
    for lane in range(LANES):
        whole[lane] = fill
    memcpy(whole, a, count * sizeof(real))
    return vec_load(whole)


cdef inline void store_part(real* to, Py_ssize_t count, vec a) noexcept nogil:
    cdef real whole[LANES]
    vec_store(whole, a)
    memcpy(to, whole, count * sizeof(real))


cdef inline vec share_largest(vec a) noexcept nogil:
    """The largest of the lanes, in each of them."""
    cdef real lanes[LANES]
    cdef real largest
    cdef Py_ssize_t lane
    vec_store(lanes, a)
    largest = lanes[0]
    for lane in range(1, LANES):
        largest = lanes[lane] if lanes[lane] > largest else largest
    return vec_set1(largest)


cdef inline vec share_sum(vec a) noexcept nogil:
    """The sum of the lanes, in each of them, by halves."""
    cdef real lanes[LANES]
    cdef Py_ssize_t lane, half = LANES // 2
    vec_store(lanes, a)
    while half > 0:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half //= 2
    return vec_set1(lanes[0])


cdef inline vec power(vec x) noexcept nogil:
    """exp(x), and 0 where it is less than the least normal number, or nearly."""
    return vec_where_lt(x, vec_set1(-87.3 if sizeof(real) == sizeof(float) else -708), vec_zero(),
                        exponential(x))


cdef inline vec logarithm_of(vec x, Py_ssize_t most) noexcept nogil:
    """log of 1 <= x <= most, without the C library, by the series of the inverse tanh."""
    cdef vec root = vec_set1(1.4142135623730951), one = vec_set1(1), half = vec_set1(0.5)
    cdef vec halvings = vec_zero()
    cdef vec t, t2, p
    while most > 1:  # and once more than needed, as x is rounded
        halvings = vec_where_lt(root, x, vec_add(halvings, one), halvings)
        x = vec_where_lt(root, x, vec_mul(x, half), x)
        most //= 2
    halvings = vec_where_lt(root, x, vec_add(halvings, one), halvings)
    x = vec_where_lt(root, x, vec_mul(x, half), x)
    t = vec_div(vec_sub(x, one), vec_add(x, one))
    t2 = vec_mul(t, t)
    p = vec_fma(t2, vec_set1(2 / 21.), vec_set1(2 / 19.))
    p = vec_fma(p, t2, vec_set1(2 / 17.))
    p = vec_fma(p, t2, vec_set1(2 / 15.))
    p = vec_fma(p, t2, vec_set1(2 / 13.))
    p = vec_fma(p, t2, vec_set1(2 / 11.))
    p = vec_fma(p, t2, vec_set1(2 / 9.))
    p = vec_fma(p, t2, vec_set1(2 / 7.))
    p = vec_fma(p, t2, vec_set1(2 / 5.))
    p = vec_fma(p, t2, vec_set1(2 / 3.))
    p = vec_fma(vec_mul(p, t2), t, vec_add(t, t))
    return vec_fma(halvings, vec_set1(0.69314718055994531), p)


# Groups of lanes, `stride` values apart, `full` of them whole and then perhaps a part.
cdef struct Groups:
    bint along          # of one vector, not of one for each lane
    Py_ssize_t full, part
    Py_ssize_t stride, to_stride


cdef inline vec take(const Groups* g, const real* a, Py_ssize_t stride, Py_ssize_t i,
                     real fill) noexcept nogil:
    if i < g.full:
        return vec_load(a + i * stride)
    return load_part(a + i * stride, g.part, fill)


cdef inline void give(const Groups* g, real* to, Py_ssize_t i, vec a) noexcept nogil:
    if i < g.full:
        vec_store(to + i * g.to_stride, a)
    else:
        store_part(to + i * g.to_stride, g.part, a)


cdef void softmax_forward(bint logarithmic, const Groups* g, const real* x,
                          real* y) noexcept nogil:
    cdef vec peak = vec_set1(-INFINITY)
    cdef vec total = vec_zero()
    cdef vec e
    cdef Py_ssize_t i, count = g.full + (g.part > 0)
    for i in range(count):
        peak = vec_max(take(g, x, g.stride, i, -INFINITY), peak)
    if g.along:
        peak = share_largest(peak)
    for i in range(count):
        e = power(vec_sub(take(g, x, g.stride, i, -INFINITY), peak))
        total = vec_add(total, e)
        if not logarithmic:
            give(g, y, i, e)
    if g.along:
        total = share_sum(total)
    if logarithmic:
        total = logarithm_of(total, count * (LANES if g.along else 1))
        for i in range(count):
            e = vec_sub(take(g, x, g.stride, i, 0), peak)
            give(g, y, i, vec_sub(e, total))
        return
    total = vec_div(vec_set1(1), total)
    for i in range(count):
        give(g, y, i, vec_mul(take(g, y, g.to_stride, i, 0), total))


cdef void softmax_backward(bint logarithmic, const Groups* g, const real* dy, const real* y,
                           real* dx) noexcept nogil:
    cdef vec total = vec_zero()
    cdef vec a, b
    cdef Py_ssize_t i, count = g.full + (g.part > 0)
    for i in range(count):
        a = take(g, dy, g.stride, i, 0)
        if logarithmic:
            total = vec_add(total, a)
        else:
            total = vec_fma(a, take(g, y, g.stride, i, 0), total)
    if g.along:
        total = share_sum(total)
    for i in range(count):
        a = take(g, dy, g.stride, i, 0)
        b = take(g, y, g.stride, i, 0)
        if logarithmic:
            a = vec_sub(a, vec_mul(power(b), total))
        else:
            a = vec_mul(b, vec_sub(a, total))
        give(g, dx, i, a)


cdef void move_vectors(const Softmax* s, real* const* vectors, Py_ssize_t width, Py_ssize_t lanes,
                       real* tile, bint back) noexcept nogil:
    """A vector of K values for each column of tile (K, width), or back from the first lanes."""
    cdef Py_ssize_t k, lane
    if s.inner == 1 and width == LANES:
        if back:
            unpack_rows(tile, s.K, lanes, <void**>vectors)
        else:
            pack_rows(<const void**>vectors, s.K, tile, LANES)
        return
    for k in range(s.K):
        for lane in range(lanes if back else width):
            if back:
                vectors[lane][k * s.inner] = tile[k * width + lane]
            else:
                tile[k * width + lane] = vectors[lane][k * s.inner]


cdef inline Py_ssize_t place_of(const Softmax* s, Py_ssize_t vector) noexcept nogil:
    return vector // s.inner * s.K * s.inner + vector % s.inner


cdef inline void compute_softmax(const Softmax* s, const Groups* g, const real* a, const real* b,
                                 real* to) noexcept nogil:
    if b is NULL:
        softmax_forward(s.logarithmic, g, a, to)
    else:
        softmax_backward(s.logarithmic, g, a, b, to)


cdef void softmax_unit(const Softmax* s, Py_ssize_t unit, const void* a, const void* b, void* to,
                       void* scratch) noexcept nogil:
    """x -> y, or dy and y -> dx; scratch of softmax_scratch values."""
    cdef Groups g
    cdef const real* x = <const real*>a
    cdef const real* y = <const real*>b
    cdef real* result = <real*>to
    cdef real* tile = <real*>scratch
    cdef real* vectors[LANES]
    cdef Py_ssize_t width = softmax_width(s, LANES)
    cdef Py_ssize_t lane, lanes, blocks, first = unit * width
    g.along, g.full, g.part = width == 1, s.K, 0
    if g.along:
        g.full, g.part = s.K // LANES, s.K % LANES
    g.stride = g.to_stride = LANES
    if s.inner >= LANES:
        # The last block is moved back to be whole, and stores what is not another's.
        blocks = (s.inner + LANES - 1) // LANES
        lanes = min(<Py_ssize_t>LANES, s.inner - unit % blocks * LANES)
        first = unit // blocks * s.K * s.inner + unit % blocks * LANES + lanes - LANES
        x, result, g.stride = x + first, result + first, s.inner
        y = y if y is NULL else y + first
        if lanes == LANES:
            g.to_stride = s.inner
            compute_softmax(s, &g, x, y, result)
            return
        compute_softmax(s, &g, x, y, tile)
        for lane in range(LANES - lanes, LANES):
            vectors[lane - LANES + lanes] = result + lane
        move_vectors(s, vectors, LANES, lanes, tile + LANES - lanes, True)
        return
    if g.along and s.inner == 1:
        first *= s.K
        compute_softmax(s, &g, x + first, y if y is NULL else y + first, result + first)
        return
    lanes = min(width, s.outer * s.inner - first)
    for lane in range(width):  # dead lanes are as the last one
        vectors[lane] = <real*>x + place_of(s, first + min(lane, lanes - 1))
    move_vectors(s, vectors, width, lanes, tile, False)
    if y is not NULL:
        for lane in range(width):
            vectors[lane] = <real*>y + place_of(s, first + min(lane, lanes - 1))
        move_vectors(s, vectors, width, lanes, tile + s.K * width, False)
        y = tile + s.K * width
    compute_softmax(s, &g, tile, y, tile)
    for lane in range(lanes):
        vectors[lane] = result + place_of(s, first + lane)
    move_vectors(s, vectors, width, lanes, tile, True)
