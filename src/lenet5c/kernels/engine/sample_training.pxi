# Training on a few samples one by one, in order, on one thread: the backward pass of sample.pxi.
#
# Both gradients of a convolution are the sum of direct.pxi, too. That of the filters has 16 output
# channels side by side: dy are its vectors, x its scalars. That of x has 16 input channels side by
# side: the filters are its vectors and its scalars dy, spread out over a border of zeros (and, with
# a stride, apart), so that no tap needs to be looked at. A linear layer saves nothing: its gradient
# is the outer product of dy and x, made a few rows at a time, which the optimizer takes at once,
# while they are in the L1 cache.
#
# A convolution's part of the training's memory: its gradient (O / 16, C, taps, 16) and that of its
# bias (O / 16, 16); the filters with input channels side by side (C / 16, O, taps, 16); dy spread
# out (O / 16, height, width, 16); dx (C / 16, H, W, 16) if x is plain; and, with a connection
# table, the gradient of all filters.

cdef enum:
    ROW_FLOATS = 2048  # maximum gradient of a linear layer before it is passed to the optimizer


cdef void pack_filters_for_dx(const Job* job, const Step* step, float* packed,
                              float* to) noexcept nogil:
    """Weight (O, C, taps) to (C / 16, O, taps, 16), after pack_filters."""
    cdef const Op* op = &step.op
    cdef const float* filters[LANES]
    cdef const float* weight = job.params + op.weight
    cdef Py_ssize_t taps = op.KH * op.KW
    cdef Py_ssize_t block, o, lane
    if op.connections is not NULL:
        weight = packed + filter_floats(op)
    for block in range(blocks_of(op.C)):
        for o in range(op.O):
            for lane in range(LANES):
                filters[lane] = weight + (o * op.C + min(block * LANES + lane, op.C - 1)) * taps
            job.kernels.pack_floats(filters, taps, to + (block * op.O + o) * taps * LANES)


cdef inline float* filters_for_dx(const Step* step, float* training) noexcept nogil:
    return training + step.training + filter_floats(&step.op)


cdef inline float* spread_dy(const Step* step, float* training) noexcept nogil:
    cdef const Op* op = &step.op
    return filters_for_dx(step, training) + blocks_of(op.C) * op.O * op.KH * op.KW * LANES


cdef inline float* blocked_dx(const Step* step, float* training) noexcept nogil:
    cdef Py_ssize_t plane = spread_height(&step.op) * spread_width(&step.op) * LANES
    return spread_dy(step, training) + blocks_of(step.op.O) * plane


cdef inline float* all_filters(const Step* step, float* training) noexcept nogil:
    cdef Py_ssize_t plane = step.op.H * step.op.W * LANES
    return blocked_dx(step, training) + (0 if step.blocked else blocks_of(step.op.C) * plane)


cdef Py_ssize_t training_floats(const Step* step) noexcept nogil:
    """Floats that the gradients of a step take beside the arenas, in the order of the functions
    above."""
    if step.kind == STEP_CHANNELS:
        return blocks_of(step.op.C) * 2 * LANES
    if step.kind != STEP_CONV2D:
        return 0
    return all_filters(step, NULL) - <float*>NULL - step.training + all_filter_floats(&step.op)


cdef void begin_sample_step(
    const Job* job, const SampleChain* chain, bint need_dx, float* packed, float* training,
) noexcept nogil:
    """Lay out the filters as they are now, and clear the sums of gradients."""
    cdef Py_ssize_t i
    cdef const Step* step
    for i in range(chain.count):
        step = chain.steps + i
        if step.kind == STEP_CONV2D:
            pack_filters(job, step, packed + step.packed)
            if i > chain.first_trainable or need_dx:
                pack_filters_for_dx(job, step, packed + step.packed, filters_for_dx(step, training))
            memset(training + step.training, 0, filter_floats(&step.op) * sizeof(float))
        elif step.kind == STEP_CHANNELS:
            memset(training + step.training, 0, blocks_of(step.op.C) * 2 * LANES * sizeof(float))


cdef void sample_conv2d_dparams(const Job* job, const Step* step, const float* x, const float* dy,
                                float* sums) noexcept nogil:
    """Add to the sums of the filters' and of the bias's gradient."""
    cdef const Op* op = &step.op
    cdef Py_ssize_t size = op.C * op.KH * op.KW, pixels = op.OH * op.OW
    cdef Py_ssize_t block, blocks = blocks_of(op.O)
    cdef DirectSum s
    cdef float* dweight
    s.blocked, s.scalars, s.rows = False, False, 1
    s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, 1, 0
    s.steps, s.steps_count = step.pixels, pixels
    s.places, s.places_count = step.inputs, size
    s.y_row = size * LANES
    for block in range(blocks):
        dweight = sums + block * size * LANES
        job.kernels.direct.sum(&s, dy + block * pixels * LANES, x, dweight, 0, LANES, dweight)
        job.kernels.direct.add_columns(dy + block * pixels * LANES, pixels, 1,
                                       sums + (blocks * size + block) * LANES)


cdef void sample_conv2d_dx(const Job* job, const Step* step, const float* dy, float* dx,
                           float* training) noexcept nogil:
    cdef const Op* op = &step.op
    cdef Py_ssize_t width = spread_width(op)
    cdef Py_ssize_t plane = spread_height(op) * width * LANES
    cdef Py_ssize_t taps = op.KH * op.KW
    cdef Py_ssize_t whole = op.O // LANES, block, oh, ow, at
    cdef float* spread = spread_dy(step, training)
    cdef float* to = dx if step.blocked else blocked_dx(step, training)
    cdef float* y
    cdef const float* filters
    cdef float zeros[LANES]
    cdef DirectSum s
    memset(zeros, 0, sizeof(zeros))
    for block in range(blocks_of(op.O)):
        for oh in range(op.OH):
            at = ((op.KH - 1) * op.DH + oh * op.SH) * width + (op.KW - 1) * op.DW
            y = spread + block * plane + at * LANES
            for ow in range(op.OW):
                memcpy(y + ow * op.SW * LANES, dy + ((block * op.OH + oh) * op.OW + ow) * LANES,
                       LANES * sizeof(float))
    s.blocked, s.scalars, s.rows = False, False, 1
    s.steps, s.steps_count = step.spread_taps, taps
    s.places, s.places_count = step.spread_pixels, op.H * op.W
    s.y_row = op.H * op.W * LANES
    for block in range(blocks_of(op.C)):
        filters = filters_for_dx(step, training) + block * op.O * taps * LANES
        y = to + block * op.H * op.W * LANES
        if whole > 0:
            s.blocks, s.block_stride, s.channels, s.channel_stride = whole, plane, LANES, 1
            job.kernels.direct.sum(&s, filters, spread, zeros, 0, 0, y)
        if op.O > whole * LANES:
            s.blocks, s.block_stride, s.channels, s.channel_stride = 1, 0, op.O - whole * LANES, 1
            job.kernels.direct.sum(&s, filters + whole * LANES * taps * LANES,
                                   spread + whole * plane, <const float*>zeros if whole == 0
                                   else y, 0, 0 if whole == 0 else LANES, y)
    if not step.blocked:
        make_plain(job, op, to, dx)


cdef void start_sample_gradient(
    const Job* job, Py_ssize_t n, const float* output, float* gradient, float* tile, double* loss,
    Py_ssize_t* correct,
) noexcept nogil:
    """Start the gradient like start_gradient, with two tiles of which one lane is used."""
    cdef int64_t right
    cdef Py_ssize_t k, K = job.output_size
    cdef float* dtile = NULL if job.value_only else tile + K * LANES
    if job.dy is not NULL:
        memcpy(gradient, job.dy + n * K, K * sizeof(float))
        return
    for k in range(K):
        v16_fill(tile + k * LANES, output[k])
    loss[0] += judge(job, n, 1, tile, dtile, &right)
    correct[0] += right
    if dtile is not NULL:
        for k in range(K):
            gradient[k] = dtile[k * LANES]


cdef inline void v16_fill(float* to, float value) noexcept nogil:
    cdef Py_ssize_t lane
    for lane in range(LANES):
        to[lane] = value


cdef void backward_sample(
    const Job* job, const SampleChain* chain, Py_ssize_t n, const float* arena, float* gradients,
    float* training,
) noexcept nogil:
    """Run backward to the first trainable step, or to the input."""
    cdef Py_ssize_t i, first = 0 if job.dx is not NULL else chain.first_trainable
    cdef bint need_dx
    cdef const Step* step
    cdef const Op* op
    cdef const float* x
    cdef const float* dy
    cdef float* dx
    cdef float* training_end
    cdef float* end = gradients + chain.arena_floats - CANARY_FLOATS
    for i in range(chain.count - 1, first - 1, -1):
        step = chain.steps + i
        op = &step.op
        x, dy, dx = arena + op.x, gradients + op.y, gradients + op.x
        need_dx = i > first or job.dx is not NULL
        training_end = training + step.training + training_floats(step)
        set_canary(end)
        set_canary(training_end)
        if step.kind == STEP_CONV2D:
            sample_conv2d_dparams(job, step, x, dy, training + step.training)
            if need_dx:
                sample_conv2d_dx(job, step, dy, dx, training)
        elif step.kind == STEP_TILE:
            op.kernels.backward(op, job.params, arena, gradients, need_dx, NULL, NULL, NULL)
        elif step.kind == STEP_BLOCKED:
            make_plain(job, op, dy, dx)
        elif step.kind == STEP_PLAIN:
            make_blocked(job, op, dy, dx)
        else:
            op.kernels.sample_backward(op, job.params, x, dy, dx if need_dx else NULL,
                                       training + step.training)
        check_canary(end, op.kernels.name, b"arena of gradients of a sample")
        check_canary(training_end, op.kernels.name, b"sums of a sample")
    if job.dx is not NULL:
        memcpy(job.dx + n * job.input_size, gradients, job.input_size * sizeof(float))


cdef void finish_conv2d(const Job* job, const Step* step, float* grads,
                        float* training) noexcept nogil:
    """Write the gradient of the existing filters and of the bias from the sums."""
    cdef const Op* op = &step.op
    cdef Py_ssize_t taps = op.KH * op.KW, size = op.C * taps
    cdef Py_ssize_t i, block, blocks = blocks_of(op.O)
    cdef const float* sums = training + step.training
    cdef float* dweight = grads + op.weight if op.connections is NULL else all_filters(step,
                                                                                       training)
    for block in range(blocks):
        job.kernels.unpack(sums + block * size * LANES, size, min(<Py_ssize_t>LANES,
                                                                  op.O - block * LANES),
                           dweight + block * LANES * size)
    for i in range(op.connection_count):
        memcpy(grads + op.weight + i * taps, dweight + op.connections[i] * taps,
               taps * sizeof(float))
    if op.has_bias:
        memcpy(grads + op.bias, sums + blocks * size * LANES, op.O * sizeof(float))


cdef void finish_channels(const Op* op, const float* sums, float* grads) noexcept nogil:
    cdef Py_ssize_t c, block, lane
    for c in range(op.C):
        block, lane = c // LANES, c % LANES
        grads[op.weight + c] = sums[2 * block * LANES + lane]
        grads[op.bias + c] = sums[(2 * block + 1) * LANES + lane]


cdef void finish_linear(
    const Job* job, const Op* op, Py_ssize_t samples, const float* arenas, Py_ssize_t stride,
    Py_ssize_t half, float* grads, const UpdateSteps* update, Py_ssize_t number,
) noexcept nogil:
    """The gradient of a few outputs at a time, each at once followed by its update."""
    cdef RowProduct p
    cdef const float* x = arenas + op.x
    cdef const float* dy = arenas + half + op.y
    cdef Py_ssize_t n, o, first = 0, count, rows = max(ROW_FLOATS // op.KW, <Py_ssize_t>1)
    p.N, p.K, p.M, p.x_row, p.y_row = samples, op.KW, op.O, stride, stride
    while first < op.O:
        count = min(rows, op.O - first)
        job.kernels.direct.outer(&p, x, dy, first, first + count, grads + op.weight)
        apply_update(update, number, job.params, grads, op.weight + first * op.KW, count * op.KW)
        first += count
    if op.has_bias:
        for o in range(op.O):
            grads[op.bias + o] = dy[o]
            for n in range(1, samples):
                grads[op.bias + o] += dy[n * stride + o]
        apply_update(update, number, job.params, grads, op.bias, op.O)


cdef void finish_sample_step(
    const Job* job, const SampleChain* chain, const float* arenas, Py_ssize_t stride, Py_ssize_t half,
    float* training, float* grads, const UpdateSteps* update, Py_ssize_t number,
) noexcept nogil:
    """Gradients of the whole batch, and the update number `number`."""
    cdef Py_ssize_t i, size
    cdef const Step* step
    cdef const Op* op
    for i in range(chain.count):
        step = chain.steps + i
        op = &step.op
        if step.kind == STEP_LINEAR:
            finish_linear(job, op, job.batch, arenas, stride, half, grads, update, number)
            continue
        if step.kind == STEP_CONV2D:
            finish_conv2d(job, step, grads, training)
        elif step.kind == STEP_CHANNELS:
            finish_channels(op, training + step.training, grads)
        else:
            continue
        size = op.O if step.kind == STEP_CHANNELS else weight_size(op)
        apply_update(update, number, job.params, grads, op.weight, size)
        if op.has_bias:
            apply_update(update, number, job.params, grads, op.bias, op.O)


cdef inline Py_ssize_t weight_size(const Op* op) noexcept nogil:
    if op.connections is not NULL:
        return op.connection_count * op.KH * op.KW
    return op.O * (op.C // op.groups) * op.KH * op.KW
