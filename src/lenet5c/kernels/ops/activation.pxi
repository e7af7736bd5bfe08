# Elementwise activations on a tile. `activate` has the formulas, `activate_backward` the gradients;
# to add one, add a line to each, its number and its name.
#
#   relu          y = max(x, 0)            dx = dy where y > 0
#   sigmoid       y = 1 / (1 + exp(-x))    dx = dy y (1 - y)
#   tanh                                   dx = dy (1 - y^2)
#   scaled tanh   y = A tanh(S x)          dx = dy (A S - S / A y^2), A and S the constants
#   leaky relu    y = x or S x             dx = dy where x > 0, S dy elsewhere, S the constant
#   gelu          y = x C(x)               dx = dy (C(x) + x C'(x))
#
# C(x) is the normal distribution function, or with the constant 1 its approximation 1 / (1 +
# exp(-2 u)), that is (1 + tanh(u)) / 2, with u = sqrt(2 / pi) (x + 0.044715 x^3).
#
# An activation whose gradient is a function of y alone (reads_y) may overwrite its input.

cdef enum:
    RELU
    SIGMOID
    TANH
    SCALED_TANH
    LEAKY_RELU
    GELU


cdef inline v16 magnitude_below(v16 x, float most) noexcept nogil:
    """|x|, and `most` where that is larger or not a number."""
    cdef v16 size = v16_where_lt(x, v16_zero(), v16_sub(v16_zero(), x), x)
    return v16_where_lt(size, v16_set1(most), size, v16_set1(most))


cdef inline v16 gelu_share(bint approximate, v16 x, v16* slope) noexcept nogil:
    """C(x), and x C'(x); where one of C(x) and C(-x) is below 1e-36, they are 0 and 1."""
    cdef v16 one = v16_set1(1), zero = v16_zero()
    cdef v16 a, square, low, e, t, p
    if approximate:
        a = magnitude_below(x, 10)
        square = v16_mul(a, a)
        # -2 u of a, and its derivative
        t = v16_mul(a, v16_fma(square, v16_set1(-0.0713548162726), v16_set1(-1.59576912161)))
        p = v16_fma(square, v16_set1(0.214064448818), v16_set1(1.59576912161))
        e = exponential(t)
        e = v16_where_lt(v16_set1(-83), t, e, zero)
        t = v16_div(one, v16_add(one, e))
        slope[0] = v16_mul(v16_mul(x, p), v16_mul(v16_mul(e, t), t))
        p = v16_mul(e, t)  # C(-a)
    else:
        a = magnitude_below(x, 13)
        # exp(-a^2 / 2), with what a^2 loses by its rounding
        square = v16_mul(a, a)
        low = v16_fma(a, a, v16_sub(zero, square))
        e = exponential(v16_mul(square, v16_set1(-0.5)))
        e = v16_fma(v16_mul(e, low), v16_set1(-0.5), e)
        e = v16_where_lt(a, v16_set1(12.8), e, zero)
        slope[0] = v16_mul(x, v16_mul(e, v16_set1(0.398942280401)))
        # C(-a) exp(a^2 / 2), to 2 ulp: a polynomial in t = 1 / (1 + 0.35 a), fitted to 13
        t = v16_div(one, v16_fma(a, v16_set1(0.35), one))
        p = v16_set1(-0.0290951658)
        p = v16_fma(p, t, v16_set1(0.143719885))
        p = v16_fma(p, t, v16_set1(-0.255182945))
        p = v16_fma(p, t, v16_set1(0.158553116))
        p = v16_fma(p, t, v16_set1(-0.0226713322))
        p = v16_fma(p, t, v16_set1(0.105317131))
        p = v16_fma(p, t, v16_set1(0.119882712))
        p = v16_fma(p, t, v16_set1(0.139854755))
        p = v16_fma(p, t, v16_set1(0.139621828))
        p = v16_mul(e, v16_mul(p, t))  # C(-a)
    return v16_where_lt(x, zero, p, v16_sub(one, p))


cdef inline v16 activate(int function, const float* constants, v16 x) noexcept nogil:
    cdef v16 slope
    if function == RELU:
        return v16_max(v16_zero(), x)
    if function == SIGMOID:
        return v16_div(v16_set1(1), v16_add(v16_set1(1), exponential(v16_sub(v16_zero(), x))))
    if function == TANH:
        return tanh(x)
    if function == LEAKY_RELU:
        return v16_where_lt(v16_zero(), x, x, v16_mul(v16_set1(constants[0]), x))
    if function == GELU:
        return v16_mul(x, gelu_share(constants[0] != 0, x, &slope))
    return v16_mul(v16_set1(constants[0]), tanh(v16_mul(v16_set1(constants[1]), x)))


cdef inline v16 activate_backward(
    int function, const float* constants, v16 x, v16 y, v16 dy,
) noexcept nogil:
    cdef v16 share, slope
    if function == RELU:
        return where_positive(y, dy)
    if function == SIGMOID:
        return v16_mul(dy, v16_mul(y, v16_sub(v16_set1(1), y)))
    if function == TANH:
        return v16_mul(dy, v16_sub(v16_set1(1), v16_mul(y, y)))
    if function == LEAKY_RELU:
        return v16_where_lt(v16_zero(), x, dy, v16_mul(v16_set1(constants[0]), dy))
    if function == GELU:
        share = gelu_share(constants[0] != 0, x, &slope)
        return v16_mul(dy, v16_add(share, slope))
    return v16_mul(dy, v16_fma(v16_mul(y, y), v16_set1(-constants[1] / constants[0]),
                               v16_set1(constants[0] * constants[1])))


cdef void activation_forward(const Op* op, const float* params, float* arena,
                             float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef float* y = arena + op.y
    cdef int function = op.kernels.function
    cdef Py_ssize_t i
    for i in range(op.C * op.H * op.W):
        v16_store(y + i * LANES, activate(function, op.constants, v16_load(x + i * LANES)))


cdef void activation_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef const float* y = arena + op.y
    cdef const float* dy = gradients + op.y
    cdef float* dx = gradients + op.x
    cdef int function = op.kernels.function
    cdef Py_ssize_t i
    if not need_dx:
        return
    for i in range(op.C * op.H * op.W):
        v16_store(dx, activate_backward(function, op.constants, v16_load(x), v16_load(y),
                                        v16_load(dy)))
        x, y, dy, dx = x + LANES, y + LANES, dy + LANES, dx + LANES


cdef void mask_gradient(const Op* op, const float* y, float* dy) noexcept nogil:
    """Return the gradient before the rectifier of an op with a rectified output."""
    cdef Py_ssize_t i
    for i in range(op.O * op.OH * op.OW):
        v16_store(dy, where_positive(v16_load(y), v16_load(dy)))
        y, dy = y + LANES, dy + LANES


cdef void add_activation(const char* name, int function, bint reads_x, bint reads_y):
    cdef OpKernels* row = add_op(name, activation_forward, activation_backward)
    row.function, row.reads_x, row.reads_y = function, reads_x, reads_y


add_activation(b"relu", RELU, False, True)
add_activation(b"sigmoid", SIGMOID, False, True)
add_activation(b"tanh", TANH, False, True)
add_activation(b"scaled_tanh", SCALED_TANH, False, True)
add_activation(b"leaky_relu", LEAKY_RELU, True, False)
add_activation(b"gelu", GELU, True, False)
