# Radial basis functions on a tile, as in LeCun et al. (1998), eq. 7: x (C, 16) -> y (O, 16). The
# codes (O, C) are not trained.
#
#   y[o] = sum over c of (x[c] - codes[o, c])^2
#   dx[c] = sum over o of 2 dy[o] (x[c] - codes[o, c])

cdef void rbf_forward(const Op* op, const float* params, float* arena,
                      float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef Py_ssize_t o, c
    cdef v16 total, distance
    for o in range(op.O):
        total = v16_zero()
        for c in range(op.C):
            distance = v16_sub(v16_load(x + c * LANES), v16_set1(op.codes[o * op.C + c]))
            total = v16_fma(distance, distance, total)
        v16_store(arena + op.y + o * LANES, total)


cdef void rbf_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef const float* dy = gradients + op.y
    cdef Py_ssize_t o, c
    cdef v16 total, distance
    if not need_dx:
        return
    for c in range(op.C):
        total = v16_zero()
        for o in range(op.O):
            distance = v16_sub(v16_load(x + c * LANES), v16_set1(op.codes[o * op.C + c]))
            total = v16_fma(distance, v16_load(dy + o * LANES), total)
        v16_store(gradients + op.x + c * LANES, v16_add(total, total))


cdef void rbf_sample(const Op* op, const float* params, const float* x, float* y) noexcept nogil:
    """Run a single sample, 16 inputs side by side."""
    cdef Py_ssize_t block
    cdef Py_ssize_t o, c, rest = op.C % LANES
    cdef const float* code = op.codes
    cdef v16 total, distance
    for o in range(op.O):
        total = v16_zero()
        for block in range((op.C - rest) // LANES):
            c = block * LANES
            distance = v16_sub(v16_load(x + c), v16_load(code + c))
            total = v16_fma(distance, distance, total)
        if rest > 0:
            distance = v16_sub(load_some(x + op.C - rest, rest),
                               load_some(code + op.C - rest, rest))
            total = v16_fma(distance, distance, total)
        y[o] = v16_reduce(total)
        code += op.C


cdef void rbf_sample_backward(const Op* op, const float* params, const float* x, const float* dy,
                              float* dx, float* sums) noexcept nogil:
    cdef Py_ssize_t block
    cdef Py_ssize_t o, c, count
    cdef v16 total, inputs, distance
    if dx is NULL:
        return
    for block in range(round_up(op.C) // LANES):
        c = block * LANES
        count = min(<Py_ssize_t>LANES, op.C - c)
        inputs = load_some(x + c, count)
        total = v16_zero()
        for o in range(op.O):
            distance = v16_sub(inputs, load_some(op.codes + o * op.C + c, count))
            total = v16_fma(distance, v16_set1(dy[o]), total)
        store_some(dx + c, count, v16_add(total, total))


cdef OpKernels* rbf = add_op(b"rbf", rbf_forward, rbf_backward)
rbf.reads_x = True
rbf.sample_forward, rbf.sample_backward = rbf_sample, rbf_sample_backward
