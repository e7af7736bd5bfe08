# The fully connected layer on a tile: y[o] = bias[o] + sum over i of x[i] * weight[o, i].
#
# x (I, 16), y (O, 16), weight (O, I). Its forward pass is conv2d_forward with the filter as wide as the input.
# The weight gradient has no positions to sum over, only lanes: x is transposed once, so that sixteen neighbouring
# weights lie in a vector and take one multiply-add a lane, without any sum across lanes.

cdef inline void linear_dx_block(
    const float* weight, const float* dy, float* dx, Py_ssize_t I, Py_ssize_t O, int TI,
) noexcept nogil:
    """dx of TI neighbouring inputs; weight and dx point at the first."""
    cdef v16 acc[32]
    cdef v16 g
    cdef int i
    cdef Py_ssize_t o
    for i in range(TI):
        acc[i] = v16_zero()
    for o in range(O):
        g = v16_load(dy + o * 16)
        for i in range(TI):
            acc[i] = v16_fma(g, v16_set1(weight[o * I + i]), acc[i])
    for i in range(TI):
        v16_store(dx + i * 16, acc[i])


cdef inline void linear_dx(const float* weight, const float* dy, float* dx, Py_ssize_t I, Py_ssize_t O) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int width = 24 if V16_WIDE else 6
    while i + width <= I:
        linear_dx_block(weight + i, dy, dx + i * 16, I, O, 24 if V16_WIDE else 6)
        i += width
    while i + 4 <= I:
        linear_dx_block(weight + i, dy, dx + i * 16, I, O, 4)
        i += 4
    while i < I:
        linear_dx_block(weight + i, dy, dx + i * 16, I, O, 1)
        i += 1


cdef inline void linear_dweight_block(
    const float* xt, const float* dy, float* dweight, Py_ssize_t I, int TO,
) noexcept nogil:
    """TO outputs x 16 inputs; xt holds the lanes of those 16 inputs, one row of 16 a lane."""
    cdef v16 acc[8]
    cdef v16 inputs
    cdef int i, lane
    for i in range(TO):
        acc[i] = v16_load(dweight + i * I)
    for lane in range(16):
        inputs = v16_load(xt + lane * 16)
        for i in range(TO):
            acc[i] = v16_fma(inputs, v16_set1(dy[i * 16 + lane]), acc[i])
    for i in range(TO):
        v16_store(dweight + i * I, acc[i])


cdef void linear_dweight(const float* x, const float* dy, float* dweight, Py_ssize_t I, Py_ssize_t O) noexcept nogil:
    cdef float xt[16 * 16]
    cdef float row[16]
    cdef Py_ssize_t first, i, o, width
    cdef int lane
    for first in range(0, I, 16):
        width = min(<Py_ssize_t>16, I - first)
        for i in range(width):
            for lane in range(16):
                xt[lane * 16 + i] = x[(first + i) * 16 + lane]
        for i in range(width, 16):
            for lane in range(16):
                xt[lane * 16 + i] = 0
        o = 0
        if width == 16:
            while o + 6 <= O:
                linear_dweight_block(xt, dy + o * 16, dweight + o * I + first, I, 6)
                o += 6
            while o < O:
                linear_dweight_block(xt, dy + o * 16, dweight + o * I + first, I, 1)
                o += 1
        else:
            for o in range(O):
                memset(row, 0, sizeof(row))
                memcpy(row, dweight + o * I + first, width * sizeof(float))
                linear_dweight_block(xt, dy + o * 16, row, 16, 1)
                memcpy(dweight + o * I + first, row, width * sizeof(float))


cdef void linear_backward(
    const Op* op, const float* params, const float* x, const float* dy, float* dx, float* dparams,
) noexcept nogil:
    if op.has_bias:
        conv2d_dbias(op, dy, dparams + op.bias)
    linear_dweight(x, dy, dparams + op.weight, op.KW, op.O)
    if dx is not NULL:
        linear_dx(params + op.weight, dy, dx, op.KW, op.O)
