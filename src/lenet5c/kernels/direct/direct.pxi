# The sum inside every convolution that is not on tiles: its result, its data gradient and its
# weight gradient.
#
#   y[i, j] = start[i, j] + sum over c, k of vectors[c, k, i] * x[channel(c) + steps[k] + places[j]]
#
# y (rows, places, 16) and vectors (C, steps, rows, 16) have 16 values side by side: output
# channels, or units, which are the groups of all samples. x is one float for all 16 of them, or 16
# floats if units are side by side. Where an x lies is the sum of three offsets, so any stride,
# padding, dilation and layout is a matter of lists:
#
#                     side by side                       vectors   steps    places
#   result            output channels               weight    taps     output pixels
#   data gradient     input channels                weight    taps     input pixels (one phase)
#   weight gradient   output channels               dy        pixels   input channels and their taps
#   with groups       units                         as above
#
# Terms are added in the order of c, then k: neither the blocks of registers nor those of the cache
# change the bits.

cdef enum:
    # Vectors that the innermost loops go through again and again, for every block of places: they
    # stay in the L1 cache.
    DIRECT_STEPS = 64


cdef inline void direct_block(
    const DirectSum* s, const float* vectors, const float* x, const Py_ssize_t* places,
    const float* start, Py_ssize_t start_row, Py_ssize_t start_place, float* y, int TR, int TP,
    bint blocked,
) noexcept nogil:
    """TR rows x TP places in registers, one block of channels."""
    cdef v16 acc[24]
    cdef v16 factor[4]
    cdef v16 value
    cdef Py_ssize_t place[12]
    cdef Py_ssize_t c, k
    cdef const float* xk
    cdef int i, j
    for j in range(TP):
        place[j] = places[j]
        for i in range(TR):
            acc[i * TP + j] = v16_load(start + i * start_row + j * start_place)
    for c in range(s.channels):
        for k in range(s.steps_count):
            xk = x + s.steps[k]
            for i in range(TR):
                factor[i] = v16_load(vectors + i * LANES)
            for j in range(TP):
                value = v16_load(xk + place[j]) if blocked else v16_set1(xk[place[j]])
                for i in range(TR):
                    acc[i * TP + j] = v16_fma(factor[i], value, acc[i * TP + j])
            vectors += TR * LANES
        x += s.channel_stride
    for i in range(TR):
        for j in range(TP):
            v16_store(y + i * s.y_row + j * LANES, acc[i * TP + j])


cdef inline void direct_places(
    const DirectSum* s, const float* vectors, const float* x, const float* start,
    Py_ssize_t start_row, Py_ssize_t start_place, float* y, int TR, int TP, bint blocked,
) noexcept nogil:
    """All places, TP at a time and the last ones one by one."""
    cdef Py_ssize_t j = 0
    while j < s.places_count:
        if j + TP <= s.places_count:
            direct_block(s, vectors, x, s.places + j, start + j * start_place, start_row,
                         start_place, y + j * LANES, TR, TP, blocked)
            j += TP
        else:
            direct_block(s, vectors, x, s.places + j, start + j * start_place, start_row,
                         start_place, y + j * LANES, TR, 1, blocked)
            j += 1


cdef inline void direct_fit(
    const DirectSum* s, const float* vectors, const float* x, const float* start,
    Py_ssize_t start_row, Py_ssize_t start_place, float* y, bint blocked,
) noexcept nogil:
    """The block that the registers hold."""
    if V16_REGISTERS == 32 and s.rows == 4:
        direct_places(s, vectors, x, start, start_row, start_place, y, 4, 6, blocked)
    elif V16_REGISTERS == 32 and s.rows == 2:
        direct_places(s, vectors, x, start, start_row, start_place, y, 2, 8, blocked)
    elif V16_REGISTERS == 32:
        direct_places(s, vectors, x, start, start_row, start_place, y, 1, 8, blocked)
    elif V16_REGISTERS >= 8:
        direct_places(s, vectors, x, start, start_row, start_place, y, 1, 6, blocked)
    else:
        direct_places(s, vectors, x, start, start_row, start_place, y, 1, 3, blocked)


cdef inline void direct_part(
    const DirectSum* s, const float* vectors, const float* x, const float* start,
    Py_ssize_t start_row, Py_ssize_t start_place, float* y,
) noexcept nogil:
    if s.blocked:
        direct_fit(s, vectors, x, start, start_row, start_place, y, True)
    else:
        direct_fit(s, vectors, x, start, start_row, start_place, y, False)


cdef void direct_sum(
    const DirectSum* whole, const float* vectors, const float* x, const float* start,
    Py_ssize_t start_row, Py_ssize_t start_place, float* y,
) noexcept nogil:
    """The sum, in parts whose vectors stay in the L1 cache, each started from the last."""
    cdef DirectSum part = whole[0]
    cdef Py_ssize_t block, c, k
    # Whole channels if several have few enough steps, else some steps of one channel
    cdef Py_ssize_t channels = max(DIRECT_STEPS // max(whole.steps_count, <Py_ssize_t>1),
                                   <Py_ssize_t>1)
    for block in range(whole.blocks):
        c = 0
        while c < whole.channels:
            part.channels = min(channels, whole.channels - c)
            k = 0
            while True:
                part.steps = whole.steps + k
                part.steps_count = min(<Py_ssize_t>DIRECT_STEPS, whole.steps_count - k)
                direct_part(&part, vectors, x + block * whole.block_stride
                            + c * whole.channel_stride, start, start_row, start_place, y)
                vectors += part.channels * part.steps_count * whole.rows * LANES
                start, start_row, start_place = y, whole.y_row, LANES
                k += DIRECT_STEPS
                if k >= whole.steps_count:
                    break
            c += part.channels


cdef void add_columns(const float* vectors, Py_ssize_t count, Py_ssize_t rows,
                      float* total) noexcept nogil:
    """total[i] += the sum of vectors[k, i] over k, each of 16 floats."""
    cdef Py_ssize_t i, k
    cdef v16 part
    for i in range(rows):
        part = v16_zero()
        for k in range(count):
            part = v16_add(part, v16_load(vectors + (k * rows + i) * LANES))
        v16_store(total + i * LANES, v16_add(v16_load(total + i * LANES), part))
