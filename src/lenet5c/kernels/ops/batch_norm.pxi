# Batch normalization on a tile: x (C, H, W, 16) -> y, by mean and variance of each channel, those
# of the batch, which the engine has put into the arena, or the running ones.
#
#   y = (x - mean) * scale * weight + bias, scale = 1 / sqrt(var + eps)
#   dweight = sum of dy * normal, dbias = sum of dy, normal = (x - mean) * scale
#   dx = scale * weight * dy, and by the statistics of the batch, which depend on x,
#      = scale * weight * (dy - mean of dy - normal * mean of dy * normal)
#
# With `relu` y is rectified, with `pool` then the largest of each 2 x 2 window is taken, or with
# `average` the mean. y grows or falls with x, so the place of the largest is that of the largest or
# the smallest x, which is saved at `argmax`; of equals the first is meant, and of a channel whose
# weight is 0 the first of the window. Of a mean, what is saved there is the sum of x - mean over
# the x whose y is positive (all, without `relu`), and after all of those the number of these x: so
# the sums over a batch read no x. Which y were positive is computed anew from x.

cdef enum:
    SUMMED = 256  # places of a plane that are summed in float32


cdef struct Channel:
    v16 mean
    v16 factor           # scale * weight
    v16 bias


cdef inline float channel_mean(const Op* op, const float* arena, Py_ssize_t c) noexcept nogil:
    return arena[statistic_at(op, MEAN) + c] if op.batch_stats else op.running_mean[c]


cdef inline float channel_scale(const Op* op, const float* arena, Py_ssize_t c) noexcept nogil:
    if op.batch_stats:
        return arena[statistic_at(op, SCALE) + c]
    return 1 / sqrtf(op.running_var[c] + op.eps)


cdef inline Channel channel_of(const Op* op, const float* params, const float* arena,
                               Py_ssize_t c) noexcept nogil:
    cdef Channel channel
    channel.mean = v16_set1(channel_mean(op, arena, c))
    channel.factor = v16_set1(channel_scale(op, arena, c) * params[op.weight + c])
    channel.bias = v16_set1(params[op.bias + c])
    return channel


cdef inline v16 normalized(const Channel* channel, v16 x) noexcept nogil:
    return v16_fma(v16_sub(x, channel.mean), channel.factor, channel.bias)


cdef inline Py_ssize_t pooled_floats(const Op* op) noexcept nogil:
    return op.C * (op.H // 2) * (op.W // 2) * LANES


cdef inline v16 smaller(v16 best, v16 a) noexcept nogil:
    """The smaller of both, the first of equals, and not-a-number if either is."""
    return v16_where_le(best, best, v16_where_le(best, a, best, a), best)


cdef inline v16 extreme(float factor, v16 best, v16 x) noexcept nogil:
    """The x of the larger y."""
    return larger(best, x) if factor > 0 else smaller(best, x) if factor < 0 else best


cdef inline void average_window(const Op* op, const Channel* channel, const float* x, float* y,
                                float* chosen, float* count) noexcept nogil:
    """Compute sum and number of the x - mean of a window, and the mean of its y."""
    cdef v16 total = v16_zero(), number = v16_zero(), quarter = v16_set1(0.25), d, value, mean
    cdef int k
    for k in range(4):
        d = v16_sub(v16_load(x + ((k >> 1) * op.W + (k & 1)) * LANES), channel.mean)
        value = v16_fma(d, channel.factor, channel.bias) if op.relu else v16_set1(1)
        total = v16_add(total, where_positive(value, d))
        number = v16_add(number, where_positive(value, v16_set1(1)))
    v16_store(chosen, total)
    v16_store(count, number)
    mean = v16_mul(v16_fma(total, channel.factor, v16_mul(number, channel.bias)), quarter)
    v16_store(y, v16_max(v16_zero(), mean) if op.relu else mean)


cdef void batch_norm_forward(const Op* op, const float* params, float* arena,
                             float* scratch) noexcept nogil:
    cdef Py_ssize_t c, i, ow, width = op.W * LANES, pooled = pooled_floats(op)
    cdef const float* x = arena + op.x
    cdef float* y = arena + op.y
    cdef float* chosen = arena + op.argmax
    cdef float factor
    cdef Channel channel
    cdef v16 best
    cdef bint relu = op.relu
    for c in range(op.C):
        channel = channel_of(op, params, arena, c)
        if not op.pool:
            for i in range(op.H * op.W):
                best = normalized(&channel, v16_load(x + i * LANES))
                v16_store(y + i * LANES, v16_max(v16_zero(), best) if relu else best)
            x += op.H * width
            y += op.H * width
            continue
        factor = channel_scale(op, arena, c) * params[op.weight + c]
        for i in range(op.H // 2):
            for ow in range(op.W // 2):
                if op.average:
                    average_window(op, &channel, x, y, chosen, chosen + pooled)
                    x, y, chosen = x + 2 * LANES, y + LANES, chosen + LANES
                    continue
                best = extreme(factor, v16_load(x), v16_load(x + LANES))
                best = extreme(factor, best, v16_load(x + width))
                best = extreme(factor, best, v16_load(x + width + LANES))
                v16_store(chosen, best)
                best = normalized(&channel, best)
                v16_store(y, v16_max(v16_zero(), best) if relu else best)
                x, y, chosen = x + 2 * LANES, y + LANES, chosen + LANES
            x += width


cdef void batch_norm_add_moments(const Op* op, const float* arena, double count,
                                 double* moments) noexcept nogil:
    """Twice over each plane: about its own mean, no difference of squares cancels."""
    cdef const float* x = arena + op.x
    cdef v16 live = v16_load(arena + op.given)
    cdef v16 total, squares, center, d
    cdef Py_ssize_t c, i, start, size = op.H * op.W
    cdef double values = v16_reduce(live) * <double>size
    cdef double whole, square, mean
    for c in range(op.C):
        whole = 0
        start = 0
        while start < size:
            total = v16_zero()
            for i in range(start, min(start + SUMMED, size)):
                total = v16_add(total, v16_load(x + i * LANES))
            whole += v16_reduce(v16_mul(total, live))
            start += SUMMED
        mean = <float>(whole / values)
        center = v16_set1(<float>mean)
        whole = square = 0
        start = 0
        while start < size:
            total = squares = v16_zero()
            for i in range(start, min(start + SUMMED, size)):
                d = v16_sub(v16_load(x + i * LANES), center)
                total = v16_add(total, d)
                squares = v16_fma(d, d, squares)
            whole += v16_reduce(v16_mul(total, live))
            square += v16_reduce(v16_mul(squares, live))
            start += SUMMED
        square -= whole * whole / values
        if square < 0:
            square = 0
        if count == 0:
            moments[2 * c], moments[2 * c + 1] = 0, 0
        merge_moments(moments + 2 * c, count, mean + whole / values, square, values)
        x += size * LANES


cdef void batch_norm_add_shares(
    const Op* op, const float* params, const float* arena, const float* gradients, float* sums,
    double* shares,
) noexcept nogil:
    """Sums over a tile; dead lanes have no gradient. With a pooling, over its windows."""
    cdef const float* x = arena + (op.argmax if op.pool else op.x)
    cdef const float* dy = gradients + op.y
    cdef Py_ssize_t c, i, start, size = op.H * op.W // (4 if op.pool else 1)
    cdef Py_ssize_t pooled = pooled_floats(op)
    cdef double total, share
    cdef Channel channel
    cdef v16 g, d, totals, products
    cdef bint relu = op.relu
    for c in range(op.C):
        channel = channel_of(op, params, arena, c)
        total = share = 0
        start = 0
        while start < size:
            totals = products = v16_zero()
            for i in range(start, min(start + SUMMED, size)):
                g = v16_load(dy + i * LANES)
                if op.average:
                    g = v16_mul(g, v16_set1(0.25))
                    totals = v16_fma(g, v16_load(x + pooled + i * LANES), totals)
                    products = v16_fma(g, v16_load(x + i * LANES), products)
                    continue
                d = v16_sub(v16_load(x + i * LANES), channel.mean)
                if relu:
                    g = where_positive(v16_fma(d, channel.factor, channel.bias), g)
                totals = v16_add(totals, g)
                products = v16_fma(g, d, products)
            total += v16_reduce(totals)
            share += v16_reduce(products)
            start += SUMMED
        share *= channel_scale(op, arena, c)
        sums[op.dweight + c] += <float>share
        sums[op.dbias + c] += <float>total
        if shares is not NULL:
            shares[2 * c] += total
            shares[2 * c + 1] += share
        x += size * LANES
        dy += size * LANES


cdef inline v16 handed(v16* g, v16 best, v16 x) noexcept nogil:
    """Return the gradient of a window at its selected x, once; zero at other x."""
    cdef v16 own = v16_where_eq(x, best, g[0], v16_zero())
    g[0] = v16_where_eq(x, best, v16_zero(), g[0])
    return own


cdef void batch_norm_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    """dx; of a batch, whose sums are known by now, or after them."""
    cdef Py_ssize_t c, i, ow, k, at, width = op.W * LANES
    cdef const float* x = arena + op.x
    cdef const float* dy = gradients + op.y
    cdef const float* chosen = arena + op.argmax
    cdef float* dx = gradients + op.x
    cdef float factor
    cdef Channel channel
    cdef v16 live, g, d, best, own, constant = v16_zero(), slope = v16_zero()
    cdef bint relu = op.relu
    if not op.batch_stats and sums is not NULL:
        batch_norm_add_shares(op, params, arena, gradients, sums, NULL)
    if not need_dx:
        return
    for c in range(op.C):
        channel = channel_of(op, params, arena, c)
        if op.batch_stats:
            # a dead lane has no gradient
            live = v16_load(arena + op.given)
            factor = -channel_scale(op, arena, c) * params[op.weight + c]
            constant = v16_mul(v16_set1(factor * arena[statistic_at(op, MEAN_DY) + c]), live)
            factor *= channel_scale(op, arena, c)
            slope = v16_mul(v16_set1(factor * arena[statistic_at(op, MEAN_SHARE) + c]), live)
        if not op.pool:
            for i in range(op.H * op.W):
                g = v16_load(dy + i * LANES)
                d = v16_sub(v16_load(x + i * LANES), channel.mean)
                if relu:
                    g = where_positive(v16_fma(d, channel.factor, channel.bias), g)
                v16_store(dx + i * LANES,
                          v16_fma(g, channel.factor, v16_fma(d, slope, constant)))
            x, dy, dx = x + op.H * width, dy + op.H * width, dx + op.H * width
            continue
        for i in range(op.H // 2):
            for ow in range(op.W // 2):
                g, best = v16_load(dy), v16_load(chosen)
                if op.average:
                    g = v16_mul(g, v16_set1(0.25))
                elif relu:
                    g = where_positive(normalized(&channel, best), g)
                for k in range(4):
                    at = (k >> 1) * width + (k & 1) * LANES
                    d = v16_load(x + at)
                    if not op.average:
                        own = handed(&g, best, d)
                    elif relu:
                        own = where_positive(normalized(&channel, d), g)
                    else:
                        own = g
                    v16_store(dx + at, v16_fma(own, channel.factor,
                                               v16_fma(v16_sub(d, channel.mean), slope, constant)))
                x, dx = x + 2 * LANES, dx + 2 * LANES
                dy, chosen = dy + LANES, chosen + LANES
            x += width
            dx += width


cdef inline Channel block_of(const Op* op, const float* params, Py_ssize_t c,
                             v16* scales) noexcept nogil:
    """Return the values of 16 channels from c on; 0 beyond the last channel."""
    cdef Channel block
    cdef float scale[LANES]
    cdef Py_ssize_t i, channels = min(<Py_ssize_t>LANES, op.C - c)
    memset(scale, 0, sizeof(scale))
    for i in range(channels):
        scale[i] = channel_scale(op, NULL, c + i)
    scales[0] = v16_load(scale)
    block.mean = load_some(op.running_mean + c, channels)
    block.factor = v16_mul(scales[0], load_some(params + op.weight + c, channels))
    block.bias = load_some(params + op.bias + c, channels)
    return block


cdef void batch_norm_sample(const Op* op, const float* params, const float* x,
                            float* y) noexcept nogil:
    """Normalize a single sample, 16 channels side by side, by the running statistics."""
    cdef Py_ssize_t block, i, size = op.H * op.W
    cdef Channel channels
    cdef v16 scales
    for block in range(round_up(op.C) // LANES):
        channels = block_of(op, params, block * LANES, &scales)
        for i in range(size):
            v16_store(y, normalized(&channels, v16_load(x)))
            x, y = x + LANES, y + LANES


cdef void batch_norm_sample_backward(
    const Op* op, const float* params, const float* x, const float* dy, float* dx, float* sums,
) noexcept nogil:
    cdef Py_ssize_t block, i, size = op.H * op.W
    cdef Channel channels
    cdef v16 scales, g, total, share
    for block in range(round_up(op.C) // LANES):
        channels = block_of(op, params, block * LANES, &scales)
        total = share = v16_zero()
        for i in range(size):
            g = v16_load(dy + i * LANES)
            total = v16_add(total, g)
            share = v16_fma(g, v16_sub(v16_load(x + i * LANES), channels.mean), share)
            if dx is not NULL:
                v16_store(dx + i * LANES, v16_mul(g, channels.factor))
        v16_store(sums, v16_add(v16_load(sums), v16_mul(share, scales)))
        v16_store(sums + LANES, v16_add(v16_load(sums + LANES), total))
        x, dy, sums = x + size * LANES, dy + size * LANES, sums + 2 * LANES
        if dx is not NULL:
            dx += size * LANES


cdef OpKernels* batch_norm = add_op(b"batch_norm", batch_norm_forward, batch_norm_backward)
batch_norm.reads_x = True
batch_norm.add_moments, batch_norm.add_shares = batch_norm_add_moments, batch_norm_add_shares
batch_norm.sample_forward = batch_norm_sample
batch_norm.sample_backward = batch_norm_sample_backward
