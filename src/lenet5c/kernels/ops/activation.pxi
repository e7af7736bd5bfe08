# Elementwise activations on a tile, and the exponential they share with the loss.
#
#   relu: y = max(x, 0)               dx = dy where y > 0
#   sigmoid: y = 1 / (1 + exp(-x))    dx = dy y (1 - y)
#   tanh:                             dx = dy (1 - y^2)
#   scaled tanh: y = A tanh(S x)      dx = dy (A S - S / A y^2)
#
# Every gradient is a function of y, so an activation may overwrite its input.

cdef inline v16 exponential(v16 x) noexcept nogil:
    """exp to 2 ulp: x = n ln 2 + r, exp(x) = 2^n P(r), P of degree 7 (Cephes' coefficients);
    saturates, never inf."""
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
    return v16_mul(p, v16_pow2(n))


cdef inline v16 relu(v16 x) noexcept nogil:
    return v16_max(v16_zero(), x)


cdef inline v16 sigmoid(v16 x) noexcept nogil:
    return v16_div(v16_set1(1), v16_add(v16_set1(1), exponential(v16_sub(v16_zero(), x))))


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


cdef void activation_forward(const Op* op, const float* x, float* y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(0, op.C * op.H * op.W * 16, 16):
        if op.kind == RELU:
            v16_store(y + i, relu(v16_load(x + i)))
        elif op.kind == SIGMOID:
            v16_store(y + i, sigmoid(v16_load(x + i)))
        elif op.kind == TANH:
            v16_store(y + i, tanh(v16_load(x + i)))
        else:
            v16_store(y + i, v16_mul(v16_set1(op.amplitude),
                                     tanh(v16_mul(v16_set1(op.slope), v16_load(x + i)))))


cdef inline v16 passed_by_relu(v16 y, v16 dy) noexcept nogil:
    return v16_where_lt(v16_zero(), y, dy, v16_zero())


cdef void activation_backward(const Op* op, const float* y, const float* dy,
                              float* dx) noexcept nogil:
    cdef Py_ssize_t i
    cdef v16 out, g
    for i in range(0, op.C * op.H * op.W * 16, 16):
        out = v16_load(y + i)
        g = v16_load(dy + i)
        if op.kind == RELU:
            g = passed_by_relu(out, g)
        elif op.kind == SIGMOID:
            g = v16_mul(g, v16_mul(out, v16_sub(v16_set1(1), out)))
        elif op.kind == TANH:
            g = v16_mul(g, v16_sub(v16_set1(1), v16_mul(out, out)))
        else:
            g = v16_mul(g, v16_fma(v16_mul(out, out), v16_set1(-op.slope / op.amplitude),
                                   v16_set1(op.amplitude * op.slope)))
        v16_store(dx + i, g)


cdef void mask_gradient(const Op* op, const float* y, float* dy) noexcept nogil:
    """The gradient of an op with a rectified output, before the rectifier."""
    cdef Py_ssize_t i
    for i in range(0, op.O * op.OH * op.OW * 16, 16):
        v16_store(dy + i, passed_by_relu(v16_load(y + i), v16_load(dy + i)))
