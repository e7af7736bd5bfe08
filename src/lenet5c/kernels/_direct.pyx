"""Convolution of plain arrays, strip by strip: its result and its gradients, in one OpenMP region each.

A *unit* is one group of one sample: x (units, D, H, W) and y (units, L, YH, YW). Sixteen values go abreast, either
16 output channels of one unit (`abreast` unset), or one channel each of 16 units (set): the second way is for groups
with few channels each. See direct.pxi for the sum that both come down to.

A work item is a strip of output rows of one unit (or 16): a thread copies what the strip sees of x, zeros around it
included, into its scratch, computes all its output channels, and transposes them into y. Memory is a strip for each
thread (strips.py bounds it), and the weights in the order they are used.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from lenet5c.kernels._workspace cimport Workspace
from lenet5c.kernels.tiles cimport DirectSum, TileKernels, useful_threads

cdef enum:
    LANES = 16
    RANGE_PLACES = 288         # at most so many weight gradients of a filter in a work item
    LEAST_PLACES = 48          # and at least, if there are so many: each item transposes dy anew
    ITEMS_PER_THREAD = 4
    IDLE_FLOATS = 16777216     # 64 MiB: larger workspaces are not kept for the next call

cdef list idle_workspaces = []


# The fields of strips.Plan. x (units, D, H, W), y (units, L, YH, YW)
cdef struct Geometry:
    const TileKernels* kernels
    bint abreast
    Py_ssize_t groups, units, tiles, sets
    Py_ssize_t rows
    Py_ssize_t D, H, W
    Py_ssize_t L, YH, YW
    Py_ssize_t R, Q
    Py_ssize_t SH
    Py_ssize_t y_top, y_left, y_down, y_right
    Py_ssize_t top, left             # where the first window begins in x: outside, if negative
    Py_ssize_t reach, columns        # rows of a window, columns of a strip
    bint copied
    Py_ssize_t strip, strips
    Py_ssize_t row_stride, channel_stride, strip_floats
    const Py_ssize_t* steps
    const Py_ssize_t* taps
    Py_ssize_t tap_count
    const Py_ssize_t* pixels


cdef class Strips:
    """A plan in compiled form."""
    cdef Geometry geometry
    cdef const Py_ssize_t[::1] steps, taps, pixels, places
    cdef object capsule

    def __cinit__(self, plan, capsule):
        cdef Geometry* g = &self.geometry
        self.capsule = capsule
        self.steps, self.taps, self.pixels, self.places = plan.steps, plan.taps, plan.pixels, plan.places
        g.kernels = <const TileKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.TileKernels")
        g.abreast, g.groups, g.units, g.tiles, g.sets, g.rows = (
            plan.abreast, plan.groups, plan.units, plan.tiles, plan.sets, plan.rows)
        g.D, g.H, g.W = plan.in_shape
        g.L, g.YH, g.YW = plan.out_shape
        g.R, g.Q = plan.grid
        g.SH = plan.stride[0]
        g.y_top, g.y_left = plan.y_start
        g.y_down, g.y_right = plan.y_step
        g.top, g.left, g.reach, g.columns = plan.top, plan.left, plan.reach, plan.columns
        g.copied, g.strip, g.strips = plan.copied, plan.strip, plan.strips
        g.row_stride, g.channel_stride, g.strip_floats = plan.row_stride, plan.channel_stride, plan.strip_floats
        g.tap_count = self.taps.shape[0]
        g.steps = &self.steps[0] if g.tap_count > 0 else NULL
        g.taps = &self.taps[0] if g.tap_count > 0 else NULL
        g.pixels = &self.pixels[0]


cdef Workspace take_workspace(Py_ssize_t floats):
    """An idle workspace of at least this size, or a new one."""
    cdef Workspace space
    try:
        space = idle_workspaces.pop()
    except IndexError:
        return Workspace(floats)
    return space if space.floats >= floats else Workspace(floats)


cdef give_back(Workspace space):
    if space.floats <= IDLE_FLOATS:
        idle_workspaces.append(space)


# Where the 16 values abreast of a row lie in y.
cdef struct Lanes:
    Py_ssize_t first, stride, count


cdef Lanes lanes_of(const Geometry* g, Py_ssize_t tile, Py_ssize_t row) noexcept nogil:
    cdef Lanes lanes
    cdef Py_ssize_t plane = g.YH * g.YW
    if g.abreast:
        lanes.first = (tile * LANES * g.L + row) * plane
        lanes.stride = g.L * plane
        lanes.count = min(<Py_ssize_t>LANES, g.units - tile * LANES)
    else:
        lanes.first = (tile * g.L + row * LANES) * plane
        lanes.stride = plane
        lanes.count = min(<Py_ssize_t>LANES, g.L - row * LANES)
    return lanes


cdef Py_ssize_t filter_of(const Geometry* g, Py_ssize_t group_set, Py_ssize_t row, Py_ssize_t lane) noexcept nogil:
    """Which of the groups' output channels, in order, a lane computes."""
    if g.abreast:
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


cdef const float* load_strip(const Geometry* g, const float* x, Py_ssize_t tile, Py_ssize_t strip, Py_ssize_t first,
                             Py_ssize_t stop, float* scratch, const float* zeros) noexcept nogil:
    """What a strip sees of channels first .. stop of x: in its place if nothing is missing, or else in scratch."""
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
            if g.abreast:
                memset(to, 0, left * LANES * sizeof(float))
                for lane in range(LANES):
                    samples[lane] = zeros
                    if tile * LANES + lane < g.units:
                        samples[lane] = image + (tile * LANES + lane) * size
                g.kernels.pack_rows(samples, width, to + left * LANES, LANES)
                memset(to + (left + width) * LANES, 0, (g.columns - left - width) * LANES * sizeof(float))
            else:
                memset(to, 0, left * sizeof(float))
                memcpy(to + left, image + tile * size, width * sizeof(float))
                memset(to + left + width, 0, (g.columns - left - width) * sizeof(float))
    return scratch


# Results


# The weights as they lie in the caller's array, and packed for each set and row.
cdef struct Weights:
    const float* start
    Py_ssize_t group_stride, filter_stride, channel_stride
    Py_ssize_t all_taps
    float* packed                    # (sets, rows in chunks, D, taps, rows of the chunk, 16)
    float* bias                      # (sets, rows, 16)
    const float* given_bias


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
        lanes[lane] = w.start + filter // g.L * w.group_stride + filter % g.L * w.filter_stride
        w.bias[item * LANES + lane] = w.given_bias[filter] if w.given_bias is not NULL else 0
    if g.tap_count == w.all_taps and w.channel_stride == w.all_taps:
        g.kernels.pack_rows(lanes, g.D * g.tap_count, to, rows * LANES)
        return
    for d in range(g.D):
        for k in range(g.tap_count):
            for lane in range(LANES):
                to[lane] = lanes[lane][d * w.channel_stride + g.taps[k]]
            to += rows * LANES


cdef void store_strip(const Geometry* g, const float* values, Lanes lanes, Py_ssize_t strip, float* y) noexcept nogil:
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
            g.kernels.unpack_rows(values + r * g.Q * LANES, g.Q, lanes.count, lanes.stride, y + r * g.y_down * g.YW)
            continue
        for lane in range(lanes.count):
            to = y + lane * lanes.stride + r * g.y_down * g.YW
            for q in range(g.Q):
                to[q * g.y_right] = values[(r * g.Q + q) * LANES + lane]


cdef void convolve_strip(const Geometry* g, const Weights* w, const float* x, float* y, Py_ssize_t item,
                         Py_ssize_t parts, float* scratch, const float* zeros) noexcept nogil:
    """One work item: one strip of one unit or 16, and one of `parts` shares of its rows."""
    cdef Py_ssize_t part = item % parts, strip = item // parts % g.strips, tile = item // parts // g.strips
    cdef Py_ssize_t group_set = tile % g.sets, size = g.D * g.tap_count * LANES
    cdef Py_ssize_t row = 0, i, count, chunk = 0
    cdef float* values = scratch + g.strip_floats
    cdef const float* strip_x = load_strip(g, x, tile, strip, 0, g.D, scratch, zeros)
    cdef DirectSum s
    s.abreast = g.abreast
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


def convolve(Strips plan not None, const float[::1] x not None, const float[::1] weight not None, strides, taps,
             const float[::1] bias, float[::1] y not None, int num_threads):
    """y = the plan's windows of x, times the weights.

    strides are those of the weights from group to group, from one of the plan's output channels to the next, and from
    one of its input channels to the next; taps is how many a filter has in all.
    """
    cdef Geometry g = plan.geometry
    cdef Weights w
    cdef Py_ssize_t item, items = g.tiles * g.strips, parts = 1
    cdef Py_ssize_t packs = g.sets * g.rows, weight_floats = packs * g.D * g.tap_count * LANES
    cdef Py_ssize_t scratch_floats = round_up(
        g.strip_floats + min(g.rows, g.kernels.direct_rows) * g.strip * g.Q * LANES)
    cdef Workspace space
    cdef const float* zeros
    cdef float* scratch
    cdef int threads
    check_size("x", x.shape[0], g.units * g.D * g.H * g.W)
    check_size("y", y.shape[0], g.units * g.L * g.YH * g.YW)
    check_size("weight", weight.shape[0], g.groups * g.L * g.D * <Py_ssize_t>taps)
    if bias is not None:
        check_size("bias", bias.shape[0], g.groups * g.L)
    if g.units == 0:
        return
    threads = useful_threads(<double>g.units * g.L * g.R * g.Q * g.D * g.tap_count, num_threads, items * g.rows)
    if items < threads * ITEMS_PER_THREAD:
        parts = max(<Py_ssize_t>1, min(g.rows // g.kernels.direct_rows, threads * ITEMS_PER_THREAD // items))
    items *= parts
    space = take_workspace(round_up(g.W) + packs * LANES + weight_floats + threads * scratch_floats)
    zeros = space.start
    memset(space.start, 0, g.W * sizeof(float))
    w.start = &weight[0]
    w.given_bias = NULL
    if bias is not None:
        w.given_bias = &bias[0]
    w.group_stride, w.filter_stride, w.channel_stride = strides
    w.all_taps = taps
    w.bias = space.start + round_up(g.W)
    w.packed = w.bias + packs * LANES
    scratch = w.packed + weight_floats
    if threads == 1:
        with nogil:
            for item in range(packs):
                pack_weights(&g, &w, item)
            for item in range(items):
                convolve_strip(&g, &w, &x[0], &y[0], item, parts, scratch, zeros)
    else:
        with nogil, parallel(num_threads=threads):
            for item in prange(packs, schedule="static"):
                pack_weights(&g, &w, item)
            for item in prange(items, schedule="dynamic", chunksize=1):
                convolve_strip(&g, &w, &x[0], &y[0], item, parts, scratch + threadid() * scratch_floats, zeros)
    give_back(space)


# Weight gradients


cdef struct Totals:
    float* dweight                   # (sets, rows, D taps, 16)
    float* dbias                     # (sets, rows, 16)
    const Py_ssize_t* places         # where the D taps of a filter find their first x
    Py_ssize_t count                 # how many these are
    Py_ssize_t ranges, range_places  # which are cut into ranges
    Py_ssize_t chunks                # rows are cut into


cdef void load_gradient(const Geometry* g, const float* dy, Py_ssize_t tile, Py_ssize_t strip, Py_ssize_t row,
                        Py_ssize_t count, const float* zeros, float* values) noexcept nogil:
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


cdef void sum_range(const Geometry* g, const Totals* t, const float* x, const float* dy, Py_ssize_t item,
                    float* scratch, const float* zeros) noexcept nogil:
    """One work item: a range of the weight gradients of some rows of one set, summed over all its tiles."""
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
    s.abreast, s.rows, s.blocks, s.block_stride, s.channels, s.channel_stride = g.abreast, count, 1, 0, 1, 0
    s.steps = g.pixels
    s.places, s.places_count = t.places + first, places
    s.y_row = places * LANES
    for i in range(count):
        memset(total + i * t.count * LANES, 0, places * LANES * sizeof(float))
    if part == 0:
        memset(total_bias, 0, count * LANES * sizeof(float))
    tile = group_set
    while tile < g.tiles:
        for strip in range(g.strips):
            s.steps_count = min(g.strip, g.R - strip * g.strip) * g.Q
            strip_x = load_strip(g, x, tile, strip, first // g.tap_count, (first + places - 1) // g.tap_count + 1,
                                 scratch, zeros)
            load_gradient(g, dy, tile, strip, row, count, zeros, values)
            g.kernels.direct_sum(&s, values, strip_x, zeros, 0, 0, sums)
            for i in range(count):
                for j in range(places * LANES):
                    total[i * t.count * LANES + j] += sums[i * s.y_row + j]
            if part == 0:
                g.kernels.add_columns(values, s.steps_count, count, total_bias)
        tile += g.sets


cdef void deliver_row(const Geometry* g, const Totals* t, Py_ssize_t item, float* dweight, float* dbias,
                      float* filters) noexcept nogil:
    """Add one row of one set to the filters it belongs to; filters (16, D taps) is scratch."""
    cdef Py_ssize_t group_set = item // g.rows, row = item % g.rows
    cdef Py_ssize_t lane, k, filter, lanes = LANES if g.abreast else min(<Py_ssize_t>LANES, g.L - row * LANES)
    g.kernels.unpack_rows(t.dweight + item * t.count * LANES, t.count, lanes, t.count, filters)
    for lane in range(lanes):
        filter = filter_of(g, group_set, row, lane)
        dbias[filter] += t.dbias[item * LANES + lane]
        for k in range(t.count):
            dweight[filter * t.count + k] += filters[lane * t.count + k]


def weight_gradient(Strips plan not None, const float[::1] x not None, const float[::1] dy not None,
                    float[::1] dweight not None, float[::1] dbias not None, int num_threads):
    """dweight and dbias of the plan's convolution. The plan must not depend on the number of threads."""
    cdef Geometry g = plan.geometry
    cdef Totals t
    cdef Py_ssize_t item, items, row, chunk_rows = min(g.rows, g.kernels.direct_rows)
    cdef Py_ssize_t zeros_floats = round_up(max(g.W, g.strip * g.Q, <Py_ssize_t>LANES)), total_floats, scratch_floats
    cdef Workspace space
    cdef const float* zeros
    cdef float* scratch
    cdef int threads
    check_size("x", x.shape[0], g.units * g.D * g.H * g.W)
    check_size("dy", dy.shape[0], g.units * g.L * g.YH * g.YW)
    check_size("dweight", dweight.shape[0], g.groups * g.L * g.D * g.tap_count)
    check_size("dbias", dbias.shape[0], g.groups * g.L)
    memset(&dweight[0], 0, dweight.shape[0] * sizeof(float))
    memset(&dbias[0], 0, dbias.shape[0] * sizeof(float))
    if g.units == 0:
        return
    t.places, t.count = &plan.places[0], plan.places.shape[0]
    t.chunks, row = 0, 0
    while row < g.rows:
        row += rows_at(&g, row)
        t.chunks += 1
    threads = useful_threads(<double>g.units * g.L * g.R * g.Q * t.count, num_threads, g.sets * t.chunks * t.count)
    # A range takes the same sums in the same order wherever it begins: threads may decide on that.
    t.range_places = t.count
    if threads > 1:
        t.range_places = max(t.count * g.sets * t.chunks // (threads * ITEMS_PER_THREAD), <Py_ssize_t>LEAST_PLACES)
    t.range_places = min(t.count, min(t.range_places, <Py_ssize_t>RANGE_PLACES))
    t.ranges = (t.count + t.range_places - 1) // t.range_places
    items = g.sets * t.chunks * t.ranges
    threads = <int>min(<Py_ssize_t>threads, items)
    total_floats = g.sets * g.rows * (t.count + 1) * LANES
    scratch_floats = round_up(g.strip_floats + chunk_rows * (g.strip * g.Q + t.range_places) * LANES)
    space = take_workspace(zeros_floats + total_floats + max(threads * scratch_floats, t.count * LANES))
    zeros = space.start
    memset(space.start, 0, zeros_floats * sizeof(float))
    t.dweight = space.start + zeros_floats
    t.dbias = t.dweight + g.sets * g.rows * t.count * LANES
    scratch = space.start + zeros_floats + total_floats
    if threads == 1:
        with nogil:
            for item in range(items):
                sum_range(&g, &t, &x[0], &dy[0], item, scratch, zeros)
    else:
        for item in prange(items, schedule="dynamic", chunksize=1, num_threads=threads, nogil=True):
            sum_range(&g, &t, &x[0], &dy[0], item, scratch + threadid() * scratch_floats, zeros)
    with nogil:
        for item in range(g.sets * g.rows):
            deliver_row(&g, &t, item, &dweight[0], &dbias[0], scratch)
    give_back(space)


cdef Py_ssize_t round_up(Py_ssize_t floats) noexcept nogil:
    """To whole cache lines."""
    return (floats + LANES - 1) // LANES * LANES


cdef check_size(name, Py_ssize_t size, Py_ssize_t wanted):
    if size != wanted:
        raise ValueError(f"{name} has {size} values; the plan takes {wanted}")
