# Plans: the rows of a strip, and the offsets of taps and pixels.


cdef Py_ssize_t most_elements() noexcept nogil:
    """Return the maximum size of an array: 2**40 if a pointer has 64 bits."""
    return <Py_ssize_t>1 << (40 if sizeof(Py_ssize_t) == 8 else 23)


cdef Py_ssize_t times(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """Return a * b for a, b >= 0, or a large size whose sums do not overflow."""
    cdef Py_ssize_t beyond = <Py_ssize_t>1 << (8 * <int>sizeof(Py_ssize_t) - 5)
    return a * b if b == 0 or a <= beyond // b else beyond


cdef Py_ssize_t divide_up(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef Py_ssize_t common_divisor(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b != 0:
        a, b = b, a % b
    return a


cdef Strides strides(const Units* u, Py_ssize_t channels, Py_ssize_t height,
                     Py_ssize_t width) noexcept nogil:
    """Return the strides of an array with this number of channels per unit."""
    cdef Strides s
    s.sample = u.groups * channels * height * width
    if u.channels_last:
        s.group, s.channel, s.pixel = channels, 1, u.groups * channels
    else:
        s.group, s.channel, s.pixel = channels * height * width, height * width, 1
    s.row = width * s.pixel
    return s


cdef bint plan_result(Geometry* g, const DirectKernels* kernels, const Units* u) noexcept nogil:
    """Set the plan of x -> y; the weight gradient uses the same strips."""
    g.D, g.H, g.W = u.D, u.H, u.W
    g.L, g.YH, g.YW = u.L, u.OH, u.OW
    g.x, g.y = strides(u, u.D, u.H, u.W), strides(u, u.L, u.OH, u.OW)
    g.R, g.Q = u.OH, u.OW
    g.SH, g.SW = u.SH, u.SW
    g.y_top, g.y_left, g.y_down, g.y_right = 0, 0, 1, 1
    g.down = all_taps(u.KH, u.PH, u.DH)
    g.right = all_taps(u.KW, u.PW, u.DW)
    set_weights(g, u)
    return plan(g, kernels, u)


cdef bint plan_phase(Geometry* g, const DirectKernels* kernels, const Units* u, Py_ssize_t a,
                     Py_ssize_t b) noexcept nogil:
    """Set the plan of dy -> dx for every SH-th row from a and every SW-th column from b."""
    g.D, g.H, g.W = u.L, u.OH, u.OW
    g.L, g.YH, g.YW = u.D, u.H, u.W
    g.x, g.y = strides(u, u.L, u.OH, u.OW), strides(u, u.D, u.H, u.W)
    g.R, g.Q = divide_up(u.H - a, u.SH), divide_up(u.W - b, u.SW)
    g.SH, g.SW = 1, 1
    g.y_top, g.y_left, g.y_down, g.y_right = a, b, u.SH, u.SW
    g.down = phase_taps(u.KH, u.SH, u.PH, u.DH, a)
    g.right = phase_taps(u.KW, u.SW, u.PW, u.DW, b)
    set_weights(g, u)
    g.weight_filter, g.weight_channel = g.weight_channel, g.weight_filter
    return plan(g, kernels, u)


cdef void set_weights(Geometry* g, const Units* u) noexcept nogil:
    """Set the strides of the weights."""
    g.KW, g.all_taps = u.KW, u.KH * u.KW
    if u.filters_last:
        g.weight_group, g.weight_filter = u.L, 1
        g.weight_channel = u.groups * u.L
        g.weight_tap = u.D * g.weight_channel
    else:
        g.weight_group, g.weight_filter = u.L * u.D * g.all_taps, u.D * g.all_taps
        g.weight_channel, g.weight_tap = g.all_taps, 1


cdef Taps all_taps(Py_ssize_t size, Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    cdef Taps t
    t.count, t.first, t.step = size, 0, 1
    t.offset, t.offset_step = -padding, dilation
    return t


cdef Taps phase_taps(Py_ssize_t size, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation,
                     Py_ssize_t phase) noexcept nogil:
    """Input row phase + r stride takes dy[r + (phase + padding - k dilation) / stride]."""
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
    """Return the number of rows from the first to the last that a tap reads."""
    cdef Py_ssize_t step = t.offset_step if t.offset_step > 0 else -t.offset_step
    return step * (t.count - 1) + 1 if t.count > 0 else 1


cdef VectorAxis choose_axis(const DirectKernels* kernels, const Units* u) noexcept nogil:
    """Return the axis with the fewest unused lanes."""
    cdef bint of_dx = u.purpose == DATA_GRADIENT
    cdef Py_ssize_t channels = u.D if of_dx else u.L
    # Of a phase of the stride, over the borders between lines
    cdef Py_ssize_t H = divide_up(u.H, u.SH) if of_dx else u.OH
    cdef Py_ssize_t W = divide_up(u.W, u.SW) if of_dx else u.OW
    cdef Py_ssize_t border = (u.KW - 1) * u.DW // (u.SW if of_dx else 1)
    cdef double of_pixels = filled(times(H, W + border), kernels.lanes) * W / (W + border)
    cdef double of_units = filled(u.count, kernels.lanes)
    cdef double of_channels = filled(channels, kernels.lanes)
    cdef bint in_lines = of_dx or (u.purpose == RESULT and u.SH == 1 and u.SW == 1)
    if (in_lines and not u.channels_last
            and of_pixels > PIXELS_FACTOR * max(of_units, of_channels)):
        return PIXELS
    return UNITS if of_units > of_channels else CHANNELS


cdef double filled(Py_ssize_t count, Py_ssize_t lanes) noexcept nogil:
    """Return the fraction of lanes in use."""
    return <double>count / (divide_up(count, lanes) * lanes) if count > 0 else 0


cdef bint plan(Geometry* g, const DirectKernels* kernels, const Units* u) noexcept nogil:
    """Set the rest of a plan, except for its lists of offsets."""
    cdef Py_ssize_t columns, end, lanes = kernels.lanes
    g.kernels, g.lanes, g.axis = kernels, lanes, u.axis
    g.groups, g.units = u.groups, u.count
    g.tiles = divide_up(u.count, lanes) if u.axis == UNITS else u.count
    g.sets = u.groups
    if u.axis == UNITS:
        g.sets = min(g.tiles, u.groups // common_divisor(u.groups, lanes))
    g.rows = divide_up(g.L, lanes) if u.axis == CHANNELS else g.L
    g.most_rows, g.factor = kernels.most_rows[u.axis == PIXELS], 1 if u.axis == PIXELS else lanes
    g.tap_count = g.down.count * g.right.count
    g.top, g.left, g.reach = lowest(&g.down), lowest(&g.right), span(&g.down)
    g.columns = columns = (g.Q - 1) * g.SW + span(&g.right)
    end = g.top + (g.R - 1) * g.SH + g.reach
    g.copied = (u.axis == UNITS or g.top < 0 or g.left < 0 or end > g.H
                or g.left + columns > g.W)
    g.of_pixels = u.channels_last and u.axis == CHANNELS
    # Of more planes than the processor prefetches at a time, from beyond its caches
    if (u.axis == CHANNELS and not u.channels_last and u.purpose != WEIGHT_GRADIENT
            and g.D > STREAMS and times(times(u.count, g.D), times(g.H, g.W)) > CACHED_FLOATS):
        g.copied = True
    if times(g.D, times(columns, lanes if u.axis == UNITS else 1)) > most_elements():
        return False
    g.strip = strip_rows(g, u.threads)
    g.strips = divide_up(g.R, g.strip)
    if u.axis == PIXELS and (g.Q != g.x.row or g.strip * g.Q % lanes != 0
                            or g.R * g.Q % lanes != 0):
        g.copied = True    # the last vector reaches beyond the last pixel
    if g.copied:
        g.place = g.D if g.of_pixels else lanes if u.axis == UNITS else 1
        g.pixel_stride, g.row_stride = g.place, columns * g.place
        g.channel_stride = times((g.strip - 1) * g.SH + g.reach, g.row_stride)
        g.strip_size = g.channel_stride if g.of_pixels else times(g.D, g.channel_stride)
        if g.of_pixels:
            g.channel_stride = 1
        if u.axis == PIXELS:
            g.strip_size += lanes
    else:
        g.place, g.strip_size = 0, 0
        g.pixel_stride, g.row_stride, g.channel_stride = g.x.pixel, g.x.row, g.x.channel
    g.packed_late = g.tiles * g.strips == g.sets
    # Weight gradients have the order of x
    g.place_channel, g.place_tap = g.tap_count, 1
    if g.of_pixels and u.purpose == WEIGHT_GRADIENT:
        g.place_channel, g.place_tap = 1, g.D
    g.taps = g.places = g.pixels = NULL
    return (g.strip_size <= most_elements() and times(g.strip, columns) <= most_elements()
            and times(times(g.sets, g.rows), times(times(g.D, g.tap_count),
                                                   g.factor)) <= most_elements())


cdef Py_ssize_t strip_rows(const Geometry* g, Py_ssize_t threads) noexcept nogil:
    """Rows of a strip: as many as stay within STRIP_FLOATS, and few enough to give every thread its
    items."""
    cdef double line = <double>g.D * g.columns * (g.lanes if g.axis == UNITS else 1)
    cdef double results = <double>min(<Py_ssize_t>ROWS, g.rows) * (
        g.columns if g.axis == PIXELS else g.Q * g.lanes)
    cdef Py_ssize_t rows
    cdef double whole = STRIP_FLOATS // value_floats(g)
    cdef double most
    if g.of_pixels and not g.copied and g.Q == 1:
        line = 0      # rows of a matrix: what is read again and again are the weights
    most = (whole - line * (g.reach - g.SH)) / (line * g.SH + results)
    rows = <Py_ssize_t>max(1., min(most, <double>g.R))
    if threads > 1:
        rows = min(rows, max(g.R * g.tiles // (ITEMS_PER_THREAD * threads), MIN_PIXELS // g.Q))
    return divide_up(g.R, divide_up(g.R, max(rows, <Py_ssize_t>1)))


cdef Py_ssize_t vectors(const Geometry* g, Py_ssize_t strip) noexcept nogil:
    """The vectors of a strip in one row. Those of pixels go on from line to line of the strip, over
    what lies between the last window of a line and the first of the next."""
    cdef Py_ssize_t rows = min(g.strip, g.R - strip * g.strip)
    if g.axis == PIXELS:
        return divide_up((rows - 1) * g.columns + g.Q, g.lanes)
    return rows * g.Q


cdef Py_ssize_t value_floats(const Geometry* g) noexcept nogil:
    """Return 1 for float, 2 for double."""
    return MAX_LANES // g.lanes


cdef Py_ssize_t canary_size(const Geometry* g) noexcept nogil:
    """Return the size of a canary in values."""
    return CANARY_FLOATS // value_floats(g)


cdef Py_ssize_t offset_count(const Geometry* g) noexcept nogil:
    return g.tap_count + g.D * g.tap_count + vectors(g, 0)


cdef void write_offsets(Geometry* g, Py_ssize_t* memory) noexcept nogil:
    """Write the lists of a plan to memory for offset_count(g) offsets."""
    cdef Py_ssize_t* taps = memory
    cdef Py_ssize_t* places = taps + g.tap_count
    cdef Py_ssize_t* pixels = places + g.D * g.tap_count
    cdef Py_ssize_t i, j, k, d, step, count = vectors(g, 0)
    for i in range(g.down.count):
        for j in range(g.right.count):
            k = i * g.right.count + j
            taps[k] = (g.down.first + i * g.down.step) * g.KW + g.right.first + j * g.right.step
            step = ((g.down.offset + i * g.down.offset_step - g.top) * g.row_stride
                    + (g.right.offset + j * g.right.offset_step - g.left) * g.pixel_stride)
            for d in range(g.D):
                places[d * g.place_channel + k * g.place_tap] = d * g.channel_stride + step
    for i in range(count):
        if g.axis == PIXELS:
            pixels[i] = i * g.lanes
        else:
            pixels[i] = i // g.Q * g.SH * g.row_stride + i % g.Q * g.SW * g.pixel_stride
    g.taps, g.places, g.pixels = taps, places, pixels
