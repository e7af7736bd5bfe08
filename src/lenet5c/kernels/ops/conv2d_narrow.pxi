# The weight gradient of narrow convolutions, whose sums would be too few to keep the multiply-adds
# of conv2d_dweight_block busy; names, layouts and formula as in conv2d_gradients.pxi, and so are
# the bits: each sum takes its terms row by row, in order.
#
#   one output channel a group (depthwise): several filter rows side by side
#   one tap: the input channels are taken for the taps of one row, a plane apart

cdef inline void dweight_of_one_output(
    const Op* op, const float* x, const float* dy, float* dweight, float* dbias, int TR, int TK,
) noexcept nogil:
    """TR filter rows x TK taps of one input and one output channel; dbias may be NULL."""
    cdef nv acc[16]
    cdef nv g, bias
    cdef float sums[17 * LANES]
    cdef int r, k
    cdef Py_ssize_t oh, ow, part
    cdef const float* xr
    cdef const float* dyr
    for part in range(V16_PARTS):
        for k in range(TR * TK):
            acc[k] = nv_set1(0)
        bias = nv_set1(0)
        dyr = dy + part * NV_LANES
        for oh in range(op.OH):
            xr = x + oh * op.SH * op.W * LANES + part * NV_LANES
            for ow in range(op.OW):
                g = nv_load(dyr)
                nv_keep(g)
                bias = nv_add(bias, g)
                for r in range(TR):
                    for k in range(TK):
                        acc[r * TK + k] = nv_fma(
                            nv_load(xr + (r * op.DH * op.W + k * op.DW) * LANES), g,
                            acc[r * TK + k])
                xr += op.SW * LANES
                dyr += LANES
        for k in range(TR * TK):
            nv_store(sums + k * LANES + part * NV_LANES, acc[k])
        nv_store(sums + TR * TK * LANES + part * NV_LANES, bias)
    for r in range(TR):
        for k in range(TK):
            dweight[r * op.KW + k] += v16_reduce(v16_load(sums + (r * TK + k) * LANES))
    if dbias is not NULL:
        dbias[0] += v16_reduce(v16_load(sums + TR * TK * LANES))


cdef inline void dweight_of_rows(
    const Op* op, const float* x, const float* dy, float* dweight, float* dbias, int TR, int TK,
) noexcept nogil:
    """All filter rows, TR at a time, x TK taps."""
    cdef Py_ssize_t kh = 0
    while kh < op.KH:
        if kh + TR <= op.KH:
            dweight_of_one_output(op, x, dy, dweight, dbias, TR, TK)
            kh += TR
            x += TR * op.DH * op.W * LANES
            dweight += TR * op.KW
        else:
            dweight_of_one_output(op, x, dy, dweight, dbias, 1, TK)
            kh += 1
            x += op.DH * op.W * LANES
            dweight += op.KW
        dbias = NULL


cdef inline void conv2d_dweight_lone(
    const Op* op, const float* x, const float* dy, float* dweight, float* dbias,
) noexcept nogil:
    """One group of one output channel; filter rows are cut into runs of 5, 3 and 1 taps."""
    cdef Py_ssize_t c, tap
    cdef const float* xk
    cdef float* to
    cdef float* bias
    for c in range(op.C // op.groups):
        tap = 0
        while tap < op.KW:
            xk = x + (c * op.H * op.W + tap * op.DW) * LANES
            to = dweight + c * op.KH * op.KW + tap
            bias = dbias if c == 0 and tap == 0 and op.has_bias else NULL
            if op.KW - tap >= 5:
                dweight_of_rows(op, xk, dy, to, bias, 2, 5)
                tap += 5
            elif op.KW - tap >= 3:
                dweight_of_rows(op, xk, dy, to, bias, 3, 3)
                tap += 3
            else:
                dweight_of_rows(op, xk, dy, to, bias, 3, 1)
                tap += 1


cdef inline void conv2d_dparams(
    const Op* op, const float* x, const float* dy, const float* argmax, float* unpooled,
    float* dweight, float* dbias,
) noexcept nogil:
    """Compute the gradients of weight and bias of one group; argmax and unpooled, as in
    conv2d_dweight, are for more than one output channel."""
    cdef Op row
    if op.KH == 1 and op.KW == 1 and op.C > op.groups:
        row = op[0]
        row.C, row.KW, row.DW = op.groups, op.C // op.groups, op.H * op.W
        conv2d_dweight(&row, x, dy, argmax, unpooled, dweight, dbias)
    elif op.O == op.groups:
        conv2d_dweight_lone(op, x, dy, dweight, dbias)
    else:
        conv2d_dweight(op, x, dy, argmax, unpooled, dweight, dbias)
