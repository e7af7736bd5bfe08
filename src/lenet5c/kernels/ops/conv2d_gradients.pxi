# The gradients of a convolution on a tile; names and layouts as in conv2d.pxi.
#
#   dx[c, ih, iw] = sum over o, kh, kw of dy[o, oh, ow] * weight[o, c, kh, kw]
#     with oh SH + kh DH = ih, ow likewise
#   dweight[o, c, kh, kw] += sum over oh, ow, lanes of dy[o, oh, ow] * x[c, oh SH + kh DH, ow SW +
#     kw DW]
#   dbias[o] += sum over oh, ow, lanes of dy[o, oh, ow]
#
# dx has two algorithms. conv2d_dx_scatter reads each dy once and adds it to KW neighboring
# accumulators: no work at the borders. conv2d_gather.pxi collects the elements of dx, for any
# stride, dilation and filter. conv2d_narrow.pxi has dweight for few output channels or taps.

cdef enum:
    DY_COLUMNS = 10   # the scatter's run of dy columns; the same for every instruction set, as sums
                      # depend on it
    FILTER_ROWS = 8   # filter rows whose gradients are summed side by side
    CHANNEL_RUN = 4   # input channels likewise
    DWEIGHT_BLOCK = 20   # output channels times taps of a block, at most


cdef inline void conv2d_dx_scatter_block(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs,
    Py_ssize_t ih, bint add, int TC, int TW, int KW,
) noexcept nogil:
    """TC input channels x the TW + KW - 1 columns of row ih that TW columns of dy reach, with
    strides and DW of 1.

    weight and dx point at the first channel, dy and dx at the first column; with `add`, the first
    KW - 1 columns have been begun by the run before.
    """
    cdef nv acc[32]
    cdef nv w[2]
    cdef nv g
    cdef int i, j, kw
    cdef int width = TW + KW - 1
    cdef Py_ssize_t o, kh
    cdef Py_ssize_t taps = op.KH * op.KW
    cdef Py_ssize_t filter_size = (op.C // op.groups) * taps
    cdef Py_ssize_t first = (ih - op.OH + op.DH) // op.DH if ih >= op.OH else 0
    cdef Py_ssize_t count = min(op.KH - 1, ih // op.DH) - first + 1
    cdef const float* row
    cdef const float* wk
    for i in range(TC):
        for j in range(width):
            acc[i * width + j] = nv_set1(0)
        if add:
            for j in range(KW - 1):
                acc[i * width + j] = nv_load(dx + (i * op.H * op.W + j) * LANES)
    for o in range(outputs):
        row = dy + (o * op.OH + ih - first * op.DH) * op.OW * LANES
        wk = weight + o * filter_size + first * KW
        for kh in range(count):
            for kw in range(KW):
                if NV_REGISTERS == 16:
                    nv_reread()
                for i in range(TC):
                    w[i] = nv_set1(wk[i * taps + kw])
                for j in range(TW):
                    g = nv_load(row + j * LANES)
                    for i in range(TC):
                        acc[i * width + j + kw] = nv_fma(g, w[i], acc[i * width + j + kw])
            row -= op.DH * op.OW * LANES
            wk += KW
    for i in range(TC):
        for j in range(width):
            nv_store(dx + (i * op.H * op.W + j) * LANES, acc[i * width + j])


cdef inline void conv2d_dx_scatter_row(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs,
    Py_ssize_t ih, int TC, int KW,
) noexcept nogil:
    """TC channels of row ih, in runs of DY_COLUMNS, 4 and 1 columns of dy."""
    cdef Py_ssize_t part, ow
    cdef const float* g
    cdef float* to
    for part in range(V16_PARTS):
        ow = 0
        while ow < op.OW:
            g, to = dy + ow * LANES + part * NV_LANES, dx + ow * LANES + part * NV_LANES
            if op.OW - ow >= DY_COLUMNS:
                conv2d_dx_scatter_block(op, weight, g, to, outputs, ih, ow > 0, TC, DY_COLUMNS, KW)
                ow += DY_COLUMNS
            elif op.OW - ow >= 4:
                conv2d_dx_scatter_block(op, weight, g, to, outputs, ih, ow > 0, TC, 4, KW)
                ow += 4
            else:
                conv2d_dx_scatter_block(op, weight, g, to, outputs, ih, ow > 0, TC, 1, KW)
                ow += 1


cdef inline void conv2d_dx_scatter(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs, int KW,
) noexcept nogil:
    """One group; two channels at a time where there are registers for it."""
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t c, ih
    cdef float* row
    for ih in range(op.H):
        c = 0
        while c < channels:
            row = dx + (c * op.H + ih) * op.W * LANES
            if NV_REGISTERS == 32 and c + 2 <= channels:
                conv2d_dx_scatter_row(op, weight + c * op.KH * op.KW, dy, row, outputs, ih, 2, KW)
                c += 2
            else:
                conv2d_dx_scatter_row(op, weight + c * op.KH * op.KW, dy, row, outputs, ih, 1, KW)
                c += 1


cdef inline void conv2d_dx(const Op* op, const float* weight, const float* dy, float* dx,
                           float* scratch) noexcept nogil:
    cdef Py_ssize_t outputs = op.O // op.groups
    if suits_points(op):
        points_dx(op, weight, dy, dx, scratch)
    elif not scatters(op):
        conv2d_dx_gather(op, weight, dy, dx, outputs, scratch)
    elif op.KW == 5:
        conv2d_dx_scatter(op, weight, dy, dx, outputs, 5)
    elif op.KW == 3:
        conv2d_dx_scatter(op, weight, dy, dx, outputs, 3)
    else:
        conv2d_dx_scatter(op, weight, dy, dx, outputs, 1)


cdef inline void conv2d_dweight_block(
    const Op* op, const float* x, const float* dy, Py_ssize_t dy_plane, float* sums,
    Py_ssize_t rows, int TO, int TK,
) noexcept nogil:
    """Add some rows of dy, its channels dy_plane apart, to the sums (TO, TK, 16) of TO output
    channels x TK taps of one filter row. The fewer of both stay in registers."""
    cdef nv acc[32]
    cdef nv g[8]
    cdef nv taps[8]
    cdef int i, k
    cdef Py_ssize_t oh, ow, part
    cdef const float* xr
    cdef const float* dyr
    for part in range(V16_PARTS):
        for i in range(TO * TK):
            acc[i] = nv_load(sums + i * LANES + part * NV_LANES)
        for oh in range(rows):
            xr = x + oh * op.SH * op.W * LANES + part * NV_LANES
            dyr = dy + oh * op.OW * LANES + part * NV_LANES
            for ow in range(op.OW):
                if TO > TK:
                    for k in range(TK):
                        taps[k] = nv_load(xr + k * op.DW * LANES)
                        nv_keep(taps[k])
                    for i in range(TO):
                        g[0] = nv_load(dyr + i * dy_plane)
                        nv_keep(g[0])
                        for k in range(TK):
                            acc[i * TK + k] = nv_fma(taps[k], g[0], acc[i * TK + k])
                else:
                    for i in range(TO):
                        g[i] = nv_load(dyr + i * dy_plane)
                    for k in range(TK):
                        taps[0] = nv_load(xr + k * op.DW * LANES)
                        nv_keep(taps[0])
                        for i in range(TO):
                            acc[i * TK + k] = nv_fma(taps[0], g[i], acc[i * TK + k])
                xr += op.SW * LANES
                dyr += LANES
        for i in range(TO * TK):
            nv_store(sums + i * LANES + part * NV_LANES, acc[i])


cdef inline void conv2d_dweight_rows(
    const Op* op, const float* x, const float* dy, const float* argmax, float* unpooled,
    float* dweight, float* dbias, Py_ssize_t channels, Py_ssize_t KH, int TO, int TK,
) noexcept nogil:
    """TO output channels x KH filter rows (at most FILTER_ROWS) x TK taps of some input channels
    (at most CHANNEL_RUN); dbias may be NULL.

    dy is taken in strips of rows that stay in the first-level cache while each filter row of each
    channel passes over them. With argmax, unless that is NULL, dy is the gradient after a pooling,
    and the strip before it is written to `unpooled`. With strides, the rows of x are many more, and
    have to stay in the cache, too.
    """
    cdef float sums[CHANNEL_RUN * FILTER_ROWS * DWEIGHT_BLOCK * LANES]
    cdef v16 bias[8]
    cdef Py_ssize_t filter_size = (op.C // op.groups) * op.KH * op.KW
    cdef Py_ssize_t near = TO * op.OW + (op.SH * op.W if op.SH > 1 or op.SW > 1 else 0)
    cdef Py_ssize_t strip = max(<Py_ssize_t>1, 256 // near)
    cdef Py_ssize_t dy_plane = op.OH * op.OW * LANES, pooled_row = op.OW // 2 * LANES
    cdef Py_ssize_t oh, rows, c, kh, i, k, at
    cdef const float* g
    cdef const float* xc
    memset(sums, 0, channels * KH * TO * TK * LANES * sizeof(float))
    for i in range(TO):
        bias[i] = v16_zero()
    if argmax is not NULL:
        strip = min(op.OH, (strip + 1) // 2 * 2)
        dy_plane = strip * op.OW * LANES
    oh = 0
    while oh < op.OH:
        rows = min(strip, op.OH - oh)
        g = dy + oh * op.OW * LANES
        if argmax is not NULL:
            g = unpooled
            for i in range(TO):
                at = (i * (op.OH // 2) + oh // 2) * pooled_row
                conv2d_unpool(op, argmax + at, dy + at, unpooled + i * dy_plane, rows // 2)
        for c in range(channels):
            xc = x + (c * op.H + oh * op.SH) * op.W * LANES
            for kh in range(KH):
                conv2d_dweight_block(op, xc + kh * op.DH * op.W * LANES, g, dy_plane,
                                     sums + (c * KH + kh) * TO * TK * LANES, rows, TO, TK)
        if dbias is not NULL:
            for i in range(TO):
                bias[i] = add_vectors(bias[i], g + i * dy_plane, rows * op.OW)
        oh += strip
    if dbias is not NULL:
        for i in range(TO):
            dbias[i] += v16_reduce(bias[i])
    for c in range(channels):
        for kh in range(KH):
            for i in range(TO):
                for k in range(TK):
                    at = (((c * KH + kh) * TO + i) * TK + k) * LANES
                    dweight[i * filter_size + (c * op.KH + kh) * op.KW + k] += v16_reduce(
                        v16_load(sums + at))


cdef inline void conv2d_dweight_taps(
    const Op* op, const float* x, const float* dy, const float* argmax, float* unpooled,
    float* dweight, float* dbias, Py_ssize_t first_tap, int TK,
) noexcept nogil:
    """One group, taps first_tap .. + TK; output channels in nearly equal blocks."""
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t outputs = op.O // op.groups
    cdef Py_ssize_t filter_size = channels * op.KH * op.KW
    cdef Py_ssize_t most = 2 if NV_REGISTERS == 16 and TK > 3 else 4
    cdef Py_ssize_t blocks = (outputs + most - 1) // most
    cdef Py_ssize_t plane = pooled_plane(op) if argmax is not NULL else op.OH * op.OW * LANES
    cdef Py_ssize_t b, o, size, c = 0, run, kh, KH
    cdef const float* xk
    cdef const float* g
    cdef const float* a
    cdef float* to
    cdef float* bias
    while c < channels:
        run = min(<Py_ssize_t>CHANNEL_RUN, channels - c)
        kh = 0
        while kh < op.KH:
            KH = min(<Py_ssize_t>FILTER_ROWS, op.KH - kh)
            xk = x + ((c * op.H + kh * op.DH) * op.W + first_tap * op.DW) * LANES
            o = 0
            for b in range(blocks):
                size = outputs // blocks + (b < outputs % blocks)
                g = dy + o * plane
                a = argmax + o * plane if argmax is not NULL else NULL
                to = dweight + o * filter_size + (c * op.KH + kh) * op.KW + first_tap
                bias = dbias + o if c == 0 and kh == 0 and first_tap == 0 and op.has_bias else NULL
                if (NV_REGISTERS == 32 or TK <= 3) and size == 4:
                    conv2d_dweight_rows(op, xk, g, a, unpooled, to, bias, run, KH, 4, TK)
                elif (NV_REGISTERS == 32 or TK <= 3) and size == 3:
                    conv2d_dweight_rows(op, xk, g, a, unpooled, to, bias, run, KH, 3, TK)
                elif size == 2:
                    conv2d_dweight_rows(op, xk, g, a, unpooled, to, bias, run, KH, 2, TK)
                else:
                    conv2d_dweight_rows(op, xk, g, a, unpooled, to, bias, run, KH, 1, TK)
                o += size
            kh += KH
        c += run


cdef inline void conv2d_dweight(
    const Op* op, const float* x, const float* dy, const float* argmax, float* unpooled,
    float* dweight, float* dbias,
) noexcept nogil:
    """One group; filter rows are cut into runs of 5, 3 and 1 taps. With argmax, unless that is
    NULL, dy is the gradient after the pooling; unpooled has room for its channels before it."""
    cdef Py_ssize_t tap = 0
    while tap < op.KW:
        if op.KW - tap >= 5:
            conv2d_dweight_taps(op, x, dy, argmax, unpooled, dweight, dbias, tap, 5)
            tap += 5
        elif op.KW - tap >= 3:
            conv2d_dweight_taps(op, x, dy, argmax, unpooled, dweight, dbias, tap, 3)
            tap += 3
        else:
            conv2d_dweight_taps(op, x, dy, argmax, unpooled, dweight, dbias, tap, 1)
            tap += 1


cdef inline v16 add_vectors(v16 total, const float* x, Py_ssize_t count) noexcept nogil:
    """total + x[0] + x[1] + ..., one after the other."""
    cdef Py_ssize_t i
    for i in range(count):
        total = v16_add(total, v16_load(x + i * LANES))
    return total


cdef inline void conv2d_dbias(const Op* op, const float* dy, float* dbias) noexcept nogil:
    cdef Py_ssize_t o, plane = op.OH * op.OW
    for o in range(op.O):
        dbias[o] += v16_reduce(add_vectors(v16_zero(), dy + o * plane * LANES, plane))
