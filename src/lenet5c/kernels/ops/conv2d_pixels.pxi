# Convolution of a sample by itself with 16 pixels of an output row side by side, without padding and
# strides; for inference.
#
#   y[o, oh, ow] = bias[o] + sum over c, kh, kw of x[c, oh + kh, ow + kw] * weight[o, c, kh, kw]
#
# x (C, H, W), y (O, OH, OW) or, with `pool`, (O, OH / 2, OW / 2): the largest of each 2 x 2 window
# or, with `average`, its mean, after the rectifier.
# Filters are read value by value where they lie. The first layer of LeNet-5, whose six output
# channels fill six of sixteen lanes, has 14 of 16 in use here, and computes the same bits: the terms
# of a sum are added in the order of c, kh, kw, as direct.pxi adds them.
#
# With `pool`, even and odd columns are apart: the four values of a window are then the same lane of
# four vectors. `other` is where the arena has the even and the odd columns of x, (2, C, H, columns).
# Two rows of y are computed together, so that each vector of x that is loaded serves both.

cdef enum:
    PIXEL_OUTPUTS = 4    # channels of a block, at most


cdef inline void pixel_row(
    const float* x, Py_ssize_t odd, const float* weight, Py_ssize_t filter_size, v16* acc, int TO,
    int phases, Py_ssize_t KW, bint first, bint second, Py_ssize_t next_row,
) noexcept nogil:
    """One row of x to the first and the second row of y; weight is the filter row of the second, that
    of the first is next_row after it.

    acc[(i 2 + row) phases + phase]; columns of phase 1 are `odd` after those of phase 0.
    """
    cdef Py_ssize_t s, kw
    cdef int i, phase
    cdef v16 value
    for s in range(KW + phases - 1):
        value = v16_load(x + s % phases * odd + s // phases)
        for phase in range(phases):
            kw = s - phase
            if kw < 0 or kw >= KW:
                continue
            for i in range(TO):
                if first:
                    acc[i * 2 * phases + phase] = v16_fma(
                        v16_set1(weight[i * filter_size + next_row + kw]), value,
                        acc[i * 2 * phases + phase])
                if second:
                    acc[(i * 2 + 1) * phases + phase] = v16_fma(
                        v16_set1(weight[i * filter_size + kw]), value,
                        acc[(i * 2 + 1) * phases + phase])


cdef inline void pixel_block(
    const Op* op, const float* x, Py_ssize_t row, Py_ssize_t odd, const float* weight,
    const float* bias, v16* acc, int TO, int phases, Py_ssize_t KW,
) noexcept nogil:
    """Two rows of TO output channels; x is at their first row and column."""
    cdef Py_ssize_t c, h, filter_size = op.C * op.KH * op.KW
    cdef const float* xh
    cdef int i, j
    for i in range(TO):
        for j in range(2 * phases):
            acc[i * 2 * phases + j] = v16_set1(bias[i] if op.has_bias else 0)
    for c in range(op.C):
        xh = x + c * op.H * row
        pixel_row(xh, odd, weight, filter_size, acc, TO, phases, KW, True, False, 0)
        for h in range(1, op.KH):
            xh += row
            pixel_row(xh, odd, weight, filter_size, acc, TO, phases, KW, True, True, op.KW)
            weight += op.KW
        pixel_row(xh + row, odd, weight, filter_size, acc, TO, phases, KW, False, True, 0)
        weight += op.KW


cdef inline void pixel_outputs(
    const Op* op, const float* x, Py_ssize_t row, Py_ssize_t odd, const float* weight,
    const float* bias, float* y, int TO, int phases, Py_ssize_t KW,
) noexcept nogil:
    """All rows of TO output channels, whose planes of y follow one another.

    The last vector of a row begins before the end of the one before it where a row is as long as a
    vector. Shorter rows reach into what is written after them, never into the next plane of a block,
    whose first rows are there already.
    """
    cdef Py_ssize_t width = op.OW // phases, height = op.OH // phases, plane = width * height
    cdef Py_ssize_t pair, at, oh
    cdef int i
    cdef v16 result
    cdef v16 acc[2 * 2 * PIXEL_OUTPUTS]
    for pair in range((op.OH + 1) // 2):
        oh = min(2 * pair, op.OH - 2)
        at = 0
        while True:
            pixel_block(op, x + oh * row + at, row, odd, weight, bias, acc, TO, phases, KW)
            for i in range(TO):
                if phases == 2:
                    result = pooled(op, acc + 4 * i)
                    if pair * width + LANES > plane and i < TO - 1:
                        store_some(y + i * plane + pair * width, width, result)
                    else:
                        v16_store(y + i * plane + pair * width + at, result)
                else:
                    v16_store(y + i * plane + oh * width + at, rectified(op, acc[2 * i]))
                    v16_store(y + i * plane + (oh + 1) * width + at,
                              rectified(op, acc[2 * i + 1]))
            if at + LANES >= width:
                break
            at = min(at + LANES, width - LANES)


cdef inline void pixel_planes(
    const Op* op, const float* x, Py_ssize_t row, Py_ssize_t odd, const float* weight,
    const float* bias, float* y, int phases, Py_ssize_t KW,
) noexcept nogil:
    """All output channels, as many at a time as the registers hold."""
    cdef Py_ssize_t o = 0, filter_size = op.C * op.KH * op.KW
    cdef Py_ssize_t plane = (op.OH // phases) * (op.OW // phases)
    while o < op.O:
        if V16_REGISTERS == 32 and o + 2 <= op.O:
            pixel_outputs(op, x, row, odd, weight + o * filter_size, bias + o, y + o * plane, 2,
                          phases, KW)
            o += 2
        else:
            pixel_outputs(op, x, row, odd, weight + o * filter_size, bias + o, y + o * plane, 1,
                          phases, KW)
            o += 1


cdef void split_columns(const float* x, Py_ssize_t rows, Py_ssize_t width, float* even,
                        float* odd) noexcept nogil:
    """x (rows, width) to its even and its odd columns; an odd width has no last odd one."""
    cdef Py_ssize_t r, j, columns = (width + 1) // 2
    for r in range(rows):
        for j in range(width // 2):
            even[r * columns + j] = x[r * width + 2 * j]
            odd[r * columns + j] = x[r * width + 2 * j + 1]
        if width % 2 == 1:
            even[r * columns + columns - 1] = x[r * width + width - 1]


cdef void conv2d_pixels_forward(const Op* op, const float* params, float* arena,
                                float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef const float* weight = params + op.weight
    cdef const float* bias = params + (op.bias if op.has_bias else 0)
    cdef float* y = arena + op.y
    cdef float* columns = arena + op.other
    cdef Py_ssize_t row = (op.W + 1) // 2, odd = round_up(op.C * op.H * ((op.W + 1) // 2))
    if op.pool:
        split_columns(x, op.C * op.H, op.W, columns, columns + odd)
        if op.KW == 5:
            pixel_planes(op, columns, row, odd, weight, bias, y, 2, 5)
        elif op.KW == 3:
            pixel_planes(op, columns, row, odd, weight, bias, y, 2, 3)
        else:
            pixel_planes(op, columns, row, odd, weight, bias, y, 2, op.KW)
    elif op.KW == 5:
        pixel_planes(op, x, op.W, 0, weight, bias, y, 1, 5)
    elif op.KW == 3:
        pixel_planes(op, x, op.W, 0, weight, bias, y, 1, 3)
    else:
        pixel_planes(op, x, op.W, 0, weight, bias, y, 1, op.KW)


add_op(b"conv2d_pixels", conv2d_pixels_forward, NULL)
