# Softmax along the axis K of x (outer, K, inner), its logarithm, and the gradients of both; for
# float in the tile modules, for double in those of doubles.pxi.
#
#   y = exp(x - peak) / total, or x - peak - log(total), with peak the largest x along the axis, and
#     total the sum of exp(x - peak)
#   dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy)
#
# A unit is as many vectors of K values as there are lanes, one in each; of a long axis where fewer
# lie side by side, some rows, each along the lanes. What does not lie so is moved into scratch, one
# at a time, and the result back.

cdef enum:
    CHAINS = 4   # independent sums and maxima, to hide the latency of each

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


cdef union RealBits:
    double value
    uint64_t bits


cdef inline real logarithm_of_sum(real total) noexcept nogil:
    """log of total >= 1, by the same series, shorter for a float; the total if not a number."""
    cdef RealBits mantissa, exponent
    cdef double m, n, t, t2, p
    mantissa.value = exponent.value = total
    mantissa.bits = (mantissa.bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL
    # The bits of 2^52 + (n + 1023)
    exponent.bits = (exponent.bits >> 52) | 0x4330000000000000ULL
    m, n = mantissa.value, exponent.value - (4503599627370496. + 1023)
    if m > 1.4142135623730951:
        m, n = m * 0.5, n + 1
    t = (m - 1) / (m + 1)
    t2 = t * t
    p = 2 / 11.
    if sizeof(real) == sizeof(double):
        p = 2 / 19. + t2 * (2 / 21.)
        p = 2 / 17. + t2 * p
        p = 2 / 15. + t2 * p
        p = 2 / 13. + t2 * p
        p = 2 / 11. + t2 * p
    p = 2 / 9. + t2 * p
    p = 2 / 7. + t2 * p
    p = 2 / 5. + t2 * p
    p = 2 / 3. + t2 * p
    return <real>(n * 0.69314718055994531 + (2 * t + p * t2 * t)) if total == total else total


# K vectors of lanes, `stride` values apart, and the result's.

cdef void softmax_lanes(bint logarithmic, Py_ssize_t K, const real* x, Py_ssize_t stride, real* y,
                        Py_ssize_t to_stride) noexcept nogil:
    cdef vec peak = vec_load(x)
    cdef vec total = vec_zero()
    cdef vec e
    cdef Py_ssize_t k
    for k in range(1, K):
        peak = vec_max(vec_load(x + k * stride), peak)
    for k in range(K):
        e = power(vec_sub(vec_load(x + k * stride), peak))
        total = vec_add(total, e)
        if not logarithmic:
            vec_store(y + k * to_stride, e)
    if logarithmic:
        total = logarithm_of(total, K)
        for k in range(K):
            e = vec_sub(vec_load(x + k * stride), peak)
            vec_store(y + k * to_stride, vec_sub(e, total))
        return
    total = vec_div(vec_set1(1), total)
    for k in range(K):
        vec_store(y + k * to_stride, vec_mul(vec_load(y + k * to_stride), total))


cdef void softmax_lanes_backward(bint logarithmic, Py_ssize_t K, const real* dy, const real* y,
                                 Py_ssize_t stride, real* dx, Py_ssize_t to_stride) noexcept nogil:
    cdef vec total = vec_zero()
    cdef Py_ssize_t k
    for k in range(K):
        total = add_term(logarithmic, dy + k * stride, y + k * stride, total)
    for k in range(K):
        vec_store(dx + k * to_stride, input_gradient(logarithmic, vec_load(dy + k * stride),
                                                     vec_load(y + k * stride), total))


cdef void softmax_wide_backward(bint logarithmic, Py_ssize_t K, const real* dy, const real* y,
                                Py_ssize_t stride, real* dx) noexcept nogil:
    """The same of WIDE vectors side by side: fewer places of memory at a time."""
    cdef vec total[WIDE]
    cdef Py_ssize_t k, j, at
    for j in range(WIDE):
        total[j] = vec_zero()
    for k in range(K):
        for j in range(WIDE):
            at = k * stride + j * LANES
            total[j] = add_term(logarithmic, dy + at, y + at, total[j])
    for k in range(K):
        for j in range(WIDE):
            at = k * stride + j * LANES
            vec_store(dx + at, input_gradient(logarithmic, vec_load(dy + at), vec_load(y + at),
                                              total[j]))


cdef inline vec add_term(bint logarithmic, const real* dy, const real* y, vec total) noexcept nogil:
    if logarithmic:
        return vec_add(total, vec_load(dy))
    return vec_fma(vec_load(dy), vec_load(y), total)


cdef inline vec input_gradient(bint logarithmic, vec dy, vec y, vec total) noexcept nogil:
    if logarithmic:
        return vec_sub(dy, vec_mul(power(y), total))
    return vec_mul(y, vec_sub(dy, total))


# One vector of K values, at least as many as there are lanes, along the lanes. The last group of
# lanes overlaps the one before it, and what it shares with that is not added twice. It is read
# before anything is stored, so the result may take the input's place.

cdef inline vec without_first(vec a, Py_ssize_t count) noexcept nogil:
    """a, with zeros in the first lanes."""
    return vec_where_lt(vec_load(VEC_NUMBERS), vec_set1(count), vec_zero(), a)


cdef inline real largest_of(const real* x, Py_ssize_t K) noexcept nogil:
    cdef vec peak[CHAINS]
    cdef Py_ssize_t j, i = 0
    for j in range(CHAINS):
        peak[j] = vec_load(x + K - LANES)
    while i + CHAINS * LANES <= K:
        for j in range(CHAINS):
            peak[j] = vec_max(vec_load(x + i + j * LANES), peak[j])
        i += CHAINS * LANES
    while i + LANES <= K:
        peak[0] = vec_max(vec_load(x + i), peak[0])
        i += LANES
    for j in range(1, CHAINS):
        peak[0] = vec_max(peak[j], peak[0])
    return vec_reduce_max(peak[0])


cdef void softmax_row(bint logarithmic, Py_ssize_t K, const real* x, real* y) noexcept nogil:
    cdef vec tail = vec_load(x + K - LANES)
    cdef vec peak = vec_set1(largest_of(x, K))
    cdef vec total = vec_zero()
    cdef vec e
    cdef Py_ssize_t i, groups = K // LANES, rest = K - groups * LANES
    tail = vec_sub(tail, peak)
    for i in range(groups):
        e = power(vec_sub(vec_load(x + i * LANES), peak))
        total = vec_add(total, e)
        if not logarithmic:
            vec_store(y + i * LANES, e)
    if rest > 0:
        e = power(tail)
        total = vec_add(total, without_first(e, LANES - rest))
        tail = tail if logarithmic else e
    if logarithmic:
        total = vec_set1(logarithm_of_sum(vec_reduce(total)))
        for i in range(groups):
            vec_store(y + i * LANES, vec_sub(vec_sub(vec_load(x + i * LANES), peak), total))
        if rest > 0:
            vec_store(y + K - LANES, vec_sub(tail, total))
        return
    total = vec_set1(1 / vec_reduce(total))
    for i in range(groups):
        vec_store(y + i * LANES, vec_mul(vec_load(y + i * LANES), total))
    if rest > 0:
        vec_store(y + K - LANES, vec_mul(tail, total))


cdef void softmax_row_backward(bint logarithmic, Py_ssize_t K, const real* dy, const real* y,
                               real* dx) noexcept nogil:
    cdef vec tail = vec_load(dy + K - LANES)
    cdef vec chain[CHAINS]
    cdef vec total
    cdef Py_ssize_t j, i = 0, groups = K // LANES, rest = K - groups * LANES
    for j in range(CHAINS):
        chain[j] = vec_zero()
    while i + CHAINS * LANES <= K:
        for j in range(CHAINS):
            chain[j] = add_term(logarithmic, dy + i + j * LANES, y + i + j * LANES, chain[j])
        i += CHAINS * LANES
    while i + LANES <= K:
        chain[0] = add_term(logarithmic, dy + i, y + i, chain[0])
        i += LANES
    total = vec_add(vec_add(chain[0], chain[1]), vec_add(chain[2], chain[3]))
    if rest > 0:
        total = vec_add(total, without_first(
            add_term(logarithmic, dy + K - LANES, y + K - LANES, vec_zero()), LANES - rest))
    total = vec_set1(vec_reduce(total))
    for i in range(groups):
        vec_store(dx + i * LANES, input_gradient(logarithmic, vec_load(dy + i * LANES),
                                                 vec_load(y + i * LANES), total))
    if rest > 0:
        vec_store(dx + K - LANES, input_gradient(logarithmic, tail, vec_load(y + K - LANES),
                                                 total))


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
    if s.inner == 1:
        return vector * s.K  # without a division, three for each row of a unit
    return vector // s.inner * s.K * s.inner + vector % s.inner


cdef inline void compute_lanes(const Softmax* s, const real* a, const real* b, Py_ssize_t stride,
                               real* to, Py_ssize_t to_stride) noexcept nogil:
    if b is NULL:
        softmax_lanes(s.logarithmic, s.K, a, stride, to, to_stride)
    else:
        softmax_lanes_backward(s.logarithmic, s.K, a, b, stride, to, to_stride)


cdef inline void compute_row(const Softmax* s, const real* a, const real* b,
                             real* to) noexcept nogil:
    if b is NULL:
        softmax_row(s.logarithmic, s.K, a, to)
    else:
        softmax_row_backward(s.logarithmic, s.K, a, b, to)


cdef void softmax_unit(const Softmax* s, Py_ssize_t unit, const void* a, const void* b, void* to,
                       void* scratch) noexcept nogil:
    """x -> y, or dy and y -> dx; scratch of softmax_scratch values."""
    cdef const real* x = <const real*>a
    cdef const real* y = <const real*>b
    cdef real* result = <real*>to
    cdef real* tile = <real*>scratch
    cdef real* vectors[LANES]
    cdef bint along = softmax_along(s, LANES)
    cdef Py_ssize_t width = softmax_width(s, LANES)
    cdef Py_ssize_t lane, lanes, blocks, block, wide, row, at, first = unit * width
    if s.inner >= LANES:
        # The last block is moved back to be whole, and stores what is not another's.
        blocks, wide = softmax_blocks(s, LANES), s.inner // (s.wide * LANES)
        block = unit % blocks
        at = min(block, wide) * s.wide * LANES + max(block - wide, 0) * LANES
        lanes = min(<Py_ssize_t>LANES, s.inner - at)
        first = unit // blocks * s.K * s.inner + at + lanes - LANES
        x, result = x + first, result + first
        y = y if y is NULL else y + first
        if s.wide == WIDE and block < wide:
            softmax_wide_backward(s.logarithmic, s.K, x, y, s.inner, result)
            return
        if lanes == LANES:
            compute_lanes(s, x, y, s.inner, result, s.inner)
            return
        compute_lanes(s, x, y, s.inner, tile, LANES)
        for lane in range(LANES - lanes, LANES):
            vectors[lane - LANES + lanes] = result + lane
        move_vectors(s, vectors, LANES, lanes, tile + LANES - lanes, True)
        return
    lanes = min(width, s.outer * s.inner - first)
    if along and s.inner == 1:
        for row in range(first, first + lanes):
            at = row * s.K
            compute_row(s, x + at, y if y is NULL else y + at, result + at)
        return
    for lane in range(width):  # dead lanes are as the last one
        vectors[lane] = <real*>x + place_of(s, first + min(lane, lanes - 1))
    move_vectors(s, vectors, width, lanes, tile, False)
    if y is not NULL:
        for lane in range(width):
            vectors[lane] = <real*>y + place_of(s, first + min(lane, lanes - 1))
        move_vectors(s, vectors, width, lanes, tile + s.K * width, False)
        y = tile + s.K * width
    if along:
        compute_row(s, tile, y, tile)
    else:
        compute_lanes(s, tile, y, LANES, tile, LANES)
    for lane in range(lanes):
        vectors[lane] = result + place_of(s, first + lane)
    move_vectors(s, vectors, width, lanes, tile, True)
