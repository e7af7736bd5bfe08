# A sample by itself. A tile costs the same however few of its 16 lanes hold a sample; so a few samples go one by one,
# with 16 output channels abreast: activations lie (C / 16, H, W, 16), which is the layout of a tile whose lanes are
# channels, and pooling, padding and activations are the tile kernels as they are. A convolution takes x as scalars and
# 16 filters as vectors (direct.pxi); a linear layer, whose weights are read once only, sums products of 16 inputs.

cdef enum StepKind:
    STEP_TILE
    STEP_CONV2D
    STEP_LINEAR
    STEP_PAD2D
    STEP_ABREAST
    STEP_PLAIN

cdef struct Step:
    StepKind kind
    Op op                       # its x and y are offsets into the sample's arena
    bint abreast                # x lies 16 channels abreast, and not plain (C, H, W)
    Py_ssize_t packed           # CONV2D: where its packed filters begin, with the bias behind them
    Py_ssize_t* taps            # offsets of a filter's taps from its first
    Py_ssize_t* pixels          # offsets of each output's first x

cdef struct SampleWay:
    Step* steps
    Py_ssize_t count
    Py_ssize_t output, arena_floats, packed_floats


cdef bint set_offsets(Step* step) noexcept:
    """Fill in taps and pixels of a convolution; false if there is no memory for them."""
    cdef const Op* op = &step.op
    cdef Py_ssize_t place = LANES if step.abreast else 1
    cdef Py_ssize_t h, w
    step.taps = <Py_ssize_t*>malloc(op.KH * op.KW * sizeof(Py_ssize_t))
    step.pixels = <Py_ssize_t*>malloc(op.OH * op.OW * sizeof(Py_ssize_t))
    if step.taps is NULL or step.pixels is NULL:
        return False
    for h in range(op.KH):
        for w in range(op.KW):
            step.taps[h * op.KW + w] = (h * op.DH * op.W + w * op.DW) * place
    for h in range(op.OH):
        for w in range(op.OW):
            step.pixels[h * op.OW + w] = (h * op.SH * op.W + w * op.SW) * place
    return True


cdef void pack_filters(const Job* job, const Step* step, float* packed) noexcept nogil:
    """Weight (O, C, taps) to (O / 16, C, taps, 16), then the bias (O / 16, 16); the last filter fills it up."""
    cdef const Op* op = &step.op
    cdef const float* filters[LANES]
    cdef Py_ssize_t size = op.C * op.KH * op.KW
    cdef Py_ssize_t blocks = (op.O + LANES - 1) // LANES
    cdef Py_ssize_t block, lane, o
    for block in range(blocks):
        for lane in range(LANES):
            o = min(block * LANES + lane, op.O - 1)
            filters[lane] = job.params + op.weight + o * size
            packed[(blocks * size + block) * LANES + lane] = job.params[op.bias + o] if op.has_bias else 0
        job.kernels.pack_floats(filters, size, packed + block * size * LANES)


cdef void sample_conv2d(const Job* job, const Step* step, const float* packed, float* arena) noexcept nogil:
    """x, plain or abreast, to y (O / 16, OH, OW, 16): the whole blocks of 16 input channels, then the rest."""
    cdef const Op* op = &step.op
    cdef Py_ssize_t taps = op.KH * op.KW, pixels = op.OH * op.OW, whole = op.C // LANES
    cdef Py_ssize_t blocks = (op.O + LANES - 1) // LANES
    cdef Py_ssize_t block
    cdef const float* x = arena + op.x
    cdef const float* filters
    cdef const float* bias = packed + blocks * op.C * taps * LANES
    cdef float* y
    cdef DirectSum s
    s.abreast, s.rows = False, 1
    s.steps, s.steps_count = step.taps, taps
    s.places, s.places_count = step.pixels, pixels
    s.y_row = pixels * LANES
    for block in range(blocks):
        filters = packed + block * op.C * taps * LANES
        y = arena + op.y + block * pixels * LANES
        if not step.abreast:
            s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, op.C, op.H * op.W
            job.kernels.direct_sum(&s, filters, x, bias + block * LANES, 0, 0, y)
            continue
        if whole > 0:
            s.blocks, s.block_stride, s.channels, s.channel_stride = whole, op.H * op.W * LANES, LANES, 1
            job.kernels.direct_sum(&s, filters, x, bias + block * LANES, 0, 0, y)
        if op.C > whole * LANES:
            s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, op.C - whole * LANES, 1
            job.kernels.direct_sum(&s, filters + whole * LANES * taps * LANES, x + whole * op.H * op.W * LANES,
                                   bias + block * LANES if whole == 0 else y, 0, 0 if whole == 0 else LANES, y)


cdef void sample_pad2d(const Op* op, const float* x, float* y) noexcept nogil:
    cdef Py_ssize_t c, h
    memset(y, 0, op.O * op.OH * op.OW * sizeof(float))
    for c in range(op.C):
        for h in range(op.H):
            memcpy(y + (c * op.OH + h + op.PH) * op.OW + op.PW, x + (c * op.H + h) * op.W, op.W * sizeof(float))


cdef void make_abreast(const Job* job, const Op* op, const float* x, float* y) noexcept nogil:
    """(C, H, W) to (C / 16, H, W, 16); lanes beyond the last channel are copies of it."""
    cdef const float* planes[LANES]
    cdef Py_ssize_t block, lane, size = op.H * op.W
    for block in range((op.C + LANES - 1) // LANES):
        for lane in range(LANES):
            planes[lane] = x + min(block * LANES + lane, op.C - 1) * size
        job.kernels.pack_floats(planes, size, y + block * size * LANES)


cdef void make_plain(const Job* job, const Op* op, const float* x, float* y) noexcept nogil:
    cdef Py_ssize_t block, size = op.H * op.W
    for block in range((op.C + LANES - 1) // LANES):
        job.kernels.unpack(x + block * size * LANES, size, min(<Py_ssize_t>LANES, op.C - block * LANES),
                           y + block * LANES * size)


cdef void load_sample(const Job* job, Py_ssize_t n, float* x) noexcept nogil:
    cdef Py_ssize_t i, at = n if job.index is NULL else job.index[n]
    cdef const unsigned char* bytes
    if job.bytes is NULL:
        memcpy(x, job.floats + at * job.input_size, job.input_size * sizeof(float))
        return
    bytes = job.bytes + at * job.input_size
    for i in range(job.input_size):
        x[i] = <float>bytes[i] * job.scale + job.offset[i]


cdef void forward_sample(
    const Job* job, const SampleWay* way, Py_ssize_t n, const float* packed, float* arena,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef const Step* step
    cdef const Op* op
    load_sample(job, n, arena)
    for i in range(way.count):
        step = way.steps + i
        op = &step.op
        if step.kind == STEP_CONV2D:
            sample_conv2d(job, step, packed + step.packed, arena)
        elif step.kind == STEP_LINEAR:
            job.kernels.linear_sample(op, job.params, arena + op.x, arena + op.y)
        elif step.kind == STEP_PAD2D:
            sample_pad2d(op, arena + op.x, arena + op.y)
        elif step.kind == STEP_ABREAST:
            make_abreast(job, op, arena + op.x, arena + op.y)
        elif step.kind == STEP_PLAIN:
            make_plain(job, op, arena + op.x, arena + op.y)
        else:
            job.kernels.forward(op, job.params, arena, NULL)
    memcpy(job.out + n * job.output_size, arena + way.output, job.output_size * sizeof(float))
