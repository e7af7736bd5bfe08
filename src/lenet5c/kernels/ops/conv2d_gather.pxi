# The data gradient of a convolution with strides, dilated columns or odd widths of filters; names,
# layouts and formula as in conv2d_gradients.pxi.
#
# Columns of dx that lie SW apart take the same taps, from neighboring columns of dy: a block is
# some of them times some input channels. Its filters are laid out in the order that it takes them,
# (KH, KW, O, TC). Where a tap of a block would reach beyond dy for some of its columns and not for
# others, they go one by one. Each element takes its terms by kh, kw and o, in any block.

cdef enum:
    MAX_INPUTS = 6   # channels of a block


cdef inline bint scatters(const Op* op) noexcept nogil:
    """Return True if conv2d_dx_scatter can compute the data gradient."""
    return op.SH == 1 and op.SW == 1 and op.DW == 1 and (op.KW == 5 or op.KW == 3 or op.KW == 1)


cdef inline Py_ssize_t gather_floats(const Op* op) noexcept nogil:
    """Return the size of the filters of a block."""
    return 0 if scatters(op) else MAX_INPUTS * (op.O // op.groups) * op.KH * op.KW


# Taps along one axis that an element of dx takes: every `step`-th from `first` on, of elements of
# dy from `place` on backwards, every `place_step`-th. All multiples of the stride on have these
# taps.
cdef struct Taps:
    Py_ssize_t first, step, place, place_step


cdef Taps taps_of(Py_ssize_t at, Py_ssize_t size, Py_ssize_t stride,
                  Py_ssize_t dilation) noexcept nogil:
    """Return the taps, of filters of this size, for the element `at`."""
    cdef Taps taps
    cdef Py_ssize_t a = stride, b = dilation
    while b > 0:
        a, b = b, a % b
    taps.step, taps.place_step, taps.first = stride // a, dilation // a, 0
    while taps.first < size and (at - taps.first * dilation) % stride != 0:
        taps.first += 1
    taps.place = (at - taps.first * dilation) // stride
    return taps


cdef inline bint parts_ways(const Op* op, const Taps* columns, Py_ssize_t next,
                            Py_ssize_t count) noexcept nogil:
    """Return True if a tap is inside dy for some of `count` columns, `next` apart, but not for all."""
    cdef Py_ssize_t kw = columns.first, ow = columns.place + next
    while kw < op.KW:
        if (ow < 0 and ow + count > 0) or (ow < op.OW and ow + count > op.OW):
            return True
        kw += columns.step
        ow -= columns.place_step
    return False


cdef inline void gather_block(
    const Op* op, const float* filters, const float* dy, float* dx, Py_ssize_t outputs,
    const Taps* rows, const Taps* columns, Py_ssize_t next, int TC, int TW,
) noexcept nogil:
    """TC input channels x TW columns, SW apart, `next` times that from the first; dx is there."""
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
        kh, oh = rows.first, rows.place
        while kh < op.KH:
            kw, ow = columns.first, columns.place + next
            while kw < op.KW:
                if 0 <= oh < op.OH and 0 <= ow < op.OW:
                    g = dy + (oh * op.OW + ow) * LANES + part * NV_LANES
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
                kw += columns.step
                ow -= columns.place_step
            kh += rows.step
            oh -= rows.place_step
        for i in range(TC):
            for j in range(TW):
                nv_store(dx + (i * op.H * op.W + j * op.SW) * LANES + part * NV_LANES,
                         acc[i * TW + j])


cdef inline void gather_channels(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs,
    float* filters, int TC, int TW,
) noexcept nogil:
    """All elements of TC input channels; weight and dx point at the first."""
    cdef Py_ssize_t taps = op.KH * op.KW
    cdef Py_ssize_t filter_size = (op.C // op.groups) * taps
    cdef Py_ssize_t ih, phase, count, n, tap, o
    cdef int i
    cdef Taps rows, columns
    cdef float* to
    for tap in range(taps):
        for o in range(outputs):
            for i in range(TC):
                filters[(tap * outputs + o) * TC + i] = weight[o * filter_size + i * taps + tap]
    for phase in range(min(op.SW, op.W)):
        columns = taps_of(phase, op.KW, op.SW, op.DW)
        count = (op.W - phase + op.SW - 1) // op.SW
        for ih in range(op.H):
            rows = taps_of(ih, op.KH, op.SH, op.DH)
            n = 0
            while n < count:
                to = dx + (ih * op.W + phase + n * op.SW) * LANES
                if n + TW <= count and not parts_ways(op, &columns, n, TW):
                    gather_block(op, filters, dy, to, outputs, &rows, &columns, n, TC, TW)
                    n += TW
                else:
                    gather_block(op, filters, dy, to, outputs, &rows, &columns, n, TC, 1)
                    n += 1


cdef inline void conv2d_dx_gather(
    const Op* op, const float* weight, const float* dy, float* dx, Py_ssize_t outputs,
    float* scratch,
) noexcept nogil:
    """One group, its input channels in blocks of nearly equal size."""
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t blocks = (channels + MAX_INPUTS - 1) // MAX_INPUTS
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
