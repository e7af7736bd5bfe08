# The sum of every convolution that is not on tiles: result, data gradient and weight gradient.
#
#   y[i, j] = start[i, j] + sum over c, k of vectors[c, k, i] * x[channel(c) + steps[k] + places[j]]
#
# y (rows, places) are vectors of 64 bytes, 16 floats or 8 doubles: as many results side by side, of
# output channels, of units, which are the groups of all samples, or of pixels. Of the two factors,
# vectors (C, steps, rows) and x, each is a vector or one value for all side by side. Where an x
# lies is the sum of three offsets, so lists describe any stride, padding, dilation and layout:
#
#                     side by side              vectors             steps    places
#   result            output channels           weight              taps     output pixels
#   data gradient     input channels            weight              taps     input pixels (a phase)
#   weight gradient   output channels           dy                  pixels   input channels, taps
#   with groups       units (x: vectors)        as above
#   few channels      pixels (x: vectors)       weight, scalars     taps     rows of pixels
#
# Terms are added in the order of c, then k: neither the blocks of registers nor those of the cache
# change the bits.

cdef enum:
    # Maximum number of vectors that the innermost loops reuse for every block of places; they stay
    # in the L1 cache.
    DIRECT_VECTORS = 256


cdef inline void direct_block(
    const DirectSum* s, const real* vectors, const real* x, const Py_ssize_t* places,
    const real* start, Py_ssize_t start_row, Py_ssize_t start_place, real* y, int TR, int TP,
    bint blocked, bint scalars,
) noexcept nogil:
    """Sum TR rows x TP places in registers over one block of channels."""
    cdef vec acc[24]
    cdef vec factor[4]
    cdef vec value
    cdef Py_ssize_t place[12]
    cdef Py_ssize_t c, k
    cdef const real* xk
    cdef int i, j
    for j in range(TP):
        place[j] = places[j]
        for i in range(TR):
            acc[i * TP + j] = vec_load(start + i * start_row + j * start_place)
    for c in range(s.channels):
        for k in range(s.steps_count):
            xk = x + s.steps[k]
            for i in range(TR):
                if scalars:
                    factor[i] = vec_set1(vectors[i])
                else:
                    factor[i] = vec_load(vectors + i * LANES)
            for j in range(TP):
                value = vec_load(xk + place[j]) if blocked else vec_set1(xk[place[j]])
                for i in range(TR):
                    acc[i * TP + j] = vec_fma(factor[i], value, acc[i * TP + j])
            vectors += TR if scalars else TR * LANES
        x += s.channel_stride
    for i in range(TR):
        for j in range(TP):
            vec_store(y + i * s.y_row + j * LANES, acc[i * TP + j])


cdef inline void direct_places(
    const DirectSum* s, const real* vectors, const real* x, const real* start,
    Py_ssize_t start_row, Py_ssize_t start_place, real* y, int TR, int TP, bint blocked,
    bint scalars,
) noexcept nogil:
    """All places, TP at a time, then 4 or 2, and the last one alone."""
    cdef Py_ssize_t j = 0
    while j < s.places_count:
        if j + TP <= s.places_count:
            direct_block(s, vectors, x, s.places + j, start + j * start_place, start_row,
                         start_place, y + j * LANES, TR, TP, blocked, scalars)
            j += TP
        elif TP > 4 and j + 4 <= s.places_count:
            direct_block(s, vectors, x, s.places + j, start + j * start_place, start_row,
                         start_place, y + j * LANES, TR, 4, blocked, scalars)
            j += 4
        elif TP > 2 and j + 2 <= s.places_count:
            direct_block(s, vectors, x, s.places + j, start + j * start_place, start_row,
                         start_place, y + j * LANES, TR, 2, blocked, scalars)
            j += 2
        else:
            direct_block(s, vectors, x, s.places + j, start + j * start_place, start_row,
                         start_place, y + j * LANES, TR, 1, blocked, scalars)
            j += 1


cdef inline void direct_fit(
    const DirectSum* s, const real* vectors, const real* x, const real* start,
    Py_ssize_t start_row, Py_ssize_t start_place, real* y, bint blocked, bint scalars,
) noexcept nogil:
    """Return the size of the block that the registers hold."""
    if VEC_REGISTERS == 32 and s.rows == 4:
        direct_places(s, vectors, x, start, start_row, start_place, y, 4, 6, blocked, scalars)
    elif VEC_REGISTERS == 32 and s.rows == 2:
        direct_places(s, vectors, x, start, start_row, start_place, y, 2, 8, blocked, scalars)
    elif VEC_REGISTERS == 32:
        direct_places(s, vectors, x, start, start_row, start_place, y, 1, 8, blocked, scalars)
    elif scalars and s.rows == 4:
        direct_places(s, vectors, x, start, start_row, start_place, y, 4, 1, blocked, scalars)
    elif scalars and s.rows == 2:
        direct_places(s, vectors, x, start, start_row, start_place, y, 2, 2, blocked, scalars)
    elif VEC_REGISTERS >= 8:
        direct_places(s, vectors, x, start, start_row, start_place, y, 1, 6, blocked, scalars)
    else:
        direct_places(s, vectors, x, start, start_row, start_place, y, 1, 3, blocked, scalars)


cdef inline void direct_part(
    const DirectSum* s, const real* vectors, const real* x, const real* start,
    Py_ssize_t start_row, Py_ssize_t start_place, real* y,
) noexcept nogil:
    if s.scalars:
        direct_fit(s, vectors, x, start, start_row, start_place, y, True, True)
    elif s.blocked:
        direct_fit(s, vectors, x, start, start_row, start_place, y, True, False)
    else:
        direct_fit(s, vectors, x, start, start_row, start_place, y, False, False)


cdef void direct_sum(
    const DirectSum* whole, const void* all_vectors, const void* all_x, const void* first_term,
    Py_ssize_t start_row, Py_ssize_t start_place, void* result,
) noexcept nogil:
    """The sum, in parts whose vectors stay in the L1 cache, each started from the last."""
    cdef const real* vectors = <const real*>all_vectors
    cdef const real* x = <const real*>all_x
    cdef const real* start = <const real*>first_term
    cdef real* y = <real*>result
    cdef DirectSum part = whole[0]
    cdef Py_ssize_t width = 1 if whole.scalars else LANES
    cdef Py_ssize_t block, c, k
    # Whole channels if several have few enough steps, else some steps of one channel
    cdef Py_ssize_t steps = DIRECT_VECTORS // whole.rows
    cdef Py_ssize_t channels = max(steps // max(whole.steps_count, <Py_ssize_t>1), <Py_ssize_t>1)
    for block in range(whole.blocks):
        c = 0
        while c < whole.channels:
            part.channels = min(channels, whole.channels - c)
            k = 0
            while True:
                part.steps = whole.steps + k
                part.steps_count = min(steps, whole.steps_count - k)
                direct_part(&part, vectors, x + block * whole.block_stride
                            + c * whole.channel_stride, start, start_row, start_place, y)
                vectors += part.channels * part.steps_count * whole.rows * width
                start, start_row, start_place = y, whole.y_row, LANES
                k += steps
                if k >= whole.steps_count:
                    break
            c += part.channels


cdef void add_columns(const void* all_vectors, Py_ssize_t count, Py_ssize_t rows,
                      void* totals) noexcept nogil:
    """total[i] += the sum of vectors[k, i] over k."""
    cdef const real* vectors = <const real*>all_vectors
    cdef real* total = <real*>totals
    cdef Py_ssize_t i, k
    cdef vec part
    for i in range(rows):
        part = vec_zero()
        for k in range(count):
            part = vec_add(part, vec_load(vectors + (k * rows + i) * LANES))
        vec_store(total + i * LANES, vec_add(vec_load(total + i * LANES), part))


cdef void set_direct(DirectKernels* kernels):
    """Fill in the table."""
    kernels.lanes = LANES
    kernels.pack_rows, kernels.unpack_rows = pack_rows, unpack_rows
    kernels.sum, kernels.add_columns = direct_sum, add_columns
    kernels.most_rows[0] = 4 if VEC_REGISTERS == 32 else 1
    kernels.most_rows[1] = 4 if VEC_REGISTERS >= 8 else 2
