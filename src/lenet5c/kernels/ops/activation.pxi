# Elementwise activations on a tile. `activate` has the formulas, `activate_backward` the gradients;
# to add one, add a line to each, its number and its name.
#
#   relu          y = max(x, 0)            dx = dy where y > 0
#   sigmoid       y = 1 / (1 + exp(-x))    dx = dy y (1 - y)
#   tanh                                   dx = dy (1 - y^2)
#   scaled tanh   y = A tanh(S x)          dx = dy (A S - S / A y^2), A and S the constants
#   leaky relu    y = x or S x             dx = dy where x > 0, S dy elsewhere, S the constant
#
# An activation whose gradient is a function of y alone (reads_y) may overwrite its input.

cdef enum:
    RELU
    SIGMOID
    TANH
    SCALED_TANH
    LEAKY_RELU


cdef inline v16 activate(int function, const float* constants, v16 x) noexcept nogil:
    if function == RELU:
        return v16_max(v16_zero(), x)
    if function == SIGMOID:
        return v16_div(v16_set1(1), v16_add(v16_set1(1), exponential(v16_sub(v16_zero(), x))))
    if function == TANH:
        return tanh(x)
    if function == LEAKY_RELU:
        return v16_where_lt(v16_zero(), x, x, v16_mul(v16_set1(constants[0]), x))
    return v16_mul(v16_set1(constants[0]), tanh(v16_mul(v16_set1(constants[1]), x)))


cdef inline v16 activate_backward(
    int function, const float* constants, v16 x, v16 y, v16 dy,
) noexcept nogil:
    if function == RELU:
        return where_positive(y, dy)
    if function == SIGMOID:
        return v16_mul(dy, v16_mul(y, v16_sub(v16_set1(1), y)))
    if function == TANH:
        return v16_mul(dy, v16_sub(v16_set1(1), v16_mul(y, y)))
    if function == LEAKY_RELU:
        return v16_where_lt(v16_zero(), x, dy, v16_mul(v16_set1(constants[0]), dy))
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
    """The gradient of an op with a rectified output, before the rectifier."""
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
