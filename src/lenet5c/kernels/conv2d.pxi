# Convolution on a tile, without padding (a padded one is preceded by a PAD2D op).
#
#   y[o, oh, ow]  = bias[o] + sum over c, kh, kw of x[c, oh SH + kh DH, ow SW + kw DW] * weight[o, c, kh, kw]
#   dx[c, ih, iw] = sum over o, kh, kw of dy[o, oh, ow] * weight[o, c, kh, kw]   with oh SH + kh DH = ih, ow likewise
#   dweight[o, c, kh, kw] += sum over oh, ow, lanes of dy[o, oh, ow] * x[c, oh SH + kh DH, ow SW + kw DW]
#
# x (C, H, W, 16), y (O, OH, OW, 16), weight (O, C / groups, KH, KW). A fully connected layer is the case of one row:
# C = H = 1, W = KW = its inputs, OW = 1.
#
# Each *_block keeps a rectangle of accumulators in registers; its sides are constants at every call, so the compiler
# unrolls it. The order in which one accumulator takes its terms does not depend on the block: any block gives the
# same bits. A rectangle that would reach past the edge is moved back inside and computes a few values twice.

cdef inline void conv2d_block(
    const Op* op, const float* x, const float* weight, const float* bias, float* y, Py_ssize_t SW, int TO, int TW,
) noexcept nogil:
    """TO output channels x TW output columns of one row; x, weight, bias, y point at their first."""
    cdef v16 acc[32]
    cdef v16 column[8]
    cdef v16 w
    cdef int i, j
    cdef Py_ssize_t c, kh, kw
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    cdef const float* xk
    for i in range(TO):
        w = v16_set1(bias[i]) if op.has_bias else v16_zero()
        for j in range(TW):
            acc[i * TW + j] = w
    for c in range(op.C // op.groups):
        for kh in range(op.KH):
            xk = x + (c * op.H + kh * op.DH) * op.W * 16
            for kw in range(op.KW):
                for j in range(TW):
                    column[j] = v16_load(xk + j * SW * 16)
                for i in range(TO):
                    w = v16_set1(weight[i * filter_size])
                    for j in range(TW):
                        acc[i * TW + j] = v16_fma(column[j], w, acc[i * TW + j])
                xk += op.DW * 16
                weight += 1
    for i in range(TO):
        for j in range(TW):
            if op.relu:
                acc[i * TW + j] = v16_max(v16_zero(), acc[i * TW + j])
            v16_store(y + (i * op.OH * op.OW + j) * 16, acc[i * TW + j])


cdef inline void conv2d_sweep(
    const Op* op, const float* x, const float* weight, const float* bias, float* y, int TO, int TW,
) noexcept nogil:
    """One group, all rows, block by block."""
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    cdef Py_ssize_t oh, i, j, first_o, first_ow
    cdef const float* xb
    cdef float* yb
    for oh in range(op.OH):
        for i in range((outputs + TO - 1) // TO):
            first_o = min(i * TO, outputs - TO)
            for j in range((op.OW + TW - 1) // TW):
                first_ow = min(j * TW, op.OW - TW)
                xb = x + (oh * op.SH * op.W + first_ow * op.SW) * 16
                yb = y + ((first_o * op.OH + oh) * op.OW + first_ow) * 16
                if op.SW == 1:
                    conv2d_block(op, xb, weight + first_o * filter_size, bias + first_o, yb, 1, TO, TW)
                else:
                    conv2d_block(op, xb, weight + first_o * filter_size, bias + first_o, yb, op.SW, TO, TW)


cdef void conv2d_forward(const Op* op, const float* params, const float* x, float* y) noexcept nogil:
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t group
    cdef const float* weight
    cdef const float* bias = params
    for group in range(op.groups):
        weight = params + op.weight + group * outputs * channels * op.KH * op.KW
        if op.has_bias:
            bias = params + op.bias + group * outputs
        conv2d_fit(op, x + group * channels * op.H * op.W * 16, weight, bias,
                   y + group * outputs * op.OH * op.OW * 16, outputs)


cdef inline void conv2d_fit(
    const Op* op, const float* x, const float* weight, const float* bias, float* y, Py_ssize_t outputs,
) noexcept nogil:
    """The block that fits: few values computed twice, many accumulators, no more than the registers hold."""
    if V16_WIDE:
        if op.OW >= 5 and op.OW % 5 == 0 and outputs >= 4:
            conv2d_sweep(op, x, weight, bias, y, 4, 5)
        elif op.OW >= 4 and outputs >= 6:
            conv2d_sweep(op, x, weight, bias, y, 6, 4)
        elif op.OW >= 6 and outputs >= 3:
            conv2d_sweep(op, x, weight, bias, y, 3, 6)
        elif op.OW >= 8:
            conv2d_sweep(op, x, weight, bias, y, 1, 8)
        elif op.OW >= 2 and outputs >= 8:
            conv2d_sweep(op, x, weight, bias, y, 8, 2)
        elif outputs >= 24:
            conv2d_sweep(op, x, weight, bias, y, 24, 1)
        elif outputs >= 10:
            conv2d_sweep(op, x, weight, bias, y, 10, 1)
        elif op.OW >= 3:
            conv2d_sweep(op, x, weight, bias, y, 1, 3)
        elif outputs >= 3:
            conv2d_sweep(op, x, weight, bias, y, 3, 1)
        else:
            conv2d_sweep(op, x, weight, bias, y, 1, 1)
    else:
        if op.OW >= 2 and outputs >= 3:
            conv2d_sweep(op, x, weight, bias, y, 3, 2)
        elif op.OW >= 4:
            conv2d_sweep(op, x, weight, bias, y, 1, 4)
        elif outputs >= 6:
            conv2d_sweep(op, x, weight, bias, y, 6, 1)
        else:
            conv2d_sweep(op, x, weight, bias, y, 1, 1)


cdef inline void conv2d_dx_block(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs, Py_ssize_t ih, Py_ssize_t iw,
    int TC, int TW,
) noexcept nogil:
    """TC input channels x TW input columns from iw on of row ih, column stride 1; dx points at its first channel."""
    cdef v16 acc[32]
    cdef v16 column[8]
    cdef v16 w
    cdef int i, j
    cdef Py_ssize_t o, kh, kw, oh, ow
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t taps = op.KH * op.KW
    cdef const float* wk
    cdef const float* row
    for i in range(TC * TW):
        acc[i] = v16_zero()
    for o in range(outputs):
        for kh in range(op.KH):
            oh = ih - kh * op.DH
            if oh < 0 or oh % op.SH != 0 or oh // op.SH >= op.OH:
                continue
            row = dy + (o * op.OH + oh // op.SH) * op.OW * 16
            wk = weight + o * channels * taps + kh * op.KW
            for kw in range(op.KW):
                ow = iw - kw * op.DW
                if ow >= 0 and ow + TW <= op.OW:
                    for j in range(TW):
                        column[j] = v16_load(row + (ow + j) * 16)
                    for i in range(TC):
                        w = v16_set1(wk[i * taps + kw])
                        for j in range(TW):
                            acc[i * TW + j] = v16_fma(column[j], w, acc[i * TW + j])
                elif ow + TW > 0 and ow < op.OW:
                    # Only the columns that are there. Zeros in place of the others would show, and show how wide the
                    # block is: times an infinite weight they are not-a-number, and added to -0 they make it 0.
                    for j in range(TW):
                        if 0 <= ow + j < op.OW:
                            column[0] = v16_load(row + (ow + j) * 16)
                            for i in range(TC):
                                w = v16_set1(wk[i * taps + kw])
                                acc[i * TW + j] = v16_fma(column[0], w, acc[i * TW + j])
    for i in range(TC):
        for j in range(TW):
            v16_store(dx + ((i * op.H + ih) * op.W + iw + j) * 16, acc[i * TW + j])


cdef inline void conv2d_dx_strided(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs, Py_ssize_t ih, Py_ssize_t iw,
    int TC,
) noexcept nogil:
    """TC input channels of the one column iw, for any stride."""
    cdef v16 acc[8]
    cdef v16 g
    cdef int i
    cdef Py_ssize_t o, kh, kw, oh, ow
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t taps = op.KH * op.KW
    for i in range(TC):
        acc[i] = v16_zero()
    for kh in range(op.KH):
        oh = ih - kh * op.DH
        if oh < 0 or oh % op.SH != 0 or oh // op.SH >= op.OH:
            continue
        for kw in range(op.KW):
            ow = iw - kw * op.DW
            if ow < 0 or ow % op.SW != 0 or ow // op.SW >= op.OW:
                continue
            for o in range(outputs):
                g = v16_load(dy + ((o * op.OH + oh // op.SH) * op.OW + ow // op.SW) * 16)
                for i in range(TC):
                    acc[i] = v16_fma(g, v16_set1(weight[(o * channels + i) * taps + kh * op.KW + kw]), acc[i])
    for i in range(TC):
        v16_store(dx + ((i * op.H + ih) * op.W + iw) * 16, acc[i])


cdef inline void conv2d_dx_sweep(
    const Op* op, const float* weight, const float* dy, float* dx, int TC, int TW,
) noexcept nogil:
    """One group, all rows and columns of dx; TW = 0 asks for the strided form."""
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t ih, iw, i, first_c
    for ih in range(op.H):
        for i in range((channels + TC - 1) // TC):
            first_c = min(i * TC, channels - TC)
            if TW == 0:
                for iw in range(op.W):
                    conv2d_dx_strided(op, weight + first_c * op.KH * op.KW, dy, dx + first_c * op.H * op.W * 16,
                                      outputs, ih, iw, TC)
            else:
                for iw in range((op.W + TW - 1) // TW):
                    conv2d_dx_block(op, weight + first_c * op.KH * op.KW, dy, dx + first_c * op.H * op.W * 16,
                                    outputs, ih, min(iw * TW, op.W - TW), TC, TW)


cdef inline void conv2d_dx(const Op* op, const float* weight, const float* dy, float* dx) noexcept nogil:
    cdef Py_ssize_t channels = op.C // op.groups
    if op.SW != 1:
        if channels >= 8:
            conv2d_dx_sweep(op, weight, dy, dx, 8, 0)
        elif channels >= 3:
            conv2d_dx_sweep(op, weight, dy, dx, 3, 0)
        else:
            conv2d_dx_sweep(op, weight, dy, dx, 1, 0)
    elif V16_WIDE:
        if op.W >= 7 and op.W % 7 == 0 and channels >= 3:
            conv2d_dx_sweep(op, weight, dy, dx, 3, 7)
        elif op.W >= 4 and channels >= 6:
            conv2d_dx_sweep(op, weight, dy, dx, 6, 4)
        elif op.W >= 6 and channels >= 3:
            conv2d_dx_sweep(op, weight, dy, dx, 3, 6)
        elif op.W >= 8:
            conv2d_dx_sweep(op, weight, dy, dx, 1, 8)
        elif channels >= 8:
            conv2d_dx_sweep(op, weight, dy, dx, 8, 1)
        else:
            conv2d_dx_sweep(op, weight, dy, dx, 1, 1)
    else:
        if op.W >= 2 and channels >= 3:
            conv2d_dx_sweep(op, weight, dy, dx, 3, 2)
        elif op.W >= 4:
            conv2d_dx_sweep(op, weight, dy, dx, 1, 4)
        else:
            conv2d_dx_sweep(op, weight, dy, dx, 1, 1)


cdef inline void conv2d_dweight_block(
    const Op* op, const float* x, const float* dy, float* dweight, int TO, int TK,
) noexcept nogil:
    """TO output channels x TK neighbouring taps of one filter row; x points at the row's first tap."""
    cdef v16 acc[32]
    cdef v16 tap[8]
    cdef v16 g
    cdef int i, k
    cdef Py_ssize_t oh, ow
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    cdef const float* xr
    cdef const float* dyr
    for i in range(TO * TK):
        acc[i] = v16_zero()
    for oh in range(op.OH):
        xr = x + oh * op.SH * op.W * 16
        dyr = dy + oh * op.OW * 16
        for ow in range(op.OW):
            for k in range(TK):
                tap[k] = v16_load(xr + k * op.DW * 16)
            for i in range(TO):
                g = v16_load(dyr + i * op.OH * op.OW * 16)
                for k in range(TK):
                    acc[i * TK + k] = v16_fma(tap[k], g, acc[i * TK + k])
            xr += op.SW * 16
            dyr += 16
    for i in range(TO):
        for k in range(TK):
            dweight[i * filter_size + k] += v16_reduce(acc[i * TK + k])


cdef inline void conv2d_dweight_sweep(
    const Op* op, const float* x, const float* dy, float* dweight, Py_ssize_t first_tap, int TO, int TK,
) noexcept nogil:
    """One group, every filter row, taps first_tap .. first_tap + TK; the last channels one by one."""
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t filter_size = channels * op.KH * op.KW
    cdef Py_ssize_t o, c, kh, tap
    cdef const float* xk
    cdef const float* g
    for c in range(channels):
        for kh in range(op.KH):
            xk = x + ((c * op.H + kh * op.DH) * op.W + first_tap * op.DW) * 16
            tap = (c * op.KH + kh) * op.KW + first_tap
            o = 0
            while o < outputs:
                g = dy + o * op.OH * op.OW * 16
                if o + TO <= outputs:
                    conv2d_dweight_block(op, xk, g, dweight + o * filter_size + tap, TO, TK)
                    o += TO
                else:
                    conv2d_dweight_block(op, xk, g, dweight + o * filter_size + tap, 1, TK)
                    o += 1


cdef inline void conv2d_dweight(const Op* op, const float* x, const float* dy, float* dweight) noexcept nogil:
    """Filter rows are cut into runs of 5, 3 and 1 taps."""
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t tap = 0
    while tap < op.KW:
        if op.KW - tap >= 5:
            if V16_WIDE and outputs % 4 == 0:
                conv2d_dweight_sweep(op, x, dy, dweight, tap, 4, 5)
            elif V16_WIDE:
                conv2d_dweight_sweep(op, x, dy, dweight, tap, 3, 5)
            else:
                conv2d_dweight_sweep(op, x, dy, dweight, tap, 1, 5)
            tap += 5
        elif op.KW - tap >= 3:
            conv2d_dweight_sweep(op, x, dy, dweight, tap, 8 if V16_WIDE else 2, 3)
            tap += 3
        else:
            conv2d_dweight_sweep(op, x, dy, dweight, tap, 16 if V16_WIDE else 4, 1)
            tap += 1


cdef inline void conv2d_dbias(const Op* op, const float* dy, float* dbias) noexcept nogil:
    cdef Py_ssize_t o, i
    cdef v16 total
    for o in range(op.O):
        total = v16_zero()
        for i in range(op.OH * op.OW):
            total = v16_add(total, v16_load(dy + (o * op.OH * op.OW + i) * 16))
        dbias[o] += v16_reduce(total)


cdef void conv2d_backward(
    const Op* op, const float* params, const float* x, const float* dy, float* dx, float* dparams,
) noexcept nogil:
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t group, weight, x_start, y_start
    if op.has_bias:
        conv2d_dbias(op, dy, dparams + op.bias)
    for group in range(op.groups):
        weight = op.weight + group * outputs * channels * op.KH * op.KW
        x_start = group * channels * op.H * op.W * 16
        y_start = group * outputs * op.OH * op.OW * 16
        conv2d_dweight(op, x + x_start, dy + y_start, dparams + weight)
        if dx is not NULL:
            conv2d_dx(op, params + weight, dy + y_start, dx + x_start)
