# A convolution op on a tile, forward and backward, by the way that suits it: conv2d.pxi and
# conv2d_gradients.pxi by the definition, winograd.pxi with fewer multiplications. A connection
# table is a matter of zeros among the filters: the sums of a record are those of all filters, and
# only those that there are get picked from it.

cdef void conv2d_forward(const Op* op, const float* params, float* arena,
                         float* scratch) noexcept nogil:
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t plane = (op.OH // 2) * (op.OW // 2) * 16 if op.pool else op.OH * op.OW * 16
    cdef Py_ssize_t group
    cdef const float* x
    cdef const float* weight
    cdef const float* bias
    cdef float* y
    cdef float* argmax
    cdef const float* filters = params + op.weight
    if op.connections is not NULL:
        spread_filters(op, filters, scratch)
        filters = scratch
        scratch += op.O * op.C * op.KH * op.KW
    for group in range(op.groups):
        x = arena + op.x + group * channels * op.H * op.W * 16
        weight = filters + group * outputs * channels * op.KH * op.KW
        bias = params + (op.bias + group * outputs if op.has_bias else 0)
        y = arena + op.y + group * outputs * plane
        argmax = arena + op.argmax + group * outputs * plane
        if op.winograd:
            winograd_forward(op, x, weight, bias, y, argmax, scratch)
        else:
            conv2d_group(op, x, weight, bias, y, argmax, scratch)


cdef inline void conv2d_dbias(const Op* op, const float* dy, float* dbias) noexcept nogil:
    cdef Py_ssize_t o, i
    cdef v16 total
    for o in range(op.O):
        total = v16_zero()
        for i in range(op.OH * op.OW):
            total = v16_add(total, v16_load(dy + (o * op.OH * op.OW + i) * 16))
        dbias[o] += v16_reduce(total)


cdef void conv2d_unpool(const Op* op, const float* argmax, const float* dy,
                        float* dx) noexcept nogil:
    """Hand the gradient of each 2 x 2 window to the element it chose: (O, OH / 2, OW / 2, 16) to
    (O, OH, OW, 16)."""
    cdef Py_ssize_t row, ow, width = op.OW * 16
    cdef v16 g, which
    for row in range(op.O * (op.OH // 2)):
        for ow in range(op.OW // 2):
            g = v16_load(dy)
            which = v16_load(argmax)
            v16_store(dx + ow * 32, v16_where_eq(which, v16_zero(), g, v16_zero()))
            v16_store(dx + ow * 32 + 16, v16_where_eq(which, v16_set1(1), g, v16_zero()))
            v16_store(dx + width + ow * 32, v16_where_eq(which, v16_set1(2), g, v16_zero()))
            v16_store(dx + width + ow * 32 + 16, v16_where_eq(which, v16_set1(3), g, v16_zero()))
            dy += 16
            argmax += 16
        dx += 2 * width


cdef void conv2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* scratch,
) noexcept nogil:
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t group, weight, x_start, y_start
    cdef const float* dy = gradients + op.y
    cdef const float* filters = params + op.weight
    if op.connections is not NULL:
        spread_filters(op, filters, scratch)
        filters = scratch
        scratch += op.O * op.C * op.KH * op.KW
    if op.pool:
        conv2d_unpool(op, arena + op.argmax, gradients + op.y, scratch)
        dy = scratch
        scratch += op.O * op.OH * op.OW * 16
    if op.winograd and op.has_bias:
        conv2d_dbias(op, dy, sums + op.dbias)
    for group in range(op.groups):
        weight = group * outputs * channels * op.KH * op.KW
        x_start = op.x + group * channels * op.H * op.W * 16
        y_start = group * outputs * op.OH * op.OW * 16
        if op.winograd:
            winograd_backward(op, filters + weight, arena + x_start, dy + y_start,
                              gradients + x_start if need_dx else NULL, sums + op.dweight + weight,
                              scratch)
            continue
        conv2d_dweight(op, arena + x_start, dy + y_start, sums + op.dweight + weight,
                       sums + (op.dbias + group * outputs if op.has_bias else 0))
        if need_dx:
            conv2d_dx(op, filters + weight, dy + y_start, gradients + x_start)
