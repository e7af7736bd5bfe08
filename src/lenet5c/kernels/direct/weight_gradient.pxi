# Weight gradients. The plan must not depend on the number of threads: the order of the sums depends
# on its strips.


cdef Totals plan_totals(const Geometry* g, Py_ssize_t threads, bint bias_alone) noexcept nogil:
    """Cut into ranges, each with the same sums in the same order for any threads."""
    cdef Totals t
    cdef Py_ssize_t row = 0
    t.dweight = t.dbias = NULL
    t.chunks = 0
    while row < g.rows:
        row += rows_at(g, row)
        t.chunks += 1
    t.count = 0 if bias_alone else g.D * g.tap_count
    t.range_places = t.count
    if threads > 1:
        t.range_places = max(t.count * g.sets * t.chunks // (threads * ITEMS_PER_THREAD),
                             <Py_ssize_t>LEAST_PLACES)
    t.range_places = min(t.count, min(t.range_places, <Py_ssize_t>RANGE_PLACES))
    t.ranges = 1 if t.count == 0 else divide_up(t.count, t.range_places)
    return t


cdef Py_ssize_t zeros_floats(const Geometry* g) noexcept nogil:
    return round_up(max(g.W, g.strip * g.Q, <Py_ssize_t>LANES))


cdef Py_ssize_t gradient_scratch(const Geometry* g, const Totals* t) noexcept nogil:
    """Floats of a thread."""
    return round_up(
        g.strip_floats + min(g.rows, g.kernels.direct_rows) * (g.strip * g.Q + t.range_places)
        * LANES + 2 * CANARY_FLOATS)


cdef Py_ssize_t gradient_floats(const Geometry* g, const Totals* t,
                                Py_ssize_t threads) noexcept nogil:
    return (zeros_floats(g) + g.sets * g.rows * (t.count + 1) * LANES + CANARY_FLOATS
            + max(threads * gradient_scratch(g, t), t.count * LANES))


cdef float* place_totals(const Geometry* g, Totals* t, float* memory) noexcept nogil:
    """Zeros at the start of the memory, the totals after them; returns the threads' scratch."""
    memset(memory, 0, zeros_floats(g) * sizeof(float))
    t.dweight = memory + zeros_floats(g)
    t.dbias = t.dweight + g.sets * g.rows * t.count * LANES
    set_canary(totals_end(g, t))
    return totals_end(g, t) + CANARY_FLOATS


cdef float* totals_end(const Geometry* g, const Totals* t) noexcept nogil:
    return t.dbias + g.sets * g.rows * LANES


cdef void check_totals(const Geometry* g, const Totals* t) noexcept nogil:
    check_canary(totals_end(g, t), b"conv2d", b"totals of weight gradients")


cdef void load_gradient(const Geometry* g, const float* dy, Py_ssize_t tile, Py_ssize_t strip,
                        Py_ssize_t row, Py_ssize_t count, const float* zeros,
                        float* values) noexcept nogil:
    """dy of a strip and `count` rows from `row` on -> values (pixels, count, 16)."""
    cdef Py_ssize_t i, lane, pixels = min(g.strip, g.R - strip * g.strip) * g.Q
    cdef const float* samples[LANES]
    cdef Lanes lanes
    for i in range(count):
        lanes = lanes_of(g, tile, row + i)
        for lane in range(LANES):
            samples[lane] = zeros
            if lane < lanes.count:
                samples[lane] = dy + lanes.first + lane * lanes.stride + strip * g.strip * g.Q
        g.kernels.pack_rows(samples, pixels, values + i * LANES, count * LANES)


cdef void sum_range(const Geometry* g, const Totals* t, const float* x, const float* dy,
                    Py_ssize_t item, float* scratch, const float* zeros) noexcept nogil:
    """Sum one work item: a range of the gradients of some rows of one set over its tiles."""
    cdef Py_ssize_t part = item % t.ranges, group_set = item // t.ranges // t.chunks
    cdef Py_ssize_t row = first_row(g, item // t.ranges % t.chunks), count = rows_at(g, row)
    cdef Py_ssize_t first = part * t.range_places, places = min(t.range_places, t.count - first)
    cdef float* total = t.dweight + ((group_set * g.rows + row) * t.count + first) * LANES
    cdef float* total_bias = t.dbias + (group_set * g.rows + row) * LANES
    cdef float* strip_end = scratch + g.strip_floats
    cdef float* values = strip_end + CANARY_FLOATS
    cdef float* sums = values + count * g.strip * g.Q * LANES
    cdef float* sums_end = sums + count * places * LANES
    cdef Py_ssize_t tile, strip, i, j
    cdef const float* strip_x
    cdef DirectSum s
    s.blocked, s.rows = g.blocked, count
    s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, 1, 0
    s.steps = g.pixels
    s.places, s.places_count = g.places + first, places
    s.y_row = places * LANES
    set_canary(strip_end)
    set_canary(sums_end)
    for i in range(count):
        memset(total + i * t.count * LANES, 0, places * LANES * sizeof(float))
    if part == 0:
        memset(total_bias, 0, count * LANES * sizeof(float))
    tile = group_set
    while tile < g.tiles:
        for strip in range(g.strips):
            s.steps_count = min(g.strip, g.R - strip * g.strip) * g.Q
            load_gradient(g, dy, tile, strip, row, count, zeros, values)
            if places > 0:
                strip_x = load_strip(g, x, tile, strip, first // g.tap_count, (first + places - 1)
                                     // g.tap_count + 1, scratch, zeros)
                g.kernels.direct_sum(&s, values, strip_x, zeros, 0, 0, sums)
            for i in range(count):
                for j in range(places * LANES):
                    total[i * t.count * LANES + j] += sums[i * s.y_row + j]
            if part == 0:
                g.kernels.add_columns(values, s.steps_count, count, total_bias)
        tile += g.sets
    check_canary(strip_end, b"conv2d", b"strip")
    check_canary(sums_end, b"conv2d", b"sums of a strip")


cdef void deliver_row(const Geometry* g, const Totals* t, Py_ssize_t item, float* dweight,
                      float* dbias, float* filters) noexcept nogil:
    """Add one row of one set to the filters it belongs to; filters (16, D taps) is scratch."""
    cdef Py_ssize_t group_set = item // g.rows, row = item % g.rows
    cdef Py_ssize_t lane
    cdef Py_ssize_t k
    cdef Py_ssize_t filter
    cdef Py_ssize_t lanes = LANES if g.blocked else min(<Py_ssize_t>LANES, g.L - row * LANES)
    g.kernels.unpack_rows(t.dweight + item * t.count * LANES, t.count, lanes, t.count, filters)
    for lane in range(lanes):
        filter = filter_of(g, group_set, row, lane)
        if dbias is not NULL:
            dbias[filter] += t.dbias[item * LANES + lane]
        for k in range(t.count):
            dweight[filter * t.count + k] += filters[lane * t.count + k]


cdef void deliver_totals(const Geometry* g, const Totals* t, float* dweight, float* dbias,
                         float* filters) noexcept nogil:
    """Deliver dweight and dbias, unless NULL; filters is scratch as of deliver_row."""
    cdef Py_ssize_t item
    if dweight is not NULL:
        memset(dweight, 0, g.groups * g.L * t.count * sizeof(float))
    if dbias is not NULL:
        memset(dbias, 0, g.groups * g.L * sizeof(float))
    if g.units > 0:
        for item in range(g.sets * g.rows):
            deliver_row(g, t, item, dweight, dbias, filters)


cdef void weight_gradient_all(const Geometry* g, const float* x, const float* dy, float* dweight,
                              float* dbias, float* memory) noexcept nogil:
    """The whole plan on one thread; dweight or dbias may be NULL, x if dweight is."""
    cdef Totals t = plan_totals(g, 1, dweight is NULL)
    cdef Py_ssize_t item
    cdef float* scratch = place_totals(g, &t, memory)
    if g.units > 0:
        for item in range(g.sets * t.chunks * t.ranges):
            sum_range(g, &t, x, dy, item, scratch, memory)
    check_totals(g, &t)
    deliver_totals(g, &t, dweight, dbias, scratch)
