# Zeros around each plane: H + 2 PH rows of W + 2 PW columns, of 16 floats a pixel, or of one where
# a sample goes by itself.

cdef void pad_planes(const Op* op, const float* x, float* y, Py_ssize_t lanes) noexcept nogil:
    cdef Py_ssize_t c, h, row = op.W * lanes
    # Zeros before the first row of a plane, from the end of a row to the next one, after the last.
    cdef Py_ssize_t before = (op.PH * op.OW + op.PW) * lanes, between = (op.OW - op.W) * lanes
    cdef Py_ssize_t after = (op.OH * op.OW - (op.PH + op.H - 1) * op.OW - op.PW - op.W) * lanes
    for c in range(op.C):
        memset(y, 0, before * sizeof(float))
        y += before
        for h in range(op.H):
            memcpy(y, x, row * sizeof(float))
            x, y = x + row, y + row
            if h + 1 < op.H:
                memset(y, 0, between * sizeof(float))
                y += between
        memset(y, 0, after * sizeof(float))
        y += after


cdef void crop_planes(const Op* op, const float* dy, float* dx, Py_ssize_t lanes) noexcept nogil:
    cdef Py_ssize_t c, h, row = op.W * lanes
    for c in range(op.C):
        for h in range(op.H):
            memcpy(dx + (c * op.H + h) * row,
                   dy + ((c * op.OH + h + op.PH) * op.OW + op.PW) * lanes, row * sizeof(float))


cdef void pad2d_forward(const Op* op, const float* params, float* arena,
                        float* scratch) noexcept nogil:
    pad_planes(op, arena + op.x, arena + op.y, LANES)


cdef void pad2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    if need_dx:
        crop_planes(op, gradients + op.y, gradients + op.x, LANES)


cdef void pad2d_sample(const Op* op, const float* params, const float* x, float* y) noexcept nogil:
    pad_planes(op, x, y, 1)


cdef void pad2d_sample_backward(const Op* op, const float* params, const float* x, const float* dy,
                                float* dx, float* sums) noexcept nogil:
    if dx is not NULL:
        crop_planes(op, dy, dx, 1)


cdef OpKernels* pad2d = add_op(b"pad2d", pad2d_forward, pad2d_backward)
pad2d.sample_forward, pad2d.sample_backward = pad2d_sample, pad2d_sample_backward
