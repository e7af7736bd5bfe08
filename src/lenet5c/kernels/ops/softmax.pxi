# Softmax along the axis K of x (outer, K, inner), its logarithm, and the gradients of both, for
# float and double.
#
#   y = exp(x - peak) / total, or x - peak - log(total), with peak the largest x along the axis, and
#     total the sum of exp(x - peak)
#   dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy)
#
# A unit is 16 vectors side by side; or, of a long axis with less than 16 vectors side by side in
# memory, one vector, 16 elements at a time. Units that do not lie so are moved into scratch and
# back. Nothing is fused but in the exponential of float.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* 2 to the power of n, -1022 to 1023, of n + 1.5 * 2^52, whose last bits are those of n */
    static inline double lenet5c_power_of_two(double shifted) {
      uint64_t bits;
      memcpy(&bits, &shifted, sizeof bits);
      bits = (bits << 52) + ((uint64_t)1023 << 52);
      memcpy(&shifted, &bits, sizeof bits);
      return shifted;
    }
    """
    double power_of_two "lenet5c_power_of_two"(double shifted) noexcept nogil

ctypedef fused real:
    float
    double


cdef inline double double_exponential(double x) noexcept nogil:
    """exp to 1 ulp: x = n ln 2 + r, exp(x) = 2^n (1 + r + r^2 P(r)), by Taylor's series."""
    cdef double n, r, p
    x = -708. if x < -708. else x
    x = 709. if x > 709. else x
    n = x * 1.4426950408889634 + 6755399441055744.
    cdef double scale = power_of_two(n)
    n -= 6755399441055744.
    r = x - n * 6.93145751953125e-1
    r = r - n * 1.42860682030941723212e-6
    p = r * (1 / 6227020800.) + 1 / 479001600.
    p = p * r + 1 / 39916800.
    p = p * r + 1 / 3628800.
    p = p * r + 1 / 362880.
    p = p * r + 1 / 40320.
    p = p * r + 1 / 5040.
    p = p * r + 1 / 720.
    p = p * r + 1 / 120.
    p = p * r + 1 / 24.
    p = p * r + 1 / 6.
    p = p * r + 0.5
    return (1 + (r + r * r * p)) * scale


cdef inline void powers(const real* x, real* e) noexcept nogil:
    """exp of 16 values; 0 where it is less than the least normal number, or nearly."""
    cdef Py_ssize_t lane
    cdef v16 a
    if real is float:
        a = v16_load(x)
        v16_store(e, v16_where_lt(a, v16_set1(-87.3), v16_zero(), exponential(a)))
    else:
        for lane in range(LANES):
            e[lane] = double_exponential(x[lane])
        for lane in range(LANES):
            e[lane] = 0 if x[lane] < -708 else e[lane]


cdef double double_logarithm(double x) noexcept nogil:
    """log of a normal x, 1 or more, to 2 ulp, without the C library."""
    cdef int exponent = 0
    cdef double t, t2, p
    if not (1 <= x < 1e300):
        return (x - x) / (x - x)  # not a number
    while x > 1.4142135623730951:
        x *= 0.5
        exponent += 1
    t = (x - 1) / (x + 1)
    t2 = t * t
    p = t2 * (1 / 21.) + 1 / 19.
    p = p * t2 + 1 / 17.
    p = p * t2 + 1 / 15.
    p = p * t2 + 1 / 13.
    p = p * t2 + 1 / 11.
    p = p * t2 + 1 / 9.
    p = p * t2 + 1 / 7.
    p = p * t2 + 1 / 5.
    p = p * t2 + 1 / 3.
    return exponent * 0.69314718055994531 + 2 * (t + t * t2 * p)


cdef inline void load_lanes(const real* a, Py_ssize_t lanes, real fill, real* v) noexcept nogil:
    """The first lanes from memory, the others filled."""
    cdef Py_ssize_t lane
    if lanes >= LANES:
        memcpy(v, a, LANES * sizeof(real))
        return
    for lane in range(LANES):
        v[lane] = a[lane] if lane < lanes else fill


cdef inline void store_lanes(const real* v, Py_ssize_t lanes, real* to) noexcept nogil:
    cdef Py_ssize_t lane
    if lanes >= LANES:
        memcpy(to, v, LANES * sizeof(real))
        return
    for lane in range(lanes):
        to[lane] = v[lane]


cdef inline void share_largest(real* v) noexcept nogil:
    """The largest of the 16 lanes, in each of them."""
    cdef Py_ssize_t lane
    for lane in range(8):
        v[lane] = v[lane + 8] if v[lane + 8] > v[lane] else v[lane]
    for lane in range(1, 8):
        v[0] = v[lane] if v[lane] > v[0] else v[0]
    for lane in range(1, LANES):
        v[lane] = v[0]


cdef inline void share_sum(real* v) noexcept nogil:
    """The sum of the 16 lanes, in each of them, added in the order of v16_reduce."""
    cdef Py_ssize_t lane
    for lane in range(8):
        v[lane] += v[lane + 8]
    for lane in range(4):
        v[lane] += v[lane + 4]
    v[0] = (v[0] + v[2]) + (v[1] + v[3])
    for lane in range(1, LANES):
        v[lane] = v[0]


cdef inline void softmax_forward(
    bint logarithmic, bint along, Py_ssize_t size, Py_ssize_t stride, const real* x, real* y,
) noexcept nogil:
    """16 vectors side by side, or one vector along the lanes: `size` lanes in all.

    Groups of 16 lanes lie `stride` apart; y may be x.
    """
    cdef real v[LANES]
    cdef real e[LANES]
    cdef real peak[LANES]
    cdef real total[LANES]
    cdef Py_ssize_t i, lane, count = (size + LANES - 1) // LANES
    for lane in range(LANES):
        peak[lane], total[lane] = <real>-INFINITY, 0
    for i in range(count):
        load_lanes(x + i * stride, size - i * LANES, <real>-INFINITY, v)
        for lane in range(LANES):
            peak[lane] = v[lane] if v[lane] > peak[lane] else peak[lane]
    if along:
        share_largest(peak)
    for i in range(count):
        load_lanes(x + i * stride, size - i * LANES, <real>-INFINITY, v)
        for lane in range(LANES):
            v[lane] -= peak[lane]
        powers(v, e)
        for lane in range(LANES):
            total[lane] += e[lane]
        if not logarithmic:
            store_lanes(e, size - i * LANES, y + i * stride)
    if along:
        share_sum(total)
    if logarithmic:
        total[0] = <real>double_logarithm(total[0])
        for lane in range(1, LANES):
            total[lane] = total[0] if along else <real>double_logarithm(total[lane])
    for i in range(count):
        load_lanes((x if logarithmic else <const real*>y) + i * stride, size - i * LANES, 0, v)
        for lane in range(LANES):
            v[lane] = (v[lane] - peak[lane]) - total[lane] if logarithmic else v[lane] / total[lane]
        store_lanes(v, size - i * LANES, y + i * stride)


cdef inline void softmax_backward(
    bint logarithmic, bint along, Py_ssize_t size, Py_ssize_t stride, const real* dy, const real* y,
    real* dx,
) noexcept nogil:
    """As `softmax_forward`; dx may be dy or y."""
    cdef real v[LANES]
    cdef real w[LANES]
    cdef real total[LANES]
    cdef Py_ssize_t i, lane, count = (size + LANES - 1) // LANES
    memset(total, 0, sizeof(total))
    for i in range(count):
        load_lanes(dy + i * stride, size - i * LANES, 0, v)
        if not logarithmic:
            load_lanes(y + i * stride, size - i * LANES, 0, w)
            for lane in range(LANES):
                v[lane] *= w[lane]
        for lane in range(LANES):
            total[lane] += v[lane]
    if along:
        share_sum(total)
    for i in range(count):
        load_lanes(dy + i * stride, size - i * LANES, 0, v)
        load_lanes(y + i * stride, size - i * LANES, 0, w)
        if logarithmic:
            powers(w, w)
        for lane in range(LANES):
            v[lane] = (v[lane] - w[lane] * total[lane] if logarithmic
                       else w[lane] * (v[lane] - total[lane]))
        store_lanes(v, size - i * LANES, dx + i * stride)


cdef inline void softmax_vectors(
    bint logarithmic, bint along, Py_ssize_t size, Py_ssize_t stride, const real* a, const real* b,
    real* to,
) noexcept nogil:
    if b is NULL:
        softmax_forward(logarithmic, along, size, stride, a, to)
    else:
        softmax_backward(logarithmic, along, size, stride, a, b, to)


cdef inline void move_vectors(
    const Softmax* s, const Py_ssize_t* places, Py_ssize_t width, Py_ssize_t lanes, real* plain,
    real* tile, bint back,
) noexcept nogil:
    """Vectors that begin at these places -> tile (K, width), or back the first lanes."""
    cdef Py_ssize_t k, lane
    for k in range(s.K):
        for lane in range(lanes if back else width):
            if back:
                plain[places[lane] + k * s.inner] = tile[k * width + lane]
            else:
                tile[k * width + lane] = plain[places[lane] + k * s.inner]


cdef void softmax_unit(
    const Softmax* s, Py_ssize_t unit, const real* a, const real* b, real* to, real* scratch,
) noexcept nogil:
    """x -> y, or dy and y -> dx; scratch of softmax_scratch values."""
    cdef Py_ssize_t places[LANES]
    cdef bint along = softmax_runs_along(s)
    cdef Py_ssize_t width = 1 if along else LANES, size = s.K * width
    cdef Py_ssize_t lane, at, first = unit * width
    cdef Py_ssize_t lanes = min(width, s.outer * s.inner - first)
    for lane in range(width):
        at = first + (lane if lane < lanes else 0)  # dead lanes are as the first
        places[lane] = at // s.inner * s.K * s.inner + at % s.inner
    at = places[0]
    if s.inner == 1 if along else places[LANES - 1] == at + LANES - 1:
        b = b if b is NULL else b + at
        softmax_vectors(s.logarithmic, along, size, LANES if along else s.inner, a + at, b, to + at)
        return
    move_vectors(s, places, width, lanes, <real*>a, scratch, False)
    if b is not NULL:
        move_vectors(s, places, width, lanes, <real*>b, scratch + size, False)
        b = scratch + size
    softmax_vectors(s.logarithmic, along, size, LANES, scratch, b, scratch)
    move_vectors(s, places, width, lanes, to, scratch, True)
