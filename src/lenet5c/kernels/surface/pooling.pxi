# Pooling: planes know nothing of each other, so 16 of them go side by side, whatever samples they
# are of. The arena has the input, then the output; after it lies another one for the gradients.


cdef int set_pool(Op* op, const Pool2dSizes* s, const OpKernels* op_kernels) noexcept nogil:
    """The op on a plane, checked."""
    cdef Window w
    cdef int status
    if s is NULL:
        return NULL_POINTER
    status = set_window(&w, s.N, s.C, s.H, s.W, s.KH, s.KW, s.stride_h, s.stride_w, s.padding_h,
                        s.padding_w, 1, 1)
    if status != OK:
        return status
    if 2 * s.padding_h > s.KH or 2 * s.padding_w > s.KW:
        return PADDING_TOO_LARGE
    if (not within(s.N, s.C, w.OH, w.OW) or not within(2, LANES, w.H, w.W)
            or not within(2, LANES, w.OH, w.OW)):
        return TOO_LARGE
    memset(op, 0, sizeof(Op))
    op.kernels, op.count_pad, op.groups = op_kernels, s.count_include_pad != 0, 1
    op.C, op.H, op.W, op.O, op.OH, op.OW = 1, w.H, w.W, 1, w.OH, w.OW
    op.KH, op.KW, op.SH, op.SW = w.KH, w.KW, w.SH, w.SW
    op.PH, op.PW, op.DH, op.DW = w.PH, w.PW, 1, 1
    op.y = w.H * w.W * LANES
    return OK


cdef Py_ssize_t arena_floats(const Op* op) noexcept nogil:
    return (op.H * op.W + op.OH * op.OW) * LANES


cdef void load_planes(const float* planes, Py_ssize_t count, Py_ssize_t size,
                      float* tile) noexcept nogil:
    """The first of `count` planes, up to 16; lanes that are left repeat the first one."""
    cdef const float* lanes[LANES]
    cdef Py_ssize_t lane
    for lane in range(LANES):
        lanes[lane] = planes + (lane * size if lane < count else 0)
    kernels.pack_floats(lanes, size, tile)


cdef Py_ssize_t pool2d_scratch(const Pool2dSizes* sizes) noexcept nogil:
    cdef Op op
    cdef int status = set_pool(&op, sizes, max_pool2d)
    return scratch_bytes(2 * arena_floats(&op), 0) if status == OK else status


cdef int pool_forward(const OpKernels* op_kernels, const Pool2dSizes* sizes, const float* x,
                      float* y, void* scratch) noexcept nogil:
    cdef Op op
    cdef Py_ssize_t tile, plane, planes, size, out
    cdef float* arena = aligned(scratch)
    cdef int status = set_pool(&op, sizes, op_kernels)
    if status != OK:
        return status
    planes, size, out = sizes.N * sizes.C, op.H * op.W, op.OH * op.OW
    if planes > 0 and (x is NULL or y is NULL or scratch is NULL):
        return NULL_POINTER
    for tile in range((planes + LANES - 1) // LANES):
        plane = tile * LANES
        load_planes(x + plane * size, planes - plane, size, arena)
        op.kernels.forward(&op, NULL, arena, NULL)
        kernels.unpack(arena + op.y, out, min(<Py_ssize_t>LANES, planes - plane), y + plane * out)
    return OK


cdef int pool_backward(const OpKernels* op_kernels, const Pool2dSizes* sizes, const float* dy,
                       const float* x, float* dx, void* scratch) noexcept nogil:
    """x is looked at only where the gradient depends on it."""
    cdef Op op
    cdef Py_ssize_t tile, plane, planes, size, out
    cdef float* arena = aligned(scratch)
    cdef float* gradients
    cdef int status = set_pool(&op, sizes, op_kernels)
    if status != OK:
        return status
    gradients = arena + arena_floats(&op)
    planes, size, out = sizes.N * sizes.C, op.H * op.W, op.OH * op.OW
    if planes > 0 and (dy is NULL or dx is NULL or scratch is NULL
                       or (x is NULL and op_kernels.reads_x)):
        return NULL_POINTER
    for tile in range((planes + LANES - 1) // LANES):
        plane = tile * LANES
        if op_kernels.reads_x:
            load_planes(x + plane * size, planes - plane, size, arena)
            op.kernels.forward(&op, NULL, arena, NULL)
        load_planes(dy + plane * out, planes - plane, out, gradients + op.y)
        op.kernels.backward(&op, NULL, arena, gradients, True, NULL, NULL, NULL)
        kernels.unpack(gradients, size, min(<Py_ssize_t>LANES, planes - plane), dx + plane * size)
    return OK


cdef int max_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil:
    return pool_forward(max_pool2d, sizes, x, y, scratch)


cdef int max_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, const float* x,
                                 float* dx, void* scratch) noexcept nogil:
    return pool_backward(max_pool2d, sizes, dy, x, dx, scratch)


cdef int avg_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil:
    return pool_forward(avg_pool2d, sizes, x, y, scratch)


cdef int avg_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, float* dx,
                                 void* scratch) noexcept nogil:
    return pool_backward(avg_pool2d, sizes, dy, NULL, dx, scratch)
