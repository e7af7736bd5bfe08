# Plans: which rows make a strip, and where taps and pixels lie.


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
    """Rows of a strip: as many as stay within STRIP_FLOATS, and few enough to give every thread its
    items."""
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
