# Convolution with 16 samples side by side, as programs compute it: the ops of a tile one after the
# other, on one thread. An arena holds the input, the padded input and the output of a tile; a
# second one of the same layout holds their gradients.

cdef enum:
    SAVED_TILES = 4   # tiles whose weight gradients of a fully connected layer are summed at a time

cdef struct Tiles:
    Op pad, conv
    bint padded, linear
    Py_ssize_t samples
    Py_ssize_t x, y              # values of a sample
    Py_ssize_t arena, scratch    # floats of one arena, and of what the ops need beside
    Py_ssize_t saved             # floats that a tile saves for the weight gradient
    Py_ssize_t params            # weight and bias


cdef bint is_fully_connected(const Units* u) noexcept nogil:
    """Return True if the filters have the size of the image, and cover it."""
    return (u.groups == 1 and u.KH == u.H and u.KW == u.W and u.OH == 1 and u.OW == 1
            and u.PH == 0 and u.PW == 0)


cdef bint suits_tiles(const Units* u, Py_ssize_t channels) noexcept nogil:
    """Return True if this many channels of y or dx are best computed with samples side by side.

    The rule of algorithms.py.
    """
    cdef Py_ssize_t tile = times(LANES, times(u.D, u.H * u.W) + times(u.L, u.OH * u.OW))
    cdef double of_samples = <double>u.count * round_up(channels)
    cdef double of_channels = <double>channels * round_up(u.count)
    if u.groups > 1 or u.channels_last or tile > STRIP_FLOATS:
        return False
    if is_fully_connected(u):
        return u.count >= 4
    return of_samples > of_channels or (of_samples == of_channels and u.count >= LANES)


cdef int plan_tiles(Tiles* t, const Units* u) noexcept nogil:
    cdef Op* op = &t.conv
    cdef Py_ssize_t H = u.H + 2 * u.PH, W = u.W + 2 * u.PW
    cdef Py_ssize_t padded = times(u.D, times(H, W))
    memset(t, 0, sizeof(Tiles))
    t.samples, t.padded = u.count, u.PH > 0 or u.PW > 0
    t.linear = u.KH == H and u.KW == W
    t.x, t.y = u.D * u.H * u.W, u.L * u.OH * u.OW
    t.params = u.L * u.D * u.KH * u.KW + u.L
    t.arena = times(LANES, t.x + t.y + (padded if t.padded else 0))
    if t.arena > most_elements():
        return TOO_LARGE
    set_op(&t.pad, pad2d, u)
    t.pad.O, t.pad.OH, t.pad.OW, t.pad.y = u.D, H, W, t.x * LANES
    set_op(op, linear if t.linear else conv2d, u)
    op.x = t.pad.y if t.padded else 0
    op.y = op.x + padded * LANES
    op.O, op.OH, op.OW, op.H, op.W, op.PH, op.PW = u.L, u.OH, u.OW, H, W, 0, 0
    op.bias = op.dbias = t.params - u.L
    if t.linear:
        op.C, op.H, op.W, op.KH, op.KW = 1, 1, padded, 1, padded
        op.SH, op.SW, op.DH, op.DW = 1, 1, 1, 1
        t.saved = op.kernels.saved_floats(op)
    t.scratch = op.kernels.scratch_floats(op)
    return OK


cdef void set_op(Op* op, const OpKernels* op_kernels, const Units* u) noexcept nogil:
    op.kernels, op.groups, op.has_bias = op_kernels, 1, True
    op.C, op.H, op.W = u.D, u.H, u.W
    op.KH, op.KW, op.SH, op.SW = u.KH, u.KW, u.SH, u.SW
    op.PH, op.PW, op.DH, op.DW = u.PH, u.PW, u.DH, u.DW


cdef void load_tile(const float* samples, Py_ssize_t count, Py_ssize_t size, const float* spare,
                    float* tile) noexcept nogil:
    """The first of `count` samples, up to 16; lanes that are left take the spare one."""
    cdef const float* lanes[LANES]
    cdef Py_ssize_t lane
    for lane in range(LANES):
        lanes[lane] = samples + lane * size if lane < count else spare
    kernels.pack_floats(lanes, size, tile)


cdef void load_input(const Tiles* t, const float* x, Py_ssize_t first,
                     float* arena) noexcept nogil:
    """The samples from `first` on, padded."""
    load_tile(x + first * t.x, t.samples - first, t.x, x + first * t.x, arena)
    if t.padded:
        t.pad.kernels.forward(&t.pad, NULL, arena, NULL)


cdef Py_ssize_t tiles_floats(const Tiles* t) noexcept nogil:
    return round_up(t.params) + t.arena + t.scratch


cdef void tiles_forward(Tiles* t, const float* x, const float* weight, const float* bias, float* y,
                        float* memory) noexcept nogil:
    cdef Py_ssize_t first = 0, weights = t.params - t.conv.O
    cdef float* arena = memory + round_up(t.params)
    memcpy(memory, weight, weights * sizeof(float))
    if bias is not NULL:
        memcpy(memory + weights, bias, t.conv.O * sizeof(float))
    t.conv.has_bias = bias is not NULL
    while first < t.samples:
        load_input(t, x, first, arena)
        t.conv.kernels.forward(&t.conv, memory, arena, arena + t.arena)
        kernels.unpack(arena + t.conv.y, t.y, min(<Py_ssize_t>LANES, t.samples - first),
                       y + first * t.y)
        first += LANES


cdef Py_ssize_t tiles_backward_floats(const Tiles* t) noexcept nogil:
    """Two arenas, scratch, zeros for the gradients of lanes without a sample, sums of a shard and
    of all, and what tiles save."""
    return (2 * t.arena + round_up(t.scratch) + round_up(t.y) + 2 * round_up(t.params)
            + SAVED_TILES * t.saved)


cdef void tiles_backward(const Tiles* t, const float* dy, const float* x, const float* weight,
                         float* dx, float* dweight, float* dbias, float* memory) noexcept nogil:
    """Sums are over shards of a few tiles, as those of a program, and so have the same bits."""
    cdef Py_ssize_t start = 0, shard, tile, stop, shards, count
    cdef Py_ssize_t tiles = (t.samples + LANES - 1) // LANES, weights = t.params - t.conv.O
    cdef float* scratch = memory + 2 * t.arena
    cdef float* zeros = scratch + round_up(t.scratch)
    cdef float* sums = zeros + round_up(t.y)
    cdef float* grads = sums + round_up(t.params)
    cdef float* saved = grads + round_up(t.params)
    memset(zeros, 0, t.y * sizeof(float))
    memset(grads, 0, t.params * sizeof(float))
    if dweight is NULL and dbias is NULL:
        sums = NULL
    if x is NULL:    # dbias and dx do not depend on it
        memset(memory, 0, t.arena * sizeof(float))
    while start < tiles:
        count = min(tiles - start, <Py_ssize_t>SHARDS * SHARD_TILES)
        shards = min(count, <Py_ssize_t>SHARDS)
        for shard in range(shards):
            if sums is not NULL:
                memset(sums, 0, t.params * sizeof(float))
            stop = start + (shard + 1) * count // shards
            for tile in range(start + shard * count // shards, stop):
                backward_tile(t, dy, x, weight, dx, tile * LANES, memory, scratch, zeros, sums,
                              saved + tile % SAVED_TILES * t.saved)
                if t.linear and (tile % SAVED_TILES == SAVED_TILES - 1 or tile == tiles - 1):
                    add_linear(t, saved, tile % SAVED_TILES + 1, grads)
            if sums is not NULL and not t.linear:
                kernels.sum_shards(<const float**>&sums, 1, t.params, True, grads)
        start += count
    if dweight is not NULL:
        memcpy(dweight, grads, weights * sizeof(float))
    if dbias is not NULL:
        memcpy(dbias, grads + weights, t.conv.O * sizeof(float))


cdef void backward_tile(
    const Tiles* t, const float* dy, const float* x, const float* weight, float* dx,
    Py_ssize_t first, float* arena, float* scratch, const float* zeros, float* sums, float* saved,
) noexcept nogil:
    cdef float* gradients = arena + t.arena
    if x is not NULL:
        load_input(t, x, first, arena)
    load_tile(dy + first * t.y, t.samples - first, t.y, zeros, gradients + t.conv.y)
    t.conv.kernels.backward(&t.conv, weight, arena, gradients, dx is not NULL, sums, saved, scratch)
    if dx is not NULL:
        if t.padded:
            t.pad.kernels.backward(&t.pad, NULL, arena, gradients, True, NULL, NULL, NULL)
        kernels.unpack(gradients, t.x, min(<Py_ssize_t>LANES, t.samples - first), dx + first * t.x)


cdef void add_linear(const Tiles* t, const float* saved, Py_ssize_t count,
                     float* grads) noexcept nogil:
    """The gradients of a fully connected layer, of `count` tiles."""
    cdef const float* tiles[SAVED_TILES]
    cdef Py_ssize_t i
    for i in range(count):
        tiles[i] = saved + i * t.saved
    kernels.linear_dparams(&t.conv, tiles, count, 0, t.conv.O, True, grads)
