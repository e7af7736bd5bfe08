# The weight gradient of the convolution of winograd.pxi: dg = G^T sum of E * V.
#
# The gradient of a tap whose products are all zero would be what rounding leaves of its neighbors':
# a row of taps with one that is so small beside what it was summed from is summed anew by the
# definition. y and dd need nothing like it: the inputs that their definition
# does not take have no part in the products that they are sums of.

cdef enum:
    MAX_CANCELED = 1 << 14    # times a tap's gradient may be smaller than its terms


cdef inline v16 transform_sums(const float* m, Py_ssize_t plane, float* dg) noexcept nogil:
    """dg (5, 16) = G^T m of 16 filter rows, m (8, plane); at least 0 where no tap is so small that
    it may be the rounding of others.
    """
    cdef v16 taps[TAPS]
    cdef v16 terms[TERMS]
    cdef v16 even1, odd1, even2, odd2, even3, odd3, least, size
    cdef int i
    for i in range(TERMS):
        terms[i] = v16_load(m + i * plane)
    even1 = v16_mul(v16_set1(-2. / 9), v16_add(terms[1], terms[2]))
    odd1 = v16_mul(v16_set1(-2. / 9), v16_sub(terms[1], terms[2]))
    even2 = v16_mul(v16_set1(1. / 90), v16_add(terms[3], terms[4]))
    odd2 = v16_mul(v16_set1(1. / 90), v16_sub(terms[3], terms[4]))
    even3 = v16_mul(v16_set1(2. / 45), v16_add(terms[5], terms[6]))
    odd3 = v16_mul(v16_set1(2. / 45), v16_sub(terms[5], terms[6]))
    taps[0] = v16_fma(v16_set1(16), even3, v16_add(v16_add(terms[0], even1), even2))
    taps[1] = v16_fma(v16_set1(8), odd3, v16_fma(v16_set1(2), odd2, odd1))
    taps[2] = v16_fma(v16_set1(4), even3, v16_fma(v16_set1(4), even2, even1))
    taps[3] = v16_fma(v16_set1(2), odd3, v16_fma(v16_set1(8), odd2, odd1))
    taps[4] = v16_add(v16_add(v16_fma(v16_set1(16), even2, even1), even3), terms[7])
    for i in range(TERMS):
        terms[i] = magnitude(terms[i])
    size = v16_add(terms[0], terms[7])
    size = v16_fma(v16_set1(2. / 9), v16_add(terms[1], terms[2]), size)
    size = v16_fma(v16_set1(16. / 90), v16_add(terms[3], terms[4]), size)
    size = v16_fma(v16_set1(32. / 45), v16_add(terms[5], terms[6]), size)
    least = magnitude(taps[0])
    for i in range(TAPS):
        v16_store(dg + i * LANES, taps[i])
        least = v16_where_lt(magnitude(taps[i]), least, magnitude(taps[i]), least)
    return v16_sub(v16_mul(least, v16_set1(MAX_CANCELED)), size)


cdef inline v16 magnitude(v16 a) noexcept nogil:
    return v16_max(a, v16_sub(v16_zero(), a))


cdef inline void winograd_dweight_block(
    const Op* op, const float* V, const float* E, float* m, Py_ssize_t next_output, int TO, int TK,
) noexcept nogil:
    """One term of TO outputs x TK filter rows: m[i next_output + k] = sum of E * V."""
    cdef float sums[32 * LANES]
    cdef nv acc[32]
    cdef nv e[4]
    cdef nv v
    cdef int i, k
    cdef Py_ssize_t place, at, part, row = row_floats(op)
    cdef Py_ssize_t places = op.OH * row
    for part in range(V16_PARTS):
        for i in range(TO * TK):
            acc[i] = nv_set1(0)
        for place in range(places // LANES):
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
    cdef Py_ssize_t kh = 0, row = row_floats(op)
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
    """One group; m (8, O * C * KH, rounded up) takes the sums of products."""
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t row = row_floats(op), next_output = channels * op.KH
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
                size = block_size(outputs, o, 4 if NV_REGISTERS == 32 else 2)
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
    cdef Py_ssize_t channels = op.C // op.groups, o, c, kh, row = 0
    cdef int k
    for o in range(op.O // op.groups):
        for c in range(channels):
            for kh in range(op.KH):
                if row % LANES == 0:
                    v16_store(margin, transform_sums(m + row, plane, dg))
                if margin[row % LANES] >= 0:
                    for k in range(TAPS):
                        dweight[k] += dg[k * LANES + row % LANES]
                else:
                    conv2d_dweight_rows(op, x + (c * op.H + kh * op.DH) * op.W * LANES,
                                        dy + o * op.OH * op.OW * LANES, NULL, NULL, dweight, NULL,
                                        1, 1, 1, TAPS)
                dweight += TAPS
                row += 1
