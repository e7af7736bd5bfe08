# Weight gradients. The plan must not depend on the number of threads, as the order of the sums
# depends on its strips; nor can it have pixels side by side, over which the sums go.


cdef Totals plan_totals(const Geometry* g, Py_ssize_t threads, bint bias_alone) noexcept nogil:
    """Divide the sums into ranges; the order of additions is the same for any number of threads."""
    cdef Totals t
    t.chunks = chunks(g)
    t.count = 0 if bias_alone else g.D * g.tap_count
    t.range_places = t.count
    if threads > 1:
        t.range_places = max(t.count * g.sets * t.chunks // (threads * ITEMS_PER_THREAD),
                             <Py_ssize_t>MIN_PLACES)
    t.range_places = min(t.count, min(t.range_places, <Py_ssize_t>RANGE_PLACES))
    t.ranges = 1 if t.count == 0 else divide_up(t.count, t.range_places)
    return t


cdef Py_ssize_t gradient_scratch(const Geometry* g, const Totals* t) noexcept nogil:
    """Return the scratch of a thread, in values."""
    cdef Py_ssize_t rows = min(g.rows, g.most_rows)
    return round_up(g.strip_size + rows * (g.strip * g.Q + 2 * t.range_places + 1) * g.lanes
                    + 2 * canary_size(g))


cdef Py_ssize_t gradient_floats(const Geometry* g, const Totals* t,
                                Py_ssize_t threads) noexcept nogil:
    return value_floats(g) * (dbias_end(g, t) + canary_size(g)
                              + max(threads * gradient_scratch(g, t), t.count * g.lanes))


# Where zeros end and sums (sets, rows, D taps) of vectors begin, (sets, rows) of the bias begin and
# end: of units, several of which may share a filter. Sums of channels go straight to the filters.
cdef Py_ssize_t sums_at(const Geometry* g) noexcept nogil:
    return round_up(max(g.W, g.strip * g.Q, g.lanes))


cdef Py_ssize_t dbias_at(const Geometry* g, const Totals* t) noexcept nogil:
    return sums_at(g) + (g.sets * g.rows * t.count * g.lanes if g.axis == UNITS else 0)


cdef Py_ssize_t dbias_end(const Geometry* g, const Totals* t) noexcept nogil:
    return dbias_at(g, t) + (g.sets * g.rows * g.lanes if g.axis == UNITS else 0)


cdef void place_totals(const Geometry* g, const Totals* t, real* memory) noexcept nogil:
    memset(memory, 0, sums_at(g) * sizeof(real))
    set_canary(<float*>(memory + dbias_end(g, t)))


cdef void check_totals(const Geometry* g, const Totals* t, const real* memory) noexcept nogil:
    check_canary(<const float*>(memory + dbias_end(g, t)), b"conv2d", b"totals of weight gradients")


cdef void load_gradient(const Geometry* g, const real* dy, Py_ssize_t tile, Py_ssize_t strip,
                        Py_ssize_t row, Py_ssize_t count, const real* zeros,
                        real* values) noexcept nogil:
    """dy of a strip and `count` rows from `row` on -> values (pixels, count, lanes)."""
    cdef Py_ssize_t i, lanes, pixels = min(g.strip, g.R - strip * g.strip) * g.Q
    cdef Py_ssize_t at[MAX_LANES]
    dy += strip * g.strip * g.y.row
    for i in range(count):
        lanes = set_lanes(g, &g.y, g.L, tile, row + i, at)
        load_rows(g, dy, at, lanes, g.y.pixel, pixels, values + i * g.lanes, count * g.lanes, zeros)


cdef void sum_range(const Geometry* g, const Totals* t, const real* x, const real* dy,
                    real* dweight, real* dbias, real* memory, Py_ssize_t item,
                    Py_ssize_t thread) noexcept nogil:
    """Sum one work item: a range of the gradients of some rows of one set over its tiles."""
    cdef Py_ssize_t part = item % t.ranges, group_set = item // t.ranges // t.chunks
    cdef Py_ssize_t row = first_row(g, item // t.ranges % t.chunks), count = rows_at(g, row)
    cdef Py_ssize_t first = part * t.range_places, places = min(t.range_places, t.count - first)
    cdef const real* zeros = memory
    cdef real* scratch = (memory + dbias_end(g, t) + canary_size(g)
                          + thread * gradient_scratch(g, t))
    cdef real* strip_end = scratch + g.strip_size
    cdef real* values = strip_end + canary_size(g)
    cdef real* sums = values + count * g.strip * g.Q * g.lanes
    cdef real* total = sums + count * places * g.lanes
    cdef real* total_bias = total + count * places * g.lanes
    cdef real* sums_end = total_bias + count * g.lanes
    cdef Py_ssize_t tile, strip, i, j, total_row = places * g.lanes
    cdef const real* strip_x
    cdef DirectSum s
    if g.axis == UNITS:
        total_row = t.count * g.lanes
        total = memory + sums_at(g) + (group_set * g.rows + row) * total_row + first * g.lanes
        total_bias = memory + dbias_at(g, t) + (group_set * g.rows + row) * g.lanes
    s.blocked, s.scalars, s.rows = g.axis == UNITS, False, count
    s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, 1, 0
    s.steps = g.pixels
    s.places, s.places_count = g.places + first, places
    s.y_row = places * g.lanes
    set_canary(<float*>strip_end)
    set_canary(<float*>sums_end)
    for i in range(count):
        memset(total + i * total_row, 0, places * VECTOR_BYTES)
    if part == 0:
        memset(total_bias, 0, count * VECTOR_BYTES)
    tile = group_set
    while tile < g.tiles:
        for strip in range(g.strips):
            s.steps_count = min(g.strip, g.R - strip * g.strip) * g.Q
            load_gradient(g, dy, tile, strip, row, count, zeros, values)
            if places > 0:
                strip_x = load_strip(g, x, tile, strip, first // g.tap_count, (first + places - 1)
                                     // g.tap_count + 1, scratch, zeros)
                g.kernels.sum(&s, values, strip_x, zeros, 0, 0, sums)
            for i in range(count):
                for j in range(places * g.lanes):
                    total[i * total_row + j] += sums[i * s.y_row + j]
            if part == 0:
                g.kernels.add_columns(values, s.steps_count, count, total_bias)
        tile += g.sets
    if g.axis == CHANNELS:
        for i in range(count):
            deliver_channels(g, group_set, row + i, first, places, total + i * total_row, dweight)
            if part == 0 and dbias is not NULL:
                memcpy(dbias + group_set * g.L + (row + i) * g.lanes, total_bias + i * g.lanes,
                       min(g.lanes, g.L - (row + i) * g.lanes) * sizeof(real))
    check_canary(<const float*>strip_end, b"conv2d", b"strip")
    check_canary(<const float*>sums_end, b"conv2d", b"sums of a strip")


cdef void deliver_channels(const Geometry* g, Py_ssize_t group_set, Py_ssize_t row,
                           Py_ssize_t first, Py_ssize_t places, const real* total,
                           real* dweight) noexcept nogil:
    """total (places, lanes), the sums of some places of a row, to the filters.

    Places follow each other in the filters: taps of one channel, or channels of one tap.
    """
    cdef Py_ssize_t lanes = min(g.lanes, g.L - row * g.lanes)
    cdef Py_ssize_t stride = g.weight_channel if g.weight_filter == 1 else 1
    cdef Py_ssize_t at[MAX_LANES]
    cdef Py_ssize_t lane
    for lane in range(lanes):
        at[lane] = weight_at(g, filter_of(g, group_set, row, lane)) + first * stride
    if places > 0:
        store_rows(g, total, places, dweight, at, lanes, stride)


cdef void deliver_units(const Geometry* g, const Totals* t, Py_ssize_t item, real* dweight,
                        real* dbias, real* memory) noexcept nogil:
    """Add one row of one set to the filters it belongs to."""
    cdef Py_ssize_t lane, d, k, filter
    cdef const real* bias = memory + dbias_at(g, t) + item * g.lanes
    cdef real* filters = memory + dbias_end(g, t) + canary_size(g)     # (lanes, D taps)
    cdef void* rows[MAX_LANES]
    cdef real* to
    for lane in range(g.lanes):
        rows[lane] = filters + lane * t.count
    g.kernels.unpack_rows(memory + sums_at(g) + item * t.count * g.lanes, t.count, g.lanes, rows)
    for lane in range(g.lanes):
        filter = filter_of(g, item // g.rows, item % g.rows, lane)
        if dbias is not NULL:
            dbias[filter] += bias[lane]
        if dweight is NULL:
            continue
        to = dweight + weight_at(g, filter)
        for d in range(g.D):
            for k in range(g.tap_count):
                to[d * g.weight_channel + k * g.weight_tap] += filters[d * g.tap_count + k]
        filters += t.count


cdef void deliver_totals(const Geometry* g, const Totals* t, real* dweight, real* dbias,
                         real* memory) noexcept nogil:
    """Write dweight and dbias, unless NULL or written by sum_range."""
    cdef Py_ssize_t item
    if g.axis == CHANNELS and g.units > 0:
        return
    if dweight is not NULL:
        memset(dweight, 0, g.groups * g.L * t.count * sizeof(real))
    if dbias is not NULL:
        memset(dbias, 0, g.groups * g.L * sizeof(real))
    if g.units > 0:
        for item in range(g.sets * g.rows):
            deliver_units(g, t, item, dweight, dbias, memory)


cdef void weight_gradient_all(const Geometry* g, const real* x, const real* dy, real* dweight,
                              real* dbias, real* memory) noexcept nogil:
    """Run the whole plan on one thread; dweight or dbias may be NULL, and x if dweight is."""
    cdef Totals t = plan_totals(g, 1, dweight is NULL)
    cdef Py_ssize_t item
    place_totals(g, &t, memory)
    if g.units > 0:
        for item in range(g.sets * t.chunks * t.ranges):
            sum_range(g, &t, x, dy, dweight, dbias, memory, item, 0)
    check_totals(g, &t, <const real*>memory)
    deliver_totals(g, &t, dweight, dbias, memory)
