# Single samples. A tile costs the same no matter how few of its 16 lanes hold a sample, so a few
# samples are run one by one, with 16 output channels side by side: activations lie (C / 16, H, W,
# 16), which is the layout of a tile whose lanes are channels, and pooling, padding and activations
# are the tile kernels as they are. A convolution takes x as scalars and 16 filters as vectors
# (direct.pxi); a linear layer, whose weights are read once only, sums products of 16 inputs.
#
# direct/_strips.pyx also convolves with 16 channels side by side, by the same sum. They are two as
# their layouts are: here activations stay blocked from op to op, one arena holds all, and filters
# are packed once a step for all of its samples; there arrays of any size come and go as NCHW, cut
# into strips for the cache and the threads. Through arrays, which each has to convert once, one
# sample takes (here / there; `python benchmarks/one_sample.py`, AVX-512, one thread, least of
# 9,000):
#   LeNet-5's first convolution   forward 7.2 / 7.0 us   backward 59 / 48 us
#   LeNet-5's second              forward 5.5 / 5.5 us   backward 34 / 30 us
# So neither would gain from the other's layout in front of its sum. What strips gain backward is
# the border of zeros that they do not compute, which is left to gain here.

cdef enum StepKind:
    STEP_TILE
    STEP_SAMPLE
    STEP_CONV2D
    STEP_LINEAR
    STEP_CHANNELS
    STEP_BLOCKED
    STEP_PLAIN

cdef struct Step:
    StepKind kind
    Op op                       # its x and y are offsets into the sample's arena
    bint blocked                # x lies 16 channels side by side, and not plain (C, H, W)
    Py_ssize_t packed           # CONV2D: where its packed filters begin, with the bias after them
    Py_ssize_t packed_from      # CONV2D: where the copy of what they were packed from begins
    Py_ssize_t training         # CONV2D, CHANNELS: where their part of the training's memory
                                # begins
    Py_ssize_t* taps            # CONV2D: offsets of a filter's taps from its first
    Py_ssize_t* pixels          # offsets of each output's first x
    Py_ssize_t* inputs          # offsets of the x that each tap of each input channel takes for the
                                # first output
    Py_ssize_t* spread_taps     # the same as taps and pixels for the data gradient, in the
                                # spread-out dy
    Py_ssize_t* spread_pixels

# Some ops or steps whose outputs may be shared out among threads, see parts.pxi.
cdef struct Segment:
    Py_ssize_t first, stop        # ops or steps
    Py_ssize_t outputs, least     # outputs to be shared out, and how many a part has at least

cdef struct SampleChain:
    Step* steps
    Py_ssize_t count
    Segment* segments               # outputs are blocks of 16
    Py_ssize_t segment_count
    Py_ssize_t first_trainable      # steps before it have no trainable parameters
    Py_ssize_t output, arena_floats, packed_floats, copied_floats, training_floats


cdef bint set_offsets(Step* step) noexcept:
    """Fill in the lists of a convolution; return False if memory cannot be allocated."""
    cdef const Op* op = &step.op
    cdef Py_ssize_t place = LANES if step.blocked else 1
    cdef Py_ssize_t c, h, w, at, width = spread_width(op)
    step.taps = <Py_ssize_t*>malloc(op.KH * op.KW * sizeof(Py_ssize_t))
    step.pixels = <Py_ssize_t*>malloc(op.OH * op.OW * sizeof(Py_ssize_t))
    step.inputs = <Py_ssize_t*>malloc(op.C * op.KH * op.KW * sizeof(Py_ssize_t))
    step.spread_taps = <Py_ssize_t*>malloc(op.KH * op.KW * sizeof(Py_ssize_t))
    step.spread_pixels = <Py_ssize_t*>malloc(op.H * op.W * sizeof(Py_ssize_t))
    if (step.taps is NULL or step.pixels is NULL or step.inputs is NULL or step.spread_taps is NULL
            or step.spread_pixels is NULL):
        return False
    for h in range(op.KH):
        for w in range(op.KW):
            step.taps[h * op.KW + w] = (h * op.DH * op.W + w * op.DW) * place
    for h in range(op.OH):
        for w in range(op.OW):
            step.pixels[h * op.OW + w] = (h * op.SH * op.W + w * op.SW) * place
    for c in range(op.C):
        at = c * op.H * op.W
        if step.blocked:
            at = c // LANES * op.H * op.W * LANES + c % LANES
        for h in range(op.KH * op.KW):
            step.inputs[c * op.KH * op.KW + h] = at + step.taps[h]
    for h in range(op.KH):
        for w in range(op.KW):
            step.spread_taps[h * op.KW + w] = ((op.KH - 1 - h) * op.DH * width + (op.KW - 1 - w)
                                               * op.DW) * LANES
    for h in range(op.H):
        for w in range(op.W):
            step.spread_pixels[h * op.W + w] = (h * width + w) * LANES
    return True


cdef inline Py_ssize_t blocks_of(Py_ssize_t channels) noexcept nogil:
    return (channels + LANES - 1) // LANES


cdef inline Py_ssize_t spread_width(const Op* op) noexcept nogil:
    """Return the width of the spread-out output gradient, which covers the taps of all pixels."""
    return op.W + (op.KW - 1) * op.DW


cdef inline Py_ssize_t spread_height(const Op* op) noexcept nogil:
    return op.H + (op.KH - 1) * op.DH


cdef inline Py_ssize_t filter_floats(const Op* op) noexcept nogil:
    """Return the size of filters as vectors (O / 16, C, taps, 16) and the bias (O / 16, 16)."""
    return blocks_of(op.O) * LANES * (op.C * op.KH * op.KW + 1)


cdef inline Py_ssize_t all_filter_floats(const Op* op) noexcept nogil:
    """Return the size of all filters (O, C, taps) if there is a connection table."""
    return round_up(op.O * op.C * op.KH * op.KW) if op.connections is not NULL else 0


cdef Py_ssize_t packed_floats(const Step* step) noexcept nogil:
    """Return the size of packed filters and, with a connection table, of all filters after them."""
    if step.kind != STEP_CONV2D:
        return 0
    return filter_floats(&step.op) + all_filter_floats(&step.op)


cdef const float* filters_of(const Job* job, const Step* step, float* packed) noexcept nogil:
    """Return weight (O, C, taps); with a connection table, spread out after the packed filters."""
    cdef const Op* op = &step.op
    if op.connections is NULL:
        return job.params + op.weight
    packed += filter_floats(op)
    spread_filters(op, job.params + op.weight, packed)
    return packed


cdef void pack_filters(const Job* job, const Step* step, float* packed) noexcept nogil:
    """Pack weight (O, C, taps) as (O / 16, C, taps, 16), then the bias (O / 16, 16)."""
    cdef const Op* op = &step.op
    cdef const float* filters[LANES]
    cdef const float* weight = filters_of(job, step, packed)
    cdef float bias
    cdef Py_ssize_t size = op.C * op.KH * op.KW
    cdef Py_ssize_t blocks = blocks_of(op.O)
    cdef Py_ssize_t block, lane, o
    set_canary(packed + packed_floats(step))
    for block in range(blocks):
        for lane in range(LANES):
            o = min(block * LANES + lane, op.O - 1)
            filters[lane] = weight + o * size
            bias = job.params[op.bias + o] if op.has_bias else 0
            packed[(blocks * size + block) * LANES + lane] = bias
        job.kernels.pack_floats(filters, size, packed + block * size * LANES)
    check_canary(packed + packed_floats(step), op.kernels.name, b"packed filters")


cdef inline Py_ssize_t copied_floats(const Step* step) noexcept nogil:
    """Return the number of parameters of the filters and the bias."""
    if step.kind != STEP_CONV2D:
        return 0
    return weight_size(&step.op) + (step.op.O if step.op.has_bias else 0)


cdef void pack_changed_filters(const Job* job, const Step* step, float* copy,
                               float* packed) noexcept nogil:
    """Pack the filters again if they, or the bias, are no longer those in the copy.

    All bits are compared, because parameters may be changed anywhere; this takes a third of the
    time of packing. Zeros, the initial memory, are the packed form of zero filters.
    """
    cdef const Op* op = &step.op
    cdef Py_ssize_t size = weight_size(op)
    if (memcmp(copy, job.params + op.weight, size * sizeof(float)) == 0 and (
            not op.has_bias
            or memcmp(copy + size, job.params + op.bias, op.O * sizeof(float)) == 0)):
        return
    memcpy(copy, job.params + op.weight, size * sizeof(float))
    if op.has_bias:
        memcpy(copy + size, job.params + op.bias, op.O * sizeof(float))
    pack_filters(job, step, packed)


cdef void sample_conv2d(const Job* job, const Step* step, const float* packed, float* arena,
                        Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """x, plain or blocked, to these blocks of y (O / 16, OH, OW, 16): whole blocks of channels first."""
    cdef const Op* op = &step.op
    cdef Py_ssize_t taps = op.KH * op.KW, pixels = op.OH * op.OW, whole = op.C // LANES
    cdef Py_ssize_t blocks = blocks_of(op.O)
    cdef Py_ssize_t block
    cdef const float* x = arena + op.x
    cdef const float* filters
    cdef const float* bias = packed + blocks * op.C * taps * LANES
    cdef float* y
    cdef DirectSum s
    s.blocked, s.scalars, s.rows = False, False, 1
    s.steps, s.steps_count = step.taps, taps
    s.places, s.places_count = step.pixels, pixels
    s.y_row = pixels * LANES
    for block in range(first, stop):
        filters = packed + block * op.C * taps * LANES
        y = arena + op.y + block * pixels * LANES
        if not step.blocked:
            s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, op.C, op.H * op.W
            job.kernels.direct.sum(&s, filters, x, bias + block * LANES, 0, 0, y)
            continue
        if whole > 0:
            s.blocks, s.block_stride = whole, op.H * op.W * LANES
            s.channels, s.channel_stride = LANES, 1
            job.kernels.direct.sum(&s, filters, x, bias + block * LANES, 0, 0, y)
        if op.C > whole * LANES:
            s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, op.C - whole * LANES, 1
            job.kernels.direct.sum(&s, filters + whole * LANES * taps * LANES, x + whole * op.H
                                   * op.W * LANES, bias + block * LANES if whole == 0 else y, 0,
                                   0 if whole == 0 else LANES, y)


cdef void make_blocked(const Job* job, const Op* op, const float* x, float* y) noexcept nogil:
    """(C, H, W) to (C / 16, H, W, 16); lanes beyond the last channel are copies of it."""
    cdef const float* planes[LANES]
    cdef Py_ssize_t block, lane, size = op.H * op.W
    for block in range(blocks_of(op.C)):
        for lane in range(LANES):
            planes[lane] = x + min(block * LANES + lane, op.C - 1) * size
        job.kernels.pack_floats(planes, size, y + block * size * LANES)


cdef void make_plain(const Job* job, const Op* op, const float* x, float* y) noexcept nogil:
    cdef Py_ssize_t block, size = op.H * op.W
    for block in range(blocks_of(op.C)):
        job.kernels.unpack(x + block * size * LANES, size, min(<Py_ssize_t>LANES,
                                                               op.C - block * LANES),
                           y + block * LANES * size)


cdef void load_sample(const Job* job, Py_ssize_t n, float* x, float* scratch) noexcept nogil:
    cdef Py_ssize_t i, at = n if job.index is NULL else job.index[n]
    cdef const unsigned char* bytes
    cdef const unsigned char* images[2]
    cdef uint64_t keys[2]
    cdef float* end
    if job.bytes is NULL:
        memcpy(x, job.floats + at * job.input_size, job.input_size * sizeof(float))
        return
    bytes = job.bytes + at * job.input_size
    if job.distorts:
        end = scratch + job.kernels.distort_floats(&job.distort)
        for i in range(2):
            find_image(job, n + i, images + i, keys + i)
        set_canary(end)
        job.kernels.distort_sample(&job.distort, images, keys, x, scratch)
        check_canary(end, b"distort", b"scratch of a sample")
        for i in range(job.input_size):
            x[i] = x[i] * job.scale + job.offset[i]
        return
    for i in range(job.input_size):
        x[i] = <float>bytes[i] * job.scale + job.offset[i]


cdef inline void sample_linear(const Job* job, const Op* op, float* arenas, Py_ssize_t count,
                               Py_ssize_t stride, Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Compute the outputs from `first` up to `stop` for `count` samples."""
    cdef RowProduct p
    p.N, p.K, p.M, p.x_row, p.y_row = count, op.KW, op.O, stride, stride
    job.kernels.direct.dot(&p, arenas + op.x, job.params + op.weight,
                           job.params + op.bias if op.has_bias else NULL, first, stop,
                           arenas + op.y)


cdef void forward_step(const Job* job, const Step* step, const float* packed, float* arenas,
                       Py_ssize_t count, Py_ssize_t stride) noexcept nogil:
    """Run one step for `count` samples."""
    cdef const Op* op = &step.op
    cdef Py_ssize_t n
    cdef float* arena
    if step.kind == STEP_LINEAR:
        sample_linear(job, op, arenas, count, stride, 0, op.O)
        return
    for n in range(count):
        arena = arenas + n * stride
        if step.kind == STEP_CONV2D:
            sample_conv2d(job, step, packed + step.packed, arena, 0, blocks_of(op.O))
        elif step.kind == STEP_BLOCKED:
            make_blocked(job, op, arena + op.x, arena + op.y)
        elif step.kind == STEP_PLAIN:
            make_plain(job, op, arena + op.x, arena + op.y)
        elif step.kind == STEP_TILE:
            op.kernels.forward(op, job.params, arena, NULL)
        else:
            op.kernels.sample_forward(op, job.params, arena + op.x, arena + op.y)


cdef void forward_group(
    const Job* job, const SampleChain* chain, Py_ssize_t first, Py_ssize_t count, const float* packed,
    float* arenas, Py_ssize_t stride, float* scratch,
) noexcept nogil:
    """Run all steps for `count` samples of the batch from `first` on, with an arena each.

    Each step is run for all of them, so that a linear layer's weights, most of what a net reads,
    are read from memory once. scratch is for distortions.
    """
    cdef Py_ssize_t i, n, end = chain.arena_floats - CANARY_FLOATS
    for n in range(count):
        load_sample(job, first + n, arenas + n * stride, scratch)
    for i in range(chain.count):
        for n in range(count):
            set_canary(arenas + n * stride + end)
        forward_step(job, chain.steps + i, packed, arenas, count, stride)
        for n in range(count):
            check_canary(arenas + n * stride + end, chain.steps[i].op.kernels.name,
                         b"arena of a sample")
    if job.out is not NULL:
        for n in range(count):
            memcpy(job.out + (first + n) * job.output_size, arenas + n * stride + chain.output,
                   job.output_size * sizeof(float))
