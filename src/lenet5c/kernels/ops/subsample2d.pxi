# Subsampling on a tile, as in LeCun et al. (1998): x (C, H, W, 16) -> y (C, OH, OW, 16), windows
# that do not overlap.
#
#   y[c] = weight[c] * (sum of the window) + bias[c]
#   dx = weight[c] dy for each element of the window, dweight[c] = sum dy * (sum of the window),
#     dbias[c] = sum dy
#
# One weight and one bias a channel. *_plane serves both layouts: a weight for all lanes, or one for
# each of 16 channels.

cdef inline v16 sum_of_window(const Op* op, const float* x) noexcept nogil:
    cdef Py_ssize_t h, w
    cdef v16 total = v16_zero()
    for h in range(op.KH):
        for w in range(op.KW):
            total = v16_add(total, v16_load(x + (h * op.W + w) * LANES))
    return total


cdef inline void subsample2d_plane(const Op* op, v16 weight, v16 bias, const float* x,
                                   float* y) noexcept nogil:
    cdef Py_ssize_t oh, ow
    for oh in range(op.OH):
        for ow in range(op.OW):
            v16_store(y, v16_fma(sum_of_window(op, x + (oh * op.KH * op.W + ow * op.KW) * LANES),
                                 weight, bias))
            y += LANES


cdef inline void subsample2d_plane_backward(
    const Op* op, v16 weight, const float* x, const float* dy, float* dx, float* dweight,
    float* dbias,
) noexcept nogil:
    """Writes dx, unless it is NULL; dweight and dbias become 16 sums over the plane."""
    cdef Py_ssize_t oh, ow, h, w, at
    cdef v16 g, share
    cdef v16 total = v16_zero(), weighted = v16_zero()
    if dx is not NULL and (op.H != op.OH * op.KH or op.W != op.OW * op.KW):
        memset(dx, 0, op.H * op.W * LANES * sizeof(float))
    for oh in range(op.OH):
        for ow in range(op.OW):
            at = (oh * op.KH * op.W + ow * op.KW) * LANES
            g = v16_load(dy)
            dy += LANES
            weighted = v16_fma(g, sum_of_window(op, x + at), weighted)
            total = v16_add(total, g)
            if dx is NULL:
                continue
            share = v16_mul(g, weight)
            for h in range(op.KH):
                for w in range(op.KW):
                    v16_store(dx + at + (h * op.W + w) * LANES, share)
    v16_store(dweight, weighted)
    v16_store(dbias, total)


cdef void subsample2d_forward(const Op* op, const float* params, float* arena,
                              float* scratch) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(op.C):
        subsample2d_plane(op, v16_set1(params[op.weight + c]), v16_set1(params[op.bias + c]),
                          arena + op.x + c * op.H * op.W * LANES,
                          arena + op.y + c * op.OH * op.OW * LANES)


cdef void subsample2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef float dweight[LANES]
    cdef float dbias[LANES]
    cdef Py_ssize_t c, at
    for c in range(op.C):
        at = op.x + c * op.H * op.W * LANES
        subsample2d_plane_backward(op, v16_set1(params[op.weight + c]), arena + at,
                                   gradients + op.y + c * op.OH * op.OW * LANES,
                                   gradients + at if need_dx else NULL, dweight, dbias)
        sums[op.dweight + c] += v16_reduce(v16_load(dweight))
        sums[op.dbias + c] += v16_reduce(v16_load(dbias))


cdef void subsample2d_sample(const Op* op, const float* params, const float* x,
                             float* y) noexcept nogil:
    """Run a single sample, 16 channels side by side."""
    cdef Py_ssize_t block
    cdef Py_ssize_t c, channels
    for block in range(round_up(op.C) // LANES):
        c = block * LANES
        channels = min(<Py_ssize_t>LANES, op.C - c)
        subsample2d_plane(op, load_some(params + op.weight + c, channels),
                          load_some(params + op.bias + c, channels), x + c * op.H * op.W,
                          y + c * op.OH * op.OW)


cdef void subsample2d_sample_backward(
    const Op* op, const float* params, const float* x, const float* dy, float* dx, float* sums,
) noexcept nogil:
    cdef Py_ssize_t block
    cdef float dweight[LANES]
    cdef float dbias[LANES]
    cdef Py_ssize_t c, channels
    for block in range(round_up(op.C) // LANES):
        c = block * LANES
        channels = min(<Py_ssize_t>LANES, op.C - c)
        subsample2d_plane_backward(op, load_some(params + op.weight + c, channels),
                                   x + c * op.H * op.W, dy + c * op.OH * op.OW,
                                   dx + c * op.H * op.W if dx is not NULL else NULL, dweight, dbias)
        v16_store(sums + 2 * c, v16_add(v16_load(sums + 2 * c), v16_load(dweight)))
        v16_store(sums + 2 * c + LANES, v16_add(v16_load(sums + 2 * c + LANES), v16_load(dbias)))


cdef OpKernels* subsample2d = add_op(b"subsample2d", subsample2d_forward, subsample2d_backward)
subsample2d.reads_x = True
subsample2d.sample_forward = subsample2d_sample
subsample2d.sample_backward = subsample2d_sample_backward
