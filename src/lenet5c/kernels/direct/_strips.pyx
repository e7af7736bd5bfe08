"""The direct convolution of plain arrays, strip by strip; the declarations and what they mean are
in _strips.pxd.

A *unit* is one group of one sample: x (units, D, H, W) and y (units, L, YH, YW). Sixteen values go
blocked, either 16 output channels of one unit (`blocked` unset), or one channel each of 16 units
(set): the second way is for groups with few channels each. See direct.pxi for the sum that both
come down to.

A plan covers a grid of R x Q windows, (SH, SW) apart in the input, whose results lie (y_down,
y_right) apart in the output. The result of a convolution is one plan. Its data gradient is one for
each phase of the stride: the inputs of a phase are all reached through the same taps, from
neighbouring outputs.

A work item is a strip of output rows of one unit (or 16): it copies what the strip sees of x, zeros
around it included, into scratch, computes all its output channels, and transposes them into y.
Memory is a strip for each thread, which STRIP_FLOATS bounds unless a single row is larger, and the
weights in the order they are used.
"""
from libc.string cimport memcpy, memset

from lenet5c.kernels.simd.tiles cimport LANES, DirectSum, TileKernels, round_up

cdef enum:
    ROWS = 4                   # rows of 16 results that are in the works at a time
    LEAST_PIXELS = 48          # in a strip, if there are so many
    RANGE_PLACES = 288         # at most so many weight gradients of a filter in a work item
    LEAST_PLACES = 48          # and at least, if there are so many: each item transposes dy anew


# Sizes


cdef Py_ssize_t most_elements() noexcept nogil:
    """Of an array: 2**40, where a pointer has 64 bits."""
    return <Py_ssize_t>1 << (40 if sizeof(Py_ssize_t) == 8 else 23)


cdef Py_ssize_t times(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """a * b, neither of them negative, or a size that is refused and whose sums do not overflow."""
    cdef Py_ssize_t beyond = <Py_ssize_t>1 << (8 * <int>sizeof(Py_ssize_t) - 5)
    return a * b if b == 0 or a <= beyond // b else beyond


cdef Py_ssize_t divide_up(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef Py_ssize_t common_divisor(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b != 0:
        a, b = b, a % b
    return a


# Plans


cdef bint plan_result(Geometry* g, const TileKernels* kernels, const Units* u) noexcept nogil:
    """x -> y; the weight gradient goes along the same strips."""
    g.D, g.H, g.W = u.D, u.H, u.W
    g.L, g.YH, g.YW = u.L, u.OH, u.OW
    g.R, g.Q = u.OH, u.OW
    g.SH, g.SW = u.SH, u.SW
    g.y_top, g.y_left, g.y_down, g.y_right = 0, 0, 1, 1
    g.down = all_taps(u.KH, u.PH, u.DH)
    g.right = all_taps(u.KW, u.PW, u.DW)
    g.weight_filter, g.weight_channel = u.D * u.KH * u.KW, u.KH * u.KW
    return plan(g, kernels, u)


cdef bint plan_phase(Geometry* g, const TileKernels* kernels, const Units* u, Py_ssize_t a,
                     Py_ssize_t b) noexcept nogil:
    """dy -> dx, for every SH-th row from a on and every SW-th column from b on."""
    g.D, g.H, g.W = u.L, u.OH, u.OW
    g.L, g.YH, g.YW = u.D, u.H, u.W
    g.R, g.Q = divide_up(u.H - a, u.SH), divide_up(u.W - b, u.SW)
    g.SH, g.SW = 1, 1
    g.y_top, g.y_left, g.y_down, g.y_right = a, b, u.SH, u.SW
    g.down = phase_taps(u.KH, u.SH, u.PH, u.DH, a)
    g.right = phase_taps(u.KW, u.SW, u.PW, u.DW, b)
    g.weight_filter, g.weight_channel = u.KH * u.KW, u.D * u.KH * u.KW
    return plan(g, kernels, u)


cdef Taps all_taps(Py_ssize_t size, Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    cdef Taps t
    t.count, t.first, t.step = size, 0, 1
    t.offset, t.offset_step = -padding, dilation
    return t


cdef Taps phase_taps(Py_ssize_t size, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation,
                     Py_ssize_t phase) noexcept nogil:
    """Row phase + r stride of the input takes dy[r + (phase + padding - k dilation) / stride],
    where that is whole."""
    cdef Taps t
    cdef Py_ssize_t divisor = common_divisor(stride, dilation)
    t.count, t.first, t.step = 0, 0, stride // divisor
    t.offset, t.offset_step = 0, -(dilation // divisor)
    while t.first < min(size, t.step):
        if (phase + padding - t.first * dilation) % stride == 0:
            t.count = (size - 1 - t.first) // t.step + 1
            t.offset = (phase + padding - t.first * dilation) // stride
            break
        t.first += 1
    return t


cdef Py_ssize_t lowest(const Taps* t) noexcept nogil:
    return t.offset + min(t.offset_step * (t.count - 1), <Py_ssize_t>0) if t.count > 0 else 0


cdef Py_ssize_t span(const Taps* t) noexcept nogil:
    """Rows from the first that a tap sees to the last."""
    cdef Py_ssize_t step = t.offset_step if t.offset_step > 0 else -t.offset_step
    return step * (t.count - 1) + 1 if t.count > 0 else 1


cdef bint plan(Geometry* g, const TileKernels* kernels, const Units* u) noexcept nogil:
    """All the rest of a plan, but its lists of offsets."""
    cdef Py_ssize_t columns, end
    g.kernels = kernels
    g.blocked, g.groups, g.units = u.blocked, u.groups, u.count
    g.tiles = divide_up(u.count, LANES) if u.blocked else u.count
    g.sets = min(g.tiles, u.groups // common_divisor(u.groups, LANES)) if u.blocked else u.groups
    g.rows = g.L if u.blocked else divide_up(g.L, LANES)
    g.KW, g.all_taps = u.KW, u.KH * u.KW
    g.weight_group = u.L * u.D * g.all_taps
    g.tap_count = g.down.count * g.right.count
    g.lane = LANES if u.blocked else 1
    g.top, g.left, g.reach = lowest(&g.down), lowest(&g.right), span(&g.down)
    columns = (g.Q - 1) * g.SW + span(&g.right)
    end = g.top + (g.R - 1) * g.SH + g.reach
    g.copied = u.blocked or g.top < 0 or g.left < 0 or end > g.H or g.left + columns > g.W
    if times(g.D, times(columns, g.lane)) > most_elements():
        return False
    g.columns = columns if g.copied else g.W
    g.strip = strip_rows(g, columns, u.threads)
    g.strips = divide_up(g.R, g.strip)
    g.row_stride = g.columns * g.lane
    g.channel_stride = times((g.strip - 1) * g.SH + g.reach if g.copied else g.H, g.row_stride)
    g.strip_floats = times(g.D, g.channel_stride) if g.copied else 0
    g.steps = g.taps = g.pixels = g.places = NULL
    return (g.strip_floats <= most_elements() and times(g.strip, g.Q) <= most_elements()
            and times(times(g.sets, g.rows), times(times(g.D, g.tap_count),
                                                   LANES)) <= most_elements())


cdef Py_ssize_t strip_rows(const Geometry* g, Py_ssize_t columns,
                           Py_ssize_t threads) noexcept nogil:
    """As many rows as stay within STRIP_FLOATS, and few enough to give every thread its items."""
    cdef double line = <double>g.D * columns * g.lane
    cdef double results = <double>min(<Py_ssize_t>ROWS, g.rows) * g.Q * LANES
    cdef double most = (STRIP_FLOATS - line * (g.reach - g.SH)) / (line * g.SH + results)
    cdef Py_ssize_t rows = <Py_ssize_t>max(1., min(most, <double>g.R))
    if threads > 1:
        rows = min(rows, max(g.R * g.tiles // (ITEMS_PER_THREAD * threads), LEAST_PIXELS // g.Q))
    return divide_up(g.R, divide_up(g.R, max(rows, <Py_ssize_t>1)))


cdef Py_ssize_t offset_count(const Geometry* g) noexcept nogil:
    return 2 * g.tap_count + g.strip * g.Q + g.D * g.tap_count


cdef void write_offsets(Geometry* g, Py_ssize_t* memory) noexcept nogil:
    """The lists of a plan, into memory for offset_count(g) of them."""
    cdef Py_ssize_t* steps = memory
    cdef Py_ssize_t* taps = steps + g.tap_count
    cdef Py_ssize_t* pixels = taps + g.tap_count
    cdef Py_ssize_t* places = pixels + g.strip * g.Q
    cdef Py_ssize_t i, j, at = 0
    for i in range(g.down.count):
        for j in range(g.right.count):
            steps[at] = ((g.down.offset + i * g.down.offset_step - g.top) * g.row_stride
                         + (g.right.offset + j * g.right.offset_step - g.left) * g.lane)
            taps[at] = (g.down.first + i * g.down.step) * g.KW + g.right.first + j * g.right.step
            at += 1
    for i in range(g.strip):
        for j in range(g.Q):
            pixels[i * g.Q + j] = i * g.SH * g.row_stride + j * g.SW * g.lane
    for i in range(g.D):
        for j in range(g.tap_count):
            places[i * g.tap_count + j] = i * g.channel_stride + steps[j]
    g.steps, g.taps, g.pixels, g.places = steps, taps, pixels, places


# Tiles and strips


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
    """Which of the groups' output channels, in order, a lane computes."""
    if g.blocked:
        return (group_set * LANES + lane) % g.groups * g.L + row
    return group_set * g.L + min(row * LANES + lane, g.L - 1)


cdef Py_ssize_t rows_at(const Geometry* g, Py_ssize_t row) noexcept nogil:
    """How many rows, from this one on, are computed together: as many as fit of 4, 2, 1."""
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
    """What a strip sees of channels first .. stop of x: in its place if nothing is missing, or else
    in scratch."""
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


# Results


cdef Py_ssize_t convolve_scratch(const Geometry* g) noexcept nogil:
    """Floats of a thread."""
    return round_up(g.strip_floats + min(g.rows, g.kernels.direct_rows) * g.strip * g.Q * LANES)


cdef Py_ssize_t convolve_floats(const Geometry* g, Py_ssize_t threads) noexcept nogil:
    return (round_up(g.W) + g.sets * g.rows * (1 + g.D * g.tap_count) * LANES
            + threads * convolve_scratch(g))


cdef float* place_weights(const Geometry* g, Weights* w, float* memory) noexcept nogil:
    """Zeros at the start of the memory, the packed weights behind them; returns the threads'
    scratch."""
    memset(memory, 0, g.W * sizeof(float))
    w.bias = memory + round_up(g.W)
    w.packed = w.bias + g.sets * g.rows * LANES
    return w.packed + g.sets * g.rows * g.D * g.tap_count * LANES


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
    cdef float* values = scratch + g.strip_floats
    cdef const float* strip_x = load_strip(g, x, tile, strip, 0, g.D, scratch, zeros)
    cdef DirectSum s
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


# Weight gradients. The plan must not depend on the number of threads: the order of the sums depends
# on its strips.


cdef Totals plan_totals(const Geometry* g, Py_ssize_t threads, bint bias_alone) noexcept nogil:
    """A range takes the same sums in the same order wherever it begins: threads may decide on
    that."""
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
        * LANES)


cdef Py_ssize_t gradient_floats(const Geometry* g, const Totals* t,
                                Py_ssize_t threads) noexcept nogil:
    return (zeros_floats(g) + g.sets * g.rows * (t.count + 1) * LANES
            + max(threads * gradient_scratch(g, t), t.count * LANES))


cdef float* place_totals(const Geometry* g, Totals* t, float* memory) noexcept nogil:
    """Zeros at the start of the memory, the totals behind them; returns the threads' scratch."""
    memset(memory, 0, zeros_floats(g) * sizeof(float))
    t.dweight = memory + zeros_floats(g)
    t.dbias = t.dweight + g.sets * g.rows * t.count * LANES
    return t.dbias + g.sets * g.rows * LANES


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
    """One work item: a range of the weight gradients of some rows of one set, summed over all its
    tiles."""
    cdef Py_ssize_t part = item % t.ranges, group_set = item // t.ranges // t.chunks
    cdef Py_ssize_t row = first_row(g, item // t.ranges % t.chunks), count = rows_at(g, row)
    cdef Py_ssize_t first = part * t.range_places, places = min(t.range_places, t.count - first)
    cdef float* total = t.dweight + ((group_set * g.rows + row) * t.count + first) * LANES
    cdef float* total_bias = t.dbias + (group_set * g.rows + row) * LANES
    cdef float* values = scratch + g.strip_floats
    cdef float* sums = values + count * g.strip * g.Q * LANES
    cdef Py_ssize_t tile, strip, i, j
    cdef const float* strip_x
    cdef DirectSum s
    s.blocked, s.rows = g.blocked, count
    s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, 1, 0
    s.steps = g.pixels
    s.places, s.places_count = g.places + first, places
    s.y_row = places * LANES
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
    """dweight and dbias, either of them unless it is NULL; filters is scratch, as deliver_row takes
    it."""
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
    deliver_totals(g, &t, dweight, dbias, scratch)
