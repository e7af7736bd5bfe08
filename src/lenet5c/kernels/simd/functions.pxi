# Functions of 16 lanes that several ops share: exponential, hyperbolic tangent, logarithm, maximum.

cdef inline v16 larger(v16 best, v16 a) noexcept nogil:
    """The larger of both, the first of equals, and not-a-number if either is."""
    return v16_where_le(a, a, v16_max(a, best), a)


cdef inline v16 where_positive(v16 a, v16 b) noexcept nogil:
    """b where a > 0, and 0 elsewhere."""
    return v16_where_lt(v16_zero(), a, b, v16_zero())


cdef inline v16 exponential(v16 x) noexcept nogil:
    """exp to 2 ulp: x = n ln 2 + r, exp(x) = 2^n P(r), P of degree 7 (Cephes); saturates."""
    cdef v16 n, r, p
    x = v16_max(v16_set1(-87.3), x)
    x = v16_where_lt(v16_set1(88.3), x, v16_set1(88.3), x)
    # Adding and taking away 1.5 * 2^23 rounds to a whole number.
    n = v16_sub(v16_add(v16_mul(x, v16_set1(1.44269504088896341)), v16_set1(12582912.0)),
                v16_set1(12582912.0))
    r = v16_fma(n, v16_set1(-0.693359375), x)
    r = v16_fma(n, v16_set1(2.12194440e-4), r)
    p = v16_set1(1.9875691500e-4)
    p = v16_fma(p, r, v16_set1(1.3981999507e-3))
    p = v16_fma(p, r, v16_set1(8.3334519073e-3))
    p = v16_fma(p, r, v16_set1(4.1665795894e-2))
    p = v16_fma(p, r, v16_set1(1.6666665459e-1))
    p = v16_fma(p, r, v16_set1(5.0000001201e-1))
    p = v16_fma(p, v16_mul(r, r), v16_add(r, v16_set1(1)))
    return v16_scale(p, n)


cdef inline v16 tanh(v16 x) noexcept nogil:
    """From exp(-2|x|); near zero, where that cancels, an odd polynomial (Cephes' coefficients)."""
    cdef v16 zero = v16_zero(), one = v16_set1(1)
    cdef v16 size = v16_where_lt(x, zero, v16_sub(zero, x), x)
    cdef v16 e = exponential(v16_mul(size, v16_set1(-2)))
    cdef v16 large = v16_div(v16_sub(one, e), v16_add(one, e))
    cdef v16 z = v16_mul(x, x)
    cdef v16 p = v16_set1(-5.70498872745e-3)
    p = v16_fma(p, z, v16_set1(2.06390887954e-2))
    p = v16_fma(p, z, v16_set1(-5.37397155531e-2))
    p = v16_fma(p, z, v16_set1(1.33314422036e-1))
    p = v16_fma(p, z, v16_set1(-3.33332819422e-1))
    p = v16_fma(v16_mul(p, z), x, x)
    large = v16_where_lt(x, zero, v16_sub(zero, large), large)
    return v16_where_lt(size, v16_set1(0.625), p, large)


cdef union Bits:
    double value
    uint64_t bits


cdef inline void logarithms(const double* x, Py_ssize_t count, double* to) noexcept nogil:
    """log of each x >= 1 without the C library, the same bits on every machine; NaN from 1e300 on.

    x = 2^n m, with m near 1. A plain loop, which compilers turn into vector code.
    """
    cdef Py_ssize_t i
    cdef Bits mantissa, exponent
    cdef double m, n, t, t2, result
    for i in range(count):
        mantissa.value = exponent.value = x[i]
        mantissa.bits = (mantissa.bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL
        # The bits of 2^52 + (n + 1023)
        exponent.bits = (exponent.bits >> 52) | 0x4330000000000000ULL
        m, n = mantissa.value, exponent.value - (4503599627370496. + 1023)
        n = n + 1 if m > 1.4142135623730951 else n
        m = m * 0.5 if m > 1.4142135623730951 else m
        t = (m - 1) / (m + 1)
        t2 = t * t
        result = n * 0.69314718055994531 + 2 * t * (
            1 + t2 * (1 / 3.
                      + t2 * (1 / 5.
                              + t2 * (1 / 7.
                                      + t2 * (1 / 9. + t2 * (1 / 11. + t2 * (1 / 13. + t2 / 15.)))))))
        to[i] = result if (x[i] >= 1) & (x[i] < 1e300) else <double>NAN
