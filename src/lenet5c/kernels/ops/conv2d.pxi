# Convolution on a tile, without padding (a padded one is preceded by a PAD2D op).
#
#   y[o, oh, ow] = bias[o] + sum over c, kh, kw of x[c, oh SH + kh DH, ow SW + kw DW] * weight[o, c,
#     kh, kw]
#
# x (C, H, W, 16), y (O, OH, OW, 16), weight (O, C / groups, KH, KW). A fully connected layer is the
# case of one row: C = H = 1, W = KW = its inputs, OW = 1.
#
# With `pool`, two rows at a time stay in cache and only the largest of each 2 x 2 window goes on: y
# is then (O, OH / 2, OW / 2, 16), and `argmax`, as large, says which of the four it was, 0 to 3, or
# NO_ARGMAX where no gradient may pass.
#
# Each *_block keeps a rectangle of accumulators, native vectors, in registers; its sides are
# constants at every call, so the compiler unrolls it. Lanes that fill several registers are taken
# one part after the other. The order in which one accumulator takes its terms does not depend on
# the block: any block gives the same bits.
#
# This file has the op, which selects the algorithm, and the result by the definition, with
# conv2d_pool.pxi and conv2d_single.pxi; the gradients by the definition are in
# conv2d_gradients.pxi. winograd.pxi has both with fewer multiplications for rows of five taps,
# winograd3x3.pxi for 3 x 3 filters. A connection table means zeros among the filters; the sums of a
# record are those of all filters.

cdef enum:
    NO_ARGMAX = 4
    MAX_OUTPUTS = 6   # maximum output channels of a block


cdef Py_ssize_t conv2d_filter_floats(const Op* op) noexcept nogil:
    """Return the size of the filters of a block of output channels, see conv2d_outputs."""
    return MAX_OUTPUTS * (op.C // op.groups) * op.KH * op.KW


cdef Py_ssize_t conv2d_scratch(const Op* op) noexcept nogil:
    """Forward and backward: the spread-out filters of a connection table, then scratch of the algorithm.

    Forward by the definition, filters and two rows of a block; backward the gradient before the
    pooling, then the filters of a block that gathers. The pooled Winograd's forward is never longer
    than its backward.
    """
    cdef Py_ssize_t spread = op.O * op.C * op.KH * op.KW if op.connections is not NULL else 0
    cdef Py_ssize_t unpooled = op.O * op.OH * op.OW * LANES if op.pool else 0
    cdef Py_ssize_t block = conv2d_filter_floats(op)
    if suits_squares(op):
        return spread + squares_scratch(op)
    if suits_winograd(op):
        return spread + unpooled + winograd_scratch(op)
    if op.pool:
        block += MAX_OUTPUTS * 2 * op.OW * LANES
    return spread + max(block, unpooled + gather_floats(op), points_floats(op))


cdef void conv2d_forward(const Op* op, const float* params, float* arena,
                         float* scratch) noexcept nogil:
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t plane = pooled_plane(op)
    cdef Py_ssize_t group
    cdef bint squares = suits_squares(op), winograd = suits_winograd(op)
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
        x = arena + op.x + group * channels * op.H * op.W * LANES
        weight = filters + group * outputs * channels * op.KH * op.KW
        bias = params + (op.bias + group * outputs if op.has_bias else 0)
        y = arena + op.y + group * outputs * plane
        argmax = arena + op.argmax + group * outputs * plane
        if squares:
            squares_forward(op, x, weight, bias, y, argmax, scratch)
        elif winograd:
            winograd_forward(op, x, weight, bias, y, argmax, scratch)
        elif suits_points(op):
            points_forward(op, x, weight, bias, y, scratch)
        else:
            conv2d_group(op, x, weight, bias, y, argmax, scratch)


cdef void conv2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t group, weight, x_start, y_start, plane = op.OH * op.OW * LANES
    cdef bint squares = suits_squares(op), winograd = suits_winograd(op)
    cdef bint pooled = op.pool and (squares or not (winograd or need_dx or outputs == 1))
    cdef const float* dy = gradients + op.y
    cdef const float* argmax = arena + op.argmax if pooled else NULL
    cdef const float* filters = params + op.weight
    if op.connections is not NULL:
        spread_filters(op, filters, scratch)
        filters = scratch
        scratch += op.O * op.C * op.KH * op.KW
    if pooled:
        plane = pooled_plane(op)
    elif op.pool:
        conv2d_unpool(op, arena + op.argmax, gradients + op.y, scratch, op.O * (op.OH // 2))
        dy = scratch
        scratch += op.O * op.OH * op.OW * LANES
    elif op.mask:
        mask_gradient(op, arena + op.y, gradients + op.y)
    if op.has_bias and sums is not NULL:
        if squares and op.pool:
            pooled_dbias(op, dy, argmax, sums + op.dbias)
        elif squares or winograd:
            conv2d_dbias(op, dy, sums + op.dbias)
    for group in range(op.groups):
        weight = group * outputs * channels * op.KH * op.KW
        x_start = op.x + group * channels * op.H * op.W * LANES
        y_start = group * outputs * plane
        if squares:
            squares_backward(op, filters + weight, arena + x_start, dy + y_start,
                             argmax + y_start if pooled else NULL,
                             gradients + x_start if need_dx else NULL,
                             sums + op.dweight + weight if sums is not NULL else NULL, scratch)
            continue
        if winograd:
            winograd_backward(op, filters + weight, arena + x_start, dy + y_start,
                              gradients + x_start if need_dx else NULL,
                              sums + op.dweight + weight if sums is not NULL else NULL, scratch)
            continue
        if sums is not NULL:
            conv2d_dparams(op, arena + x_start, dy + y_start,
                           argmax + y_start if pooled else NULL, scratch,
                           sums + op.dweight + weight,
                           sums + (op.dbias + group * outputs if op.has_bias else 0))
        if need_dx:
            conv2d_dx(op, filters + weight, dy + y_start, gradients + x_start, scratch)


# The result by the definition


cdef inline void conv2d_block(
    const Op* op, const float* x, const float* filters, Py_ssize_t next_tap, Py_ssize_t next_output,
    const float* bias, float* y, Py_ssize_t y_plane, Py_ssize_t step, Py_ssize_t y_step, int TO,
    int TW,
) noexcept nogil:
    """TO output channels x TW columns, `step` floats apart in x; all point at the first."""
    cdef nv acc[32]
    cdef nv column[8]
    cdef nv w, least = nv_set1(0 if op.relu and not op.pool else -INFINITY)
    cdef int i, j
    cdef Py_ssize_t c, kh, kw
    cdef const float* xk
    for i in range(TO):
        for j in range(TW):
            acc[i * TW + j] = nv_set1(bias[i] if op.has_bias else 0)
    for c in range(op.C // op.groups):
        for kh in range(op.KH):
            xk = x + (c * op.H + kh * op.DH) * op.W * LANES
            for kw in range(op.KW):
                for j in range(TW):
                    column[j] = nv_load(xk + j * step)
                    nv_keep(column[j])
                for i in range(TO):
                    w = nv_set1(filters[i * next_output])
                    for j in range(TW):
                        acc[i * TW + j] = nv_fma(column[j], w, acc[i * TW + j])
                xk += op.DW * LANES
                filters += next_tap
    for i in range(TO):
        for j in range(TW):
            nv_store(y + i * y_plane + j * y_step, nv_max(least, acc[i * TW + j]))


cdef inline void conv2d_row(
    const Op* op, const float* x, const float* filters, const float* bias, float* y,
    Py_ssize_t y_plane, int TO, int TW,
) noexcept nogil:
    """One row of TO output channels, TW columns at a time, the last moved back inside."""
    cdef Py_ssize_t ow, j, part
    for j in range((op.OW + TW - 1) // TW):
        ow = min(j * TW, op.OW - TW)
        for part in range(V16_PARTS):
            conv2d_block(op, x + ow * op.SW * LANES + part * NV_LANES, filters, TO, 1, bias,
                         y + ow * LANES + part * NV_LANES, y_plane, op.SW * LANES, LANES, TO, TW)


cdef inline void conv2d_outputs(
    const Op* op, const float* x, const float* weight, const float* bias, float* y, float* argmax,
    float* scratch, int TO,
) noexcept nogil:
    """TO output channels of a group; the columns of a block fill the registers."""
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    cdef Py_ssize_t y_plane = (2 if op.pool else op.OH) * op.OW * LANES
    cdef Py_ssize_t pooled = (op.OW // 2) * LANES
    cdef Py_ssize_t oh, tap, at
    cdef float* filters = scratch
    cdef float* rows = scratch + MAX_OUTPUTS * filter_size
    cdef float* to
    cdef int i
    if op.OW > 1:
        for tap in range(filter_size):
            for i in range(TO):
                filters[tap * TO + i] = weight[i * filter_size + tap]
    if op.pool and V16_REGISTERS == 32:
        for oh in range(op.OH // 2):
            conv2d_windows(op, x + 2 * oh * op.SH * op.W * LANES, filters, bias, y + oh * pooled,
                           argmax + oh * pooled, op.OH // 2 * pooled, TO)
        return
    for oh in range(op.OH):
        to = rows + oh % 2 * op.OW * LANES if op.pool else y + oh * op.OW * LANES
        if op.OW == 1:
            conv2d_single(op, x, weight, bias, to, y_plane, TO)
        elif TO == 1 and op.OW >= 8:
            conv2d_row(op, x, filters, bias, to, y_plane, TO, 8)
        elif NV_REGISTERS == 16 or op.OW < 4:
            conv2d_row(op, x, filters, bias, to, y_plane, TO, 2)
        elif TO <= 4 and op.OW % 5 == 0:
            conv2d_row(op, x, filters, bias, to, y_plane, TO, 5)
        else:
            conv2d_row(op, x, filters, bias, to, y_plane, TO, 4)
        x += op.SH * op.W * LANES
        if op.pool and oh % 2 == 1:
            for i in range(TO):
                at = (i * (op.OH // 2) + oh // 2) * pooled
                pool_rows(op, rows + i * y_plane, y + at, argmax + at)


cdef inline Py_ssize_t conv2d_most_outputs(const Op* op) noexcept nogil:
    """Output channels of a block: as many as the scratch is made for, or fewer."""
    if op.OW == 1 and V16_PARTS == 4 and NV_REGISTERS == 16:
        return 3
    return 4 if NV_REGISTERS == 32 and op.OW % 5 == 0 and not op.pool else MAX_OUTPUTS


cdef inline void conv2d_group(
    const Op* op, const float* x, const float* weight, const float* bias, float* y, float* argmax,
    float* scratch,
) noexcept nogil:
    """One group, its output channels in blocks of nearly equal size."""
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t plane = pooled_plane(op)
    cdef Py_ssize_t most = conv2d_most_outputs(op)
    cdef const float* row
    cdef Py_ssize_t b, oh, blocks, size = conv2d_single_outputs(op, outputs)
    while size > 0:
        for oh in range(op.OH):
            row = x + oh * op.SH * op.W * LANES
            if size == 24:
                conv2d_many_singles(op, row, weight, bias, y + oh * LANES, plane, 24)
            else:
                conv2d_many_singles(op, row, weight, bias, y + oh * LANES, plane, 12)
        weight += size * (op.C // op.groups) * op.KH * op.KW
        bias += size
        y += size * plane
        outputs -= size
        size = conv2d_single_outputs(op, outputs)
    blocks = (outputs + most - 1) // most
    for b in range(blocks):
        size = outputs // blocks + (b < outputs % blocks)
        if size == 6:
            conv2d_outputs(op, x, weight, bias, y, argmax, scratch, 6)
        elif size == 5:
            conv2d_outputs(op, x, weight, bias, y, argmax, scratch, 5)
        elif size == 4:
            conv2d_outputs(op, x, weight, bias, y, argmax, scratch, 4)
        elif size == 3:
            conv2d_outputs(op, x, weight, bias, y, argmax, scratch, 3)
        elif size == 2:
            conv2d_outputs(op, x, weight, bias, y, argmax, scratch, 2)
        else:
            conv2d_outputs(op, x, weight, bias, y, argmax, scratch, 1)
        weight += size * (op.C // op.groups) * op.KH * op.KW
        bias += size
        y += size * plane
        argmax += size * plane


cdef OpKernels* conv2d = add_op(b"conv2d", conv2d_forward, conv2d_backward)
conv2d.reads_x, conv2d.scratch_floats = True, conv2d_scratch
