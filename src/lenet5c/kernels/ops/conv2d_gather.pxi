# The data gradient of a convolution with strides, dilated columns or odd widths of filters; names,
# layouts and formula as in conv2d_gradients.pxi.
#
# Columns of dx that lie SW apart take the same taps, from neighboring columns of dy: a block is
# some of them times some input channels. Its filters are laid out in the order that it takes them,
# (KH, KW, O, TC). Where a tap of a block would reach beyond dy for some of its columns and not for
# others, they go one by one. Each element takes its terms by kh, kw and o, in any block.

cdef enum:
    MOST_INPUTS = 6   # channels of a block


cdef inline bint scatters(const Op* op) noexcept nogil:
    """True if conv2d_dx_scatter serves the data gradient."""
    return op.SH == 1 and op.SW == 1 and op.DW == 1 and (op.KW == 5 or op.KW == 3 or op.KW == 1)


cdef inline Py_ssize_t gather_floats(const Op* op) noexcept nogil:
    """The filters of a block."""
    return 0 if scatters(op) else MOST_INPUTS * (op.O // op.groups) * op.KH * op.KW


cdef inline bint parts_ways(const Op* op, Py_ssize_t iw, Py_ssize_t columns) noexcept nogil:
    """True if a tap of the columns from iw on, SW apart, lies in dy for some of them only."""
    cdef Py_ssize_t kw, ow
    for kw in range(op.KW):
        ow = iw - kw * op.DW
        if ow % op.SW != 0:
            continue
        ow = ow // op.SW
        if (ow < 0 and ow + columns > 0) or (ow < op.OW and ow + columns > op.OW):
            return True
    return False


cdef inline void gather_block(
    const Op* op, const float* filters, const float* dy, float* dx, Py_ssize_t outputs,
    Py_ssize_t ih, Py_ssize_t iw, int TC, int TW,
) noexcept nogil:
    """TC input channels x TW columns from iw on, SW apart, of row ih; dx is the first channel's."""
    cdef nv acc[32]
    cdef nv column[8]
    cdef nv w
    cdef int i, j
    cdef Py_ssize_t o, kh, kw, oh, ow, part
    cdef Py_ssize_t plane = op.OH * op.OW * LANES
    cdef const float* g
    cdef const float* wk
    for part in range(V16_PARTS):
        for i in range(TC * TW):
            acc[i] = nv_set1(0)
        for kh in range(op.KH):
            oh = ih - kh * op.DH
            if oh < 0 or oh % op.SH != 0 or oh // op.SH >= op.OH:
                continue
            for kw in range(op.KW):
                ow = iw - kw * op.DW
                if ow < 0 or ow % op.SW != 0 or ow // op.SW >= op.OW:
                    continue
                g = dy + (oh // op.SH * op.OW + ow // op.SW) * LANES + part * NV_LANES
                wk = filters + (kh * op.KW + kw) * outputs * TC
                for o in range(outputs):
                    for j in range(TW):
                        column[j] = nv_load(g + j * LANES)
                        nv_keep(column[j])
                    for i in range(TC):
                        w = nv_set1(wk[i])
                        for j in range(TW):
                            acc[i * TW + j] = nv_fma(column[j], w, acc[i * TW + j])
                    g += plane
                    wk += TC
        for i in range(TC):
            for j in range(TW):
                nv_store(dx + ((i * op.H + ih) * op.W + iw + j * op.SW) * LANES + part * NV_LANES,
                         acc[i * TW + j])


cdef inline void gather_channels(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs,
    float* filters, int TC, int TW,
) noexcept nogil:
    """All elements of TC input channels; weight and dx point at the first."""
    cdef Py_ssize_t taps = op.KH * op.KW
    cdef Py_ssize_t filter_size = (op.C // op.groups) * taps
    cdef Py_ssize_t ih, iw, phase, tap, o
    cdef int i
    for tap in range(taps):
        for o in range(outputs):
            for i in range(TC):
                filters[(tap * outputs + o) * TC + i] = weight[o * filter_size + i * taps + tap]
    for ih in range(op.H):
        for phase in range(min(op.SW, op.W)):
            iw = phase
            while iw < op.W:
                if iw + (TW - 1) * op.SW < op.W and not parts_ways(op, iw, TW):
                    gather_block(op, filters, dy, dx, outputs, ih, iw, TC, TW)
                    iw += TW * op.SW
                else:
                    gather_block(op, filters, dy, dx, outputs, ih, iw, TC, 1)
                    iw += op.SW


cdef inline void conv2d_dx_gather(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs,
    float* scratch,
) noexcept nogil:
    """One group, its input channels in blocks of nearly equal size."""
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t blocks = (channels + MOST_INPUTS - 1) // MOST_INPUTS
    cdef Py_ssize_t b, size
    for b in range(blocks):
        size = channels // blocks + (b < channels % blocks)
        if size == 6:
            gather_channels(op, weight, dy, dx, outputs, scratch, 6,
                            4 if NV_REGISTERS == 32 else 2)
        elif size == 5:
            gather_channels(op, weight, dy, dx, outputs, scratch, 5,
                            4 if NV_REGISTERS == 32 else 2)
        elif size == 4:
            gather_channels(op, weight, dy, dx, outputs, scratch, 4,
                            4 if NV_REGISTERS == 32 else 2)
        elif size == 3:
            gather_channels(op, weight, dy, dx, outputs, scratch, 3, 4)
        elif size == 2:
            gather_channels(op, weight, dy, dx, outputs, scratch, 2, 4)
        else:
            gather_channels(op, weight, dy, dx, outputs, scratch, 1, 8)
        weight += size * op.KH * op.KW
        dx += size * op.H * op.W * LANES
