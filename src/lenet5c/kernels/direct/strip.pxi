# What a strip sees of the input, and its results.


# Where the 16 values side by side of a row lie in y.
cdef struct Lanes:
    Py_ssize_t first, stride, count


cdef Lanes lanes_of(const Geometry* g, Py_ssize_t tile, Py_ssize_t row) noexcept nogil:
    cdef Lanes lanes
    cdef Py_ssize_t plane = g.YH * g.YW
    if g.blocked:
        lanes.first = (tile * LANES * g.L + row) * plane
        lanes.stride = g.L * plane
        lanes.count = min(<Py_ssize_t>LANES, g.units - tile * LANES)
    else:
        lanes.first = (tile * g.L + row * LANES) * plane
        lanes.stride = plane
        lanes.count = min(<Py_ssize_t>LANES, g.L - row * LANES)
    return lanes


cdef Py_ssize_t filter_of(const Geometry* g, Py_ssize_t group_set, Py_ssize_t row,
                          Py_ssize_t lane) noexcept nogil:
    """The output channel, counted over all groups, that a lane computes."""
    if g.blocked:
        return (group_set * LANES + lane) % g.groups * g.L + row
    return group_set * g.L + min(row * LANES + lane, g.L - 1)


cdef Py_ssize_t rows_at(const Geometry* g, Py_ssize_t row) noexcept nogil:
    """Rows from this one on that are computed together: as many as fit of 4, 2, 1."""
    cdef Py_ssize_t count = g.kernels.direct_rows
    while count > g.rows - row:
        count //= 2
    return count


cdef Py_ssize_t first_row(const Geometry* g, Py_ssize_t chunk) noexcept nogil:
    """The first row of a chunk: of rows that are computed together."""
    cdef Py_ssize_t row = 0
    while chunk > 0:
        row += rows_at(g, row)
        chunk -= 1
    return row


cdef const float* load_strip(const Geometry* g, const float* x, Py_ssize_t tile, Py_ssize_t strip,
                             Py_ssize_t first, Py_ssize_t stop, float* scratch,
                             const float* zeros) noexcept nogil:
    """Return channels first .. stop of a strip of x, in place or completed in scratch."""
    cdef Py_ssize_t top = strip * g.strip * g.SH + g.top
    cdef Py_ssize_t rows = (min(g.strip, g.R - strip * g.strip) - 1) * g.SH + g.reach
    cdef Py_ssize_t left = max(-g.left, <Py_ssize_t>0)       # columns of zeros
    cdef Py_ssize_t width = min(g.W - g.left, g.columns) - left
    cdef Py_ssize_t d, i, lane, size = g.D * g.H * g.W
    cdef const float* image
    cdef const float* samples[LANES]
    cdef float* to
    if not g.copied:
        return x + tile * size + top * g.W + g.left
    for d in range(first, stop):
        for i in range(rows):
            to = scratch + d * g.channel_stride + i * g.row_stride
            if not 0 <= top + i < g.H or width <= 0:
                memset(to, 0, g.row_stride * sizeof(float))
                continue
            image = x + (d * g.H + top + i) * g.W + g.left + left
            if g.blocked:
                memset(to, 0, left * LANES * sizeof(float))
                for lane in range(LANES):
                    samples[lane] = zeros
                    if tile * LANES + lane < g.units:
                        samples[lane] = image + (tile * LANES + lane) * size
                g.kernels.pack_rows(samples, width, to + left * LANES, LANES)
                memset(to + (left + width) * LANES, 0, (g.columns - left - width) * LANES
                       * sizeof(float))
            else:
                memset(to, 0, left * sizeof(float))
                memcpy(to + left, image + tile * size, width * sizeof(float))
                memset(to + left + width, 0, (g.columns - left - width) * sizeof(float))
    return scratch


cdef Py_ssize_t value_floats(const Geometry* g) noexcept nogil:
    """Of the rows of a strip that are in the works at a time."""
    return min(g.rows, g.kernels.direct_rows) * g.strip * g.Q * LANES


cdef Py_ssize_t convolve_scratch(const Geometry* g) noexcept nogil:
    """Floats of a thread."""
    return round_up(g.strip_floats + value_floats(g) + 2 * CANARY_FLOATS)


cdef Py_ssize_t convolve_floats(const Geometry* g, Py_ssize_t threads) noexcept nogil:
    return (round_up(g.W) + g.sets * g.rows * (1 + g.D * g.tap_count) * LANES + CANARY_FLOATS
            + threads * convolve_scratch(g))


cdef float* place_weights(const Geometry* g, Weights* w, float* memory) noexcept nogil:
    """Place zeros and the packed weights after them; return the threads' scratch."""
    memset(memory, 0, g.W * sizeof(float))
    w.bias = memory + round_up(g.W)
    w.packed = w.bias + g.sets * g.rows * LANES
    set_canary(packed_end(g, w))
    return packed_end(g, w) + CANARY_FLOATS


cdef float* packed_end(const Geometry* g, const Weights* w) noexcept nogil:
    return w.packed + g.sets * g.rows * g.D * g.tap_count * LANES


cdef void check_weights(const Geometry* g, const Weights* w) noexcept nogil:
    check_canary(packed_end(g, w), b"conv2d", b"packed weights of strips")


cdef void pack_weights(const Geometry* g, const Weights* w, Py_ssize_t item) noexcept nogil:
    """The weights of one row of one set."""
    cdef Py_ssize_t group_set = item // g.rows, row = item % g.rows
    cdef Py_ssize_t chunk, rows, lane, d, k, filter, size = g.D * g.tap_count * LANES
    cdef const float* lanes[LANES]
    cdef float* to
    chunk = 0
    while chunk + rows_at(g, chunk) <= row:
        chunk += rows_at(g, chunk)
    rows = rows_at(g, chunk)
    to = w.packed + (group_set * g.rows + chunk) * size + (row - chunk) * LANES
    for lane in range(LANES):
        filter = filter_of(g, group_set, row, lane)
        lanes[lane] = w.start + filter // g.L * g.weight_group + filter % g.L * g.weight_filter
        w.bias[item * LANES + lane] = w.given_bias[filter] if w.given_bias is not NULL else 0
    if g.tap_count == g.all_taps and g.weight_channel == g.all_taps:
        g.kernels.pack_rows(lanes, g.D * g.tap_count, to, rows * LANES)
        return
    for d in range(g.D):
        for k in range(g.tap_count):
            for lane in range(LANES):
                to[lane] = lanes[lane][d * g.weight_channel + g.taps[k]]
            to += rows * LANES


cdef void store_strip(const Geometry* g, const float* values, Lanes lanes, Py_ssize_t strip,
                      float* y) noexcept nogil:
    """values (strip rows, Q, 16) into y."""
    cdef Py_ssize_t rows = min(g.strip, g.R - strip * g.strip)
    cdef Py_ssize_t r, q, lane
    cdef float* to
    y += lanes.first + (g.y_top + strip * g.strip * g.y_down) * g.YW + g.y_left
    if g.y_right == 1 and g.y_down == 1 and g.Q == g.YW:
        g.kernels.unpack_rows(values, rows * g.Q, lanes.count, lanes.stride, y)
        return
    for r in range(rows):
        if g.y_right == 1:
            g.kernels.unpack_rows(values + r * g.Q * LANES, g.Q, lanes.count, lanes.stride,
                                  y + r * g.y_down * g.YW)
            continue
        for lane in range(lanes.count):
            to = y + lane * lanes.stride + r * g.y_down * g.YW
            for q in range(g.Q):
                to[q * g.y_right] = values[(r * g.Q + q) * LANES + lane]


cdef void convolve_strip(const Geometry* g, const Weights* w, const float* x, float* y,
                         Py_ssize_t item, Py_ssize_t parts, float* scratch,
                         const float* zeros) noexcept nogil:
    """One work item: one strip of one unit or 16, and one of `parts` shares of its rows."""
    cdef Py_ssize_t part = item % parts, strip = item // parts % g.strips
    cdef Py_ssize_t tile = item // parts // g.strips
    cdef Py_ssize_t group_set = tile % g.sets, size = g.D * g.tap_count * LANES
    cdef Py_ssize_t row = 0, i, count, chunk = 0
    cdef float* strip_end = scratch + g.strip_floats
    cdef float* values = strip_end + CANARY_FLOATS
    cdef float* values_end = values + value_floats(g)
    cdef const float* strip_x
    cdef DirectSum s
    set_canary(strip_end)
    set_canary(values_end)
    strip_x = load_strip(g, x, tile, strip, 0, g.D, scratch, zeros)
    s.blocked = g.blocked
    s.blocks, s.block_stride = 1, 0
    s.channels, s.channel_stride = g.D, g.channel_stride
    s.steps, s.steps_count = g.steps, g.tap_count
    s.places, s.places_count = g.pixels, min(g.strip, g.R - strip * g.strip) * g.Q
    s.y_row = s.places_count * LANES
    while row < g.rows:
        count = rows_at(g, row)
        if chunk % parts == part:
            s.rows = count
            g.kernels.direct_sum(&s, w.packed + (group_set * g.rows + row) * size, strip_x,
                                 w.bias + (group_set * g.rows + row) * LANES, LANES, 0, values)
            for i in range(count):
                store_strip(g, values + i * s.y_row, lanes_of(g, tile, row + i), strip, y)
        chunk += 1
        row += count
    check_canary(strip_end, b"conv2d", b"strip")
    check_canary(values_end, b"conv2d", b"values of a strip")


cdef void convolve_all(const Geometry* g, const float* x, const float* weight, const float* bias,
                       float* y, float* memory) noexcept nogil:
    """The whole plan on one thread."""
    cdef Weights w
    cdef Py_ssize_t item
    cdef float* scratch = place_weights(g, &w, memory)
    w.start, w.given_bias = weight, bias
    for item in range(g.sets * g.rows):
        pack_weights(g, &w, item)
    for item in range(g.tiles * g.strips):
        convolve_strip(g, &w, x, y, item, 1, scratch, memory)
    check_weights(g, &w)
