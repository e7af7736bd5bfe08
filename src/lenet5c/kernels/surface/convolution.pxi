# Convolution, as `lenet5c.kernels.conv2d` computes it: on tiles where a batch fills them, else on
# the strips of _strips.pyx.


cdef int set_units(Units* u, const Conv2dSizes* s) noexcept nogil:
    """The settings, checked; which way goes side by side is still open."""
    cdef Window w
    cdef int status
    if s is NULL:
        return NULL_POINTER
    status = set_window(&w, s.N, s.C, s.H, s.W, s.KH, s.KW, s.stride_h, s.stride_w, s.padding_h,
                        s.padding_w, s.dilation_h, s.dilation_w)
    if status != OK:
        return status
    if s.O < 1 or s.groups < 1:
        return INVALID_SIZE
    if s.C % s.groups != 0 or s.O % s.groups != 0:
        return INVALID_GROUPS
    if (not within(s.N, s.O, w.OH, w.OW) or not within(1, s.O, w.OH, w.OW)
            or not within(s.O, s.C // s.groups, s.KH, s.KW)):
        return TOO_LARGE
    u.groups, u.count, u.threads = s.groups, s.N * s.groups, 1
    u.D, u.H, u.W, u.L, u.OH, u.OW = s.C // s.groups, w.H, w.W, s.O // s.groups, w.OH, w.OW
    u.KH, u.KW, u.SH, u.SW, u.PH, u.PW, u.DH, u.DW = w.KH, w.KW, w.SH, w.SW, w.PH, w.PW, w.DH, w.DW
    return OK


cdef int plan_forward(Geometry* g, Units* u) noexcept nogil:
    u.blocked = units_fill_better(u.count, u.L)
    return OK if plan_result(g, kernels, u) else TOO_LARGE


cdef Py_ssize_t conv2d_scratch(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    cdef Geometry g
    cdef Tiles t
    cdef int status = set_units(&u, sizes)
    if status != OK:
        return status
    if suits_tiles(&u, u.L):
        status = plan_tiles(&t, &u)
        return scratch_bytes(tiles_floats(&t), 0) if status == OK else status
    status = plan_forward(&g, &u)
    return scratch_bytes(convolve_floats(&g, 1), offset_count(&g)) if status == OK else status


cdef int conv2d_f32(const Conv2dSizes* sizes, const float* x, const float* weight,
                    const float* bias, float* y, void* scratch) noexcept nogil:
    cdef Units u
    cdef Geometry g
    cdef Tiles t
    cdef bint on_tiles = False
    cdef int status = set_units(&u, sizes)
    if status == OK:
        on_tiles = suits_tiles(&u, u.L)
        status = plan_tiles(&t, &u) if on_tiles else plan_forward(&g, &u)
    if status != OK or u.count == 0:
        return status
    if x is NULL or weight is NULL or y is NULL or scratch is NULL:
        return NULL_POINTER
    if on_tiles:
        tiles_forward(&t, x, weight, bias, y, aligned(scratch))
        return OK
    write_offsets(&g, <Py_ssize_t*>(aligned(scratch) + round_up(convolve_floats(&g, 1))))
    convolve_all(&g, x, weight, bias, y, aligned(scratch))
    return OK


cdef Py_ssize_t data_gradient_scratch(Units* u) noexcept nogil:
    """The most that a phase of the stride takes, or a Status."""
    cdef Geometry g
    cdef Py_ssize_t a, b, bytes, most = 0
    u.blocked = units_fill_better(u.count, u.D)
    for a in range(min(u.SH, u.H)):
        for b in range(min(u.SW, u.W)):
            if not plan_phase(&g, kernels, u, a, b):
                return TOO_LARGE
            bytes = scratch_bytes(convolve_floats(&g, 1), offset_count(&g))
            if bytes < 0:
                return bytes
            most = max(most, bytes)
    return most


cdef Py_ssize_t weight_gradient_scratch(Units* u) noexcept nogil:
    cdef Geometry g
    cdef Totals t
    if plan_forward(&g, u) != OK:
        return TOO_LARGE
    t = plan_totals(&g, 1, False)
    return scratch_bytes(gradient_floats(&g, &t, 1), offset_count(&g))


cdef bint backward_suits_tiles(const Units* u) noexcept nogil:
    return suits_tiles(u, u.L) or suits_tiles(u, u.D)


cdef Py_ssize_t conv2d_backward_scratch(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    cdef Tiles t
    cdef Py_ssize_t dx, dweight
    cdef int status = set_units(&u, sizes)
    if status != OK:
        return status
    if backward_suits_tiles(&u):
        status = plan_tiles(&t, &u)
        return scratch_bytes(tiles_backward_floats(&t), 0) if status == OK else status
    dx, dweight = data_gradient_scratch(&u), weight_gradient_scratch(&u)
    return min(dx, dweight) if min(dx, dweight) < 0 else max(dx, dweight)


cdef int conv2d_backward_f32(const Conv2dSizes* sizes, const float* dy, const float* x,
                             const float* weight, float* dx, float* dweight, float* dbias,
                             void* scratch) noexcept nogil:
    cdef Units u
    cdef Tiles t
    cdef Py_ssize_t bytes = conv2d_backward_scratch(sizes)
    if bytes < 0:
        return <int>bytes
    set_units(&u, sizes)
    if scratch is NULL or (u.count > 0 and (
            dy is NULL or (dweight is not NULL and x is NULL)
            or (dx is not NULL and weight is NULL))):
        return NULL_POINTER
    if backward_suits_tiles(&u):
        plan_tiles(&t, &u)
        tiles_backward(&t, dy, x, weight, dx, dweight, dbias, aligned(scratch))
        return OK
    if dx is not NULL and u.count > 0:
        data_gradient(&u, dy, weight, dx, aligned(scratch))
    if dweight is not NULL or dbias is not NULL:
        weight_gradient(&u, dy, x, dweight, dbias, aligned(scratch))
    return OK


cdef void data_gradient(Units* u, const float* dy, const float* weight, float* dx,
                        float* memory) noexcept nogil:
    cdef Geometry g
    cdef Py_ssize_t a, b
    u.blocked = units_fill_better(u.count, u.D)
    for a in range(min(u.SH, u.H)):
        for b in range(min(u.SW, u.W)):
            plan_phase(&g, kernels, u, a, b)
            write_offsets(&g, <Py_ssize_t*>(memory + round_up(convolve_floats(&g, 1))))
            convolve_all(&g, dy, weight, NULL, dx, memory)


cdef void weight_gradient(Units* u, const float* dy, const float* x, float* dweight, float* dbias,
                          float* memory) noexcept nogil:
    cdef Geometry g
    cdef Totals t
    plan_forward(&g, u)
    t = plan_totals(&g, 1, False)
    write_offsets(&g, <Py_ssize_t*>(memory + round_up(gradient_floats(&g, &t, 1))))
    weight_gradient_all(&g, x, dy, dweight, dbias, memory)
