# Pooling of whole maps on a tile: x (C, H, W, 16) -> y (C, 1, 1, 16).
#
#   max: y = the largest value; its gradient goes to the first such one in row-major order
#   avg: y = sum / (H W), each row summed by itself and then the rows, so that errors grow with H + W
#     and not with H W; its gradient, over H W, goes to every element
#
# With `mask` the gradient passes where the rectified x is positive.

cdef void global_max_pool2d_forward(const Op* op, const float* params, float* arena,
                                    float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef Py_ssize_t c, i
    cdef v16 best
    for c in range(op.C):
        best = v16_load(x)
        for i in range(1, op.H * op.W):
            best = larger(best, v16_load(x + i * LANES))
        v16_store(arena + op.y + c * LANES, best)
        x += op.H * op.W * LANES


cdef void global_max_pool2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef float* dx = gradients + op.x
    cdef Py_ssize_t c, i
    cdef v16 best, g
    if not need_dx:
        return
    for c in range(op.C):
        best = v16_load(arena + op.y + c * LANES)
        g = v16_load(gradients + op.y + c * LANES)
        if op.mask:
            g = where_positive(best, g)
        for i in range(op.H * op.W):
            g = take_first(dx, v16_load(x), best, g, False)
            x, dx = x + LANES, dx + LANES


cdef void global_avg_pool2d_forward(const Op* op, const float* params, float* arena,
                                    float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef Py_ssize_t c, h, w
    cdef v16 total, row, count = v16_set1(<float>(op.H * op.W))
    for c in range(op.C):
        total = v16_zero()
        for h in range(op.H):
            row = v16_load(x)
            for w in range(1, op.W):
                row = v16_add(row, v16_load(x + w * LANES))
            total = v16_add(total, row)
            x += op.W * LANES
        v16_store(arena + op.y + c * LANES, v16_div(total, count))


cdef void global_avg_pool2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef float* dx = gradients + op.x
    cdef Py_ssize_t c, i
    cdef v16 share, count = v16_set1(<float>(op.H * op.W))
    if not need_dx:
        return
    for c in range(op.C):
        share = v16_div(v16_load(gradients + op.y + c * LANES), count)
        for i in range(op.H * op.W):
            v16_store(dx, masked(op, x, share))
            x, dx = x + LANES, dx + LANES


cdef OpKernels* global_max_pool2d = add_op(b"global_max_pool2d", global_max_pool2d_forward,
                                           global_max_pool2d_backward)
global_max_pool2d.reads_x = global_max_pool2d.reads_y = True
add_op(b"global_avg_pool2d", global_avg_pool2d_forward, global_avg_pool2d_backward)
