# The input of a strip, and its results.


cdef Py_ssize_t unit_at(const Geometry* g, const Strides* a, Py_ssize_t unit) noexcept nogil:
    return unit // g.groups * a.sample + unit % g.groups * a.group


cdef Py_ssize_t set_lanes(const Geometry* g, const Strides* a, Py_ssize_t channels, Py_ssize_t tile,
                          Py_ssize_t row, Py_ssize_t* at) noexcept nogil:
    """Write the offsets of the values of a vector in an array; return their number."""
    cdef Py_ssize_t unit = tile * g.lanes if g.axis == UNITS else tile
    cdef Py_ssize_t channel = row if g.axis == UNITS else row * g.lanes
    cdef Py_ssize_t first = unit_at(g, a, unit) + channel * a.channel
    cdef Py_ssize_t lane, group = unit % g.groups
    cdef Py_ssize_t count = min(g.lanes, g.units - unit if g.axis == UNITS
                                else channels - row * g.lanes)
    for lane in range(count):
        at[lane] = first
        if g.axis == CHANNELS:
            first += a.channel
            continue
        first += a.group
        group += 1
        if group == g.groups:
            group = 0
            first += a.sample - g.groups * a.group
    return count


cdef bint are_neighbors(const Py_ssize_t* at, Py_ssize_t count) noexcept nogil:
    """Return True if the values of a vector are contiguous."""
    return at[count - 1] - at[0] == count - 1


cdef void load_rows(const Geometry* g, const real* x, const Py_ssize_t* at, Py_ssize_t count,
                    Py_ssize_t pixel, Py_ssize_t size, real* to, Py_ssize_t stride,
                    const real* zeros) noexcept nogil:
    """to[q * stride + lane] = x[at[lane] + q * pixel] for `size` pixels, and 0 from `count` on."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    cdef Py_ssize_t q, lane
    cdef const real* samples[MAX_LANES]
    if pixel == 1:
        for lane in range(lanes):
            samples[lane] = x + at[lane] if lane < count else zeros
        g.kernels.pack_rows(<const void**>samples, size, to, stride)
    elif count == lanes and are_neighbors(at, count):
        for q in range(size):
            memcpy(to + q * stride, x + at[0] + q * pixel, VECTOR_BYTES)
    else:
        for q in range(size):
            for lane in range(count):
                to[q * stride + lane] = x[at[lane] + q * pixel]
            for lane in range(count, lanes):
                to[q * stride + lane] = 0


cdef void store_rows(const Geometry* g, const real* values, Py_ssize_t size, real* y,
                     const Py_ssize_t* at, Py_ssize_t count, Py_ssize_t pixel) noexcept nogil:
    """y[at[lane] + q * pixel] = values[q, lane] for `size` pixels and `count` lanes."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    cdef Py_ssize_t q, lane
    cdef real* samples[MAX_LANES]
    if pixel == 1:
        for lane in range(count):
            samples[lane] = y + at[lane]
        g.kernels.unpack_rows(values, size, count, <void**>samples)
    elif count == lanes and are_neighbors(at, count):
        for q in range(size):
            memcpy(y + at[0] + q * pixel, values + q * lanes, VECTOR_BYTES)
    else:
        for lane in range(count):
            for q in range(size):
                y[at[lane] + q * pixel] = values[q * lanes + lane]


cdef Py_ssize_t filter_of(const Geometry* g, Py_ssize_t group_set, Py_ssize_t row,
                          Py_ssize_t lane) noexcept nogil:
    """Return the output channel, counted over all groups, of a lane."""
    if g.axis == UNITS:
        return (group_set * g.lanes + lane) % g.groups * g.L + row
    if g.axis == PIXELS:
        return group_set * g.L + row
    return group_set * g.L + min(row * g.lanes + lane, g.L - 1)


cdef Py_ssize_t weight_at(const Geometry* g, Py_ssize_t filter) noexcept nogil:
    return filter // g.L * g.weight_group + filter % g.L * g.weight_filter


cdef Py_ssize_t rows_at(const Geometry* g, Py_ssize_t row) noexcept nogil:
    """Return the number of rows of the chunk that begins here: 4, 2 or 1."""
    cdef Py_ssize_t count = g.most_rows
    while count > g.rows - row:
        count //= 2
    return count


cdef Py_ssize_t chunks(const Geometry* g) noexcept nogil:
    """Return the number of chunks of rows that are computed together."""
    cdef Py_ssize_t row = 0, count = 0
    while row < g.rows:
        row += rows_at(g, row)
        count += 1
    return count


cdef Py_ssize_t first_row(const Geometry* g, Py_ssize_t chunk) noexcept nogil:
    """Return the first row of a chunk."""
    cdef Py_ssize_t row = 0
    while chunk > 0:
        row += rows_at(g, row)
        chunk -= 1
    return row


cdef const real* load_strip(const Geometry* g, const real* x, Py_ssize_t tile, Py_ssize_t strip,
                            Py_ssize_t first, Py_ssize_t stop, real* scratch,
                            const real* zeros) noexcept nogil:
    """Return channels first .. stop of a strip of x, in place or completed in scratch."""
    cdef Py_ssize_t top = strip * g.strip * g.SH + g.top
    cdef Py_ssize_t rows = (min(g.strip, g.R - strip * g.strip) - 1) * g.SH + g.reach
    cdef Py_ssize_t left = max(-g.left, <Py_ssize_t>0)       # columns of zeros
    cdef Py_ssize_t width = min(g.W - g.left, g.columns) - left
    cdef Py_ssize_t right = g.columns - left - width
    cdef Py_ssize_t d, i, q, count = 0
    cdef Py_ssize_t at[MAX_LANES]
    cdef const real* image
    cdef real* to
    if not g.copied:
        return x + unit_at(g, &g.x, tile) + top * g.x.row + g.left * g.x.pixel
    if g.axis == UNITS:
        count = set_lanes(g, &g.x, 1, tile, 0, at)
    else:
        x += unit_at(g, &g.x, tile)
    if g.of_pixels:
        first, stop = 0, 1
    for d in range(first, stop):
        for i in range(rows):
            to = scratch + d * g.channel_stride + i * g.row_stride
            if not 0 <= top + i < g.H or width <= 0:
                memset(to, 0, g.row_stride * sizeof(real))
                continue
            image = x + d * g.x.channel + (top + i) * g.x.row + (g.left + left) * g.x.pixel
            memset(to, 0, left * g.place * sizeof(real))
            to += left * g.place
            if g.axis == UNITS:
                load_rows(g, image, at, count, g.x.pixel, width, to, g.place, zeros)
            elif g.x.pixel == g.place:
                memcpy(to, image, width * g.place * sizeof(real))
            else:
                for q in range(width):
                    memcpy(to + q * g.place, image + q * g.x.pixel, g.place * sizeof(real))
            memset(to + width * g.place, 0, right * g.place * sizeof(real))
    if g.axis == PIXELS:
        memset(scratch + g.strip_size - g.lanes, 0, VECTOR_BYTES)
    return scratch


cdef Py_ssize_t value_size(const Geometry* g) noexcept nogil:
    """Return the values of the rows of a strip computed at a time."""
    return min(g.rows, g.most_rows) * vectors(g, 0) * g.lanes


cdef Py_ssize_t chunk_size(const Geometry* g) noexcept nogil:
    """Return the number of packed weights of a chunk."""
    return min(g.rows, g.most_rows) * g.D * g.tap_count * g.factor


cdef Py_ssize_t convolve_scratch(const Geometry* g) noexcept nogil:
    """Return the scratch of a thread, in values."""
    return round_up(g.strip_size + value_size(g) + (chunk_size(g) if g.packed_late else 0)
                    + 3 * canary_size(g))


cdef Py_ssize_t convolve_floats(const Geometry* g, Py_ssize_t threads) noexcept nogil:
    return value_floats(g) * (scratch_at(g) + threads * convolve_scratch(g))


# Where zeros end and bias, (sets, rows) vectors, begins; packed weights (sets, rows in chunks, D,
# taps, rows of the chunk) of factors begin, and end; the threads' scratch begins
cdef Py_ssize_t bias_at(const Geometry* g) noexcept nogil:
    return round_up(g.W)


cdef Py_ssize_t packed_at(const Geometry* g) noexcept nogil:
    return bias_at(g) + g.sets * g.rows * g.lanes


cdef Py_ssize_t packed_end(const Geometry* g) noexcept nogil:
    return packed_at(g) + (0 if g.packed_late
                           else g.sets * g.rows * g.D * g.tap_count * g.factor)


cdef Py_ssize_t scratch_at(const Geometry* g) noexcept nogil:
    return round_up(packed_end(g) + canary_size(g))


cdef void place_weights(const Geometry* g, real* memory) noexcept nogil:
    memset(memory, 0, bias_at(g) * sizeof(real))
    set_canary(<float*>(memory + packed_end(g)))


cdef void check_weights(const Geometry* g, const real* memory) noexcept nogil:
    check_canary(<const float*>(memory + packed_end(g)), b"conv2d", b"packed weights of strips")


cdef Py_ssize_t packs(const Geometry* g) noexcept nogil:
    """Return the number of items of pack_weights."""
    return 0 if g.packed_late else g.sets * chunks(g)


cdef void pack_weights(const Geometry* g, const real* weight, const real* bias, real* memory,
                       Py_ssize_t item) noexcept nogil:
    """Pack the weights of one chunk of one set."""
    cdef Py_ssize_t group_set = item // chunks(g), row = first_row(g, item % chunks(g))
    pack_chunk(g, weight, bias, group_set, row, memory, memory + packed_at(g)
               + (group_set * g.rows + row) * g.D * g.tap_count * g.factor)


cdef void pack_chunk(const Geometry* g, const real* weight, const real* bias, Py_ssize_t group_set,
                     Py_ssize_t row, real* memory, real* to) noexcept nogil:
    """The weights (D, taps, rows of the chunk) of factors, and their bias."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    cdef Py_ssize_t count = rows_at(g, row), all_lanes = count * lanes
    cdef Py_ssize_t i, d, k, at, filter, stride = count * g.factor
    cdef bint neighbors
    cdef const real* filters[ROWS * MAX_LANES]
    cdef const real* shifted[MAX_LANES]
    for i in range(all_lanes):
        filter = filter_of(g, group_set, row + i // lanes, i % lanes)
        filters[i] = weight + weight_at(g, filter)
        memory[bias_at(g) + (group_set * g.rows + row) * lanes + i] = (
            bias[filter] if bias is not NULL else 0)
    if g.axis == PIXELS:
        for d in range(g.D):
            for k in range(g.tap_count):
                for i in range(count):
                    to[i] = filters[i * lanes][d * g.weight_channel + g.taps[k] * g.weight_tap]
                to += stride
    elif g.tap_count == g.all_taps and g.weight_channel == g.all_taps and g.weight_tap == 1:
        for i in range(count):
            g.kernels.pack_rows(<const void**>(filters + i * lanes), g.D * g.tap_count,
                                to + i * lanes, stride)
    elif g.weight_channel == 1:
        for k in range(g.tap_count):
            for i in range(all_lanes):
                shifted[i % lanes] = filters[i] + g.taps[k] * g.weight_tap
                if i % lanes == lanes - 1:
                    g.kernels.pack_rows(<const void**>shifted, g.D, to + k * stride + i + 1 - lanes,
                                        g.tap_count * stride)
    else:
        neighbors = True
        for i in range(1, all_lanes):
            neighbors = neighbors and filters[i] - filters[0] == i
        for d in range(g.D):
            for k in range(g.tap_count):
                at = d * g.weight_channel + g.taps[k] * g.weight_tap
                if neighbors:
                    memcpy(to, filters[0] + at, count * VECTOR_BYTES)
                else:
                    for i in range(all_lanes):
                        to[i] = filters[i][at]
                to += stride


cdef void store_strip(const Geometry* g, const real* values, Py_ssize_t tile, Py_ssize_t row,
                      Py_ssize_t strip, real* y) noexcept nogil:
    """values (strip rows, Q, lanes), or of pixels (strip rows, columns), into a row of y."""
    cdef Py_ssize_t rows = min(g.strip, g.R - strip * g.strip), pixel = g.y_right * g.y.pixel
    cdef Py_ssize_t r, q, count
    cdef Py_ssize_t at[MAX_LANES]
    y += (g.y_top + strip * g.strip * g.y_down) * g.y.row + g.y_left * g.y.pixel
    if g.axis == PIXELS:
        y += unit_at(g, &g.y, tile) + row * g.y.channel
        for r in range(rows):
            if pixel == 1:
                memcpy(y, values, g.Q * sizeof(real))
            else:
                for q in range(g.Q):
                    y[q * pixel] = values[q]
            y += g.y_down * g.y.row
            values += g.columns
        return
    count = set_lanes(g, &g.y, g.L, tile, row, at)
    if g.y_right == 1 and g.y_down == 1 and g.Q == g.YW:
        store_rows(g, values, rows * g.Q, y, at, count, pixel)
        return
    for r in range(rows):
        store_rows(g, values + r * g.Q * g.lanes, g.Q, y + r * g.y_down * g.y.row, at, count, pixel)


cdef void convolve_strip(const Geometry* g, const real* x, const real* weight, const real* bias,
                         real* y, real* memory, Py_ssize_t item, Py_ssize_t parts,
                         Py_ssize_t thread) noexcept nogil:
    """One work item: one strip of one unit or a vector of them, and one of `parts` shares of its
    rows."""
    cdef Py_ssize_t part = item % parts, strip = item // parts % g.strips
    cdef Py_ssize_t tile = item // parts // g.strips
    cdef Py_ssize_t first = tile % g.sets * g.rows, size = g.D * g.tap_count * g.factor
    cdef Py_ssize_t row = 0, i, count, chunk = 0
    cdef real* scratch = memory + scratch_at(g) + thread * convolve_scratch(g)
    cdef real* strip_end = scratch + g.strip_size
    cdef real* values = strip_end + canary_size(g)
    cdef real* values_end = values + value_size(g)
    cdef real* late = values_end + canary_size(g)
    cdef real* late_end = late + (chunk_size(g) if g.packed_late else 0)
    cdef const real* biases = memory + bias_at(g) + first * g.lanes
    cdef const real* packed
    cdef const real* strip_x
    cdef DirectSum s
    set_canary(<float*>strip_end)
    set_canary(<float*>values_end)
    set_canary(<float*>late_end)
    strip_x = load_strip(g, x, tile, strip, 0, g.D, scratch, <const real*>memory)
    s.blocked, s.scalars = g.axis != CHANNELS, g.axis == PIXELS
    s.blocks, s.block_stride = 1, 0
    s.channels, s.channel_stride = 1, 0
    s.steps, s.steps_count = g.places, g.D * g.tap_count
    s.places, s.places_count = g.pixels, vectors(g, strip)
    s.y_row = s.places_count * g.lanes
    while row < g.rows:
        count = rows_at(g, row)
        if chunk % parts == part:
            packed = memory + packed_at(g) + (first + row) * size
            if g.packed_late:
                pack_chunk(g, weight, bias, tile % g.sets, row, memory, late)
                packed = late
            s.rows = count
            g.kernels.sum(&s, packed, strip_x, biases + row * g.lanes, g.lanes, 0, values)
            for i in range(count):
                store_strip(g, <const real*>values + i * s.y_row, tile, row + i, strip, y)
        chunk += 1
        row += count
    check_canary(<const float*>strip_end, b"conv2d", b"strip")
    check_canary(<const float*>values_end, b"conv2d", b"values of a strip")
    check_canary(<const float*>late_end, b"conv2d", b"packed weights of a strip")


cdef void convolve_all(const Geometry* g, const real* x, const real* weight, const real* bias,
                       real* y, real* memory) noexcept nogil:
    """Run the whole plan on one thread."""
    cdef Py_ssize_t item
    place_weights(g, memory)
    for item in range(packs(g)):
        pack_weights(g, weight, bias, memory, item)
    for item in range(g.tiles * g.strips):
        convolve_strip(g, x, weight, bias, y, memory, item, 1, 0)
    check_weights(g, <const real*>memory)
