# The fully connected layer on a tile: y[o] = bias[o] + sum over i of x[i] * weight[o, i].
#
# x (I, 16), y (O, 16), weight (O, I). Its forward pass is conv2d_forward with the filter as wide as
# the input.
#
# The weight gradient has no positions to sum over, only samples, and as many values as the layer
# has weights. So a tile does not compute it: it saves x and dy (I + O values per sample, where the
# gradient has I O), and after the whole batch, the gradient of a few outputs at a time is
# summed in registers over all of its samples. x is saved transposed, (I / 16, lane, 16): 16
# neighboring weights lie in a vector and take one multiply-add a sample, without sums of lanes.
#
# A single sample uses 16 inputs side by side, the layout of its weights: direct/products.pxi.


cdef void linear_sample_backward(const Op* op, const float* params, const float* x,
                                 const float* dy, float* dx, float* sums) noexcept nogil:
    """Compute dx (I) from a sample's dy (O); other gradients are computed for all samples."""
    cdef RowProduct p
    if dx is NULL:
        return
    p.N, p.K, p.M, p.x_row, p.y_row = 1, op.O, op.KW, 0, 0
    add_rows(&p, dy, params + op.weight, NULL, 0, op.KW, dx)


cdef inline void linear_dx_block(
    const float* weight, const float* dy, float* dx, Py_ssize_t I, Py_ssize_t O, int TI, int TP,
) noexcept nogil:
    """dx of TI neighboring inputs, TP parts of the lanes; weight and dx point at the first."""
    cdef nv acc[32]
    cdef nv g[4]
    cdef nv w
    cdef int i, part
    cdef Py_ssize_t o
    for i in range(TI * TP):
        acc[i] = nv_set1(0)
    for o in range(O):
        for part in range(TP):
            g[part] = nv_load(dy + o * LANES + part * NV_LANES)
        for i in range(TI):
            w = nv_set1(weight[o * I + i])
            for part in range(TP):
                acc[i * TP + part] = nv_fma(g[part], w, acc[i * TP + part])
    for i in range(TI):
        for part in range(TP):
            nv_store(dx + i * LANES + part * NV_LANES, acc[i * TP + part])


cdef inline void linear_dx(const float* weight, const float* dy, float* dx, Py_ssize_t I,
                           Py_ssize_t O) noexcept nogil:
    """Runs of 24 or 6, 4 and 1 inputs; where registers are few, one part of the lanes at a time."""
    cdef Py_ssize_t i = 0, part
    cdef float* to
    cdef int width = 24 if V16_PARTS == 1 else 6
    while i < I:
        to = dx + i * LANES
        if i + width <= I:
            for part in range(1 if V16_PARTS <= 2 else V16_PARTS):
                linear_dx_block(weight + i, dy + part * NV_LANES, to + part * NV_LANES, I, O,
                                24 if V16_PARTS == 1 else 6, V16_PARTS if V16_PARTS <= 2 else 1)
            i += width
        elif i + 4 <= I:
            for part in range(V16_PARTS):
                linear_dx_block(weight + i, dy + part * NV_LANES, to + part * NV_LANES, I, O, 4, 1)
            i += 4
        else:
            for part in range(V16_PARTS):
                linear_dx_block(weight + i, dy + part * NV_LANES, to + part * NV_LANES, I, O, 1, 1)
            i += 1


cdef Py_ssize_t saved_dy(const Op* op) noexcept nogil:
    """Return the offset of dy (O, 16) after x (I / 16, lane, 16) in the saved values of a tile."""
    return op.saved + round_up(op.KW) * LANES


cdef Py_ssize_t linear_saved(const Op* op) noexcept nogil:
    return saved_dy(op) - op.saved + op.O * LANES


cdef Py_ssize_t linear_scratch(const Op* op) noexcept nogil:
    return conv2d_filter_floats(op) if op.OW > 1 else 0


cdef void linear_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    """Save x transposed, and dy; compute dx."""
    cdef Py_ssize_t block
    cdef v16 square[LANES]
    cdef Py_ssize_t first, i
    cdef const float* x = arena + op.x
    cdef float* xt = saved + op.saved
    if op.mask:
        mask_gradient(op, arena + op.y, gradients + op.y)
    for block in range(round_up(op.KW) // LANES):
        first = block * LANES
        for i in range(LANES):
            square[i] = v16_load(x + (first + i) * LANES) if first + i < op.KW else v16_zero()
        v16_transpose(square)
        for i in range(LANES):
            v16_store(xt + (first + i) * LANES, square[i])
    memcpy(saved + saved_dy(op), gradients + op.y, op.O * LANES * sizeof(float))
    if need_dx:
        linear_dx(params + op.weight, gradients + op.y, gradients + op.x, op.KW, op.O)


cdef inline void linear_dweight_block(
    const Op* op, const float** saved, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t run,
    float* dweight, Py_ssize_t next_output, bint add, int TO, int TP,
) noexcept nogil:
    """TO outputs x TP native vectors of inputs, over all samples of the tiles."""
    cdef nv acc[24]
    cdef nv inputs[2]
    cdef nv g
    cdef int i, part
    cdef Py_ssize_t tile, lane
    cdef const float* xt
    cdef const float* dy
    for i in range(TO):
        for part in range(TP):
            acc[i * TP + part] = nv_set1(0)
            if add:
                acc[i * TP + part] = nv_load(dweight + i * next_output + part * NV_LANES)
    for tile in range(tiles):
        xt = saved[tile] + op.saved + run // LANES * LANES * LANES + run % LANES
        dy = saved[tile] + saved_dy(op) + first * LANES
        for lane in range(LANES):
            for part in range(TP):
                inputs[part] = nv_load(xt + lane * LANES + part * NV_LANES)
            for i in range(TO):
                g = nv_set1(dy[i * LANES + lane])
                for part in range(TP):
                    acc[i * TP + part] = nv_fma(inputs[part], g, acc[i * TP + part])
    for i in range(TO):
        for part in range(TP):
            nv_store(dweight + i * next_output + part * NV_LANES, acc[i * TP + part])


cdef inline void linear_dweight_run(
    const Op* op, const float** saved, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t run,
    float* dweight, Py_ssize_t next_output, bint add, int TO,
) noexcept nogil:
    """TO outputs from `first` on x 16 inputs from `run` on."""
    cdef Py_ssize_t part
    for part in range(1 if V16_PARTS <= 2 else V16_PARTS):
        linear_dweight_block(op, saved, tiles, first, run + part * NV_LANES,
                             dweight + part * NV_LANES, next_output, add, TO,
                             V16_PARTS if V16_PARTS <= 2 else 1)


cdef void linear_dweight(
    const Op* op, const float** saved, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t stop,
    Py_ssize_t run, float* dweight, Py_ssize_t next_output, bint add,
) noexcept nogil:
    """The outputs first .. stop x 16 inputs: what the tiles keep of these inputs stays in cache."""
    cdef Py_ssize_t o = first, count
    while o < stop:
        count = 1
        if V16_PARTS == 1 and o + 2 * LINEAR_BLOCK <= stop:
            count = 2 * LINEAR_BLOCK
            linear_dweight_run(op, saved, tiles, o, run, dweight, next_output, add,
                               2 * LINEAR_BLOCK)
        elif o + LINEAR_BLOCK <= stop:
            count = LINEAR_BLOCK
            linear_dweight_run(op, saved, tiles, o, run, dweight, next_output, add, LINEAR_BLOCK)
        else:
            linear_dweight_run(op, saved, tiles, o, run, dweight, next_output, add, 1)
        o += count
        dweight += count * next_output


cdef void linear_dparams(
    const Op* op, const float** saved, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t count,
    bint add, float* grads,
) noexcept nogil:
    """Process whole vectors of inputs; the last few in rows of 16."""
    cdef Py_ssize_t block
    cdef float rows[2 * LINEAR_BLOCK * LANES]
    cdef Py_ssize_t I = op.KW
    cdef Py_ssize_t rest = I % LANES
    cdef Py_ssize_t run, o, i, tile, stop
    cdef float* dweight = grads + op.weight + first * I
    cdef float total
    for block in range((I - rest) // LANES):
        run = block * LANES
        linear_dweight(op, saved, tiles, first, first + count, run, dweight + run, I, add)
    stop = 0
    while rest > 0 and stop < count:
        o, stop = stop, min(stop + 2 * LINEAR_BLOCK, count)
        memset(rows, 0, sizeof(rows))
        for i in range(o, stop):
            memcpy(rows + (i - o) * LANES, dweight + (i + 1) * I - rest, rest * sizeof(float))
        linear_dweight(op, saved, tiles, first + o, first + stop, I - rest, rows, LANES, add)
        for i in range(o, stop):
            memcpy(dweight + (i + 1) * I - rest, rows + (i - o) * LANES, rest * sizeof(float))
    if op.has_bias:
        for o in range(first, first + count):
            total = grads[op.bias + o] if add else 0
            for tile in range(tiles):
                total += v16_reduce(v16_load(saved[tile] + saved_dy(op) + o * LANES))
            grads[op.bias + o] = total


cdef OpKernels* linear = add_op(b"linear", conv2d_forward, linear_backward)
linear.reads_x, linear.scratch_floats, linear.saved_floats = True, linear_scratch, linear_saved
linear.sample_backward = linear_sample_backward  # forward: `dot` of products.pxi
