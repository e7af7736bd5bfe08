# Convolution, as `lenet5c.kernels.conv2d` computes it: float on tiles where a batch fills them, few
# samples of a fully connected layer by products.pxi, all else on the strips of _strips.pyx.


cdef int set_units(Units* u, const Conv2dSizes* s) noexcept nogil:
    """The settings, checked; the vector axis is chosen later."""
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
    memset(u, 0, sizeof(Units))
    u.groups, u.count, u.threads = s.groups, s.N * s.groups, 1
    u.D, u.H, u.W, u.L, u.OH, u.OW = s.C // s.groups, w.H, w.W, s.O // s.groups, w.OH, w.OW
    u.KH, u.KW, u.SH, u.SW, u.PH, u.PW, u.DH, u.DW = w.KH, w.KW, w.SH, w.SW, w.PH, w.PW, w.DH, w.DW
    return OK


cdef void lay_out(Units* u, const DirectKernels* vectors) noexcept nogil:
    """The samples of a fully connected layer become the pixels of one image, unless on tiles."""
    if u.count == 0 or not is_fully_connected(u) or (vectors is floats and suits_tiles(u, u.L)):
        return
    u.D, u.H, u.W, u.OH, u.OW, u.count = u.D * u.H * u.W, u.count, 1, u.count, 1, 1
    u.KH = u.KW = u.SH = u.SW = u.DH = u.DW = 1
    u.channels_last = True


cdef bint has_few_samples(const Units* u) noexcept nogil:
    """Return True if it is a fully connected layer whose weights are read in place."""
    return u.channels_last and u.H < 4


cdef RowProduct product_of(Py_ssize_t N, Py_ssize_t K, Py_ssize_t M) noexcept nogil:
    cdef RowProduct p
    p.N, p.K, p.M, p.x_row, p.y_row = N, K, M, K, M
    return p


cdef int plan_forward(Geometry* g, const DirectKernels* vectors, Units* u,
                      Purpose purpose) noexcept nogil:
    """Plan the result or the weight gradient; return a Status."""
    u.purpose = purpose
    u.axis = choose_axis(vectors, u)
    return OK if plan_result(g, vectors, u) else TOO_LARGE


# The result


cdef Py_ssize_t result_scratch(Units* u, const DirectKernels* vectors) noexcept nogil:
    cdef Geometry g
    cdef Tiles t
    cdef int status
    if vectors is floats and suits_tiles(u, u.L):
        status = plan_tiles(&t, u)
        return scratch_bytes(tiles_floats(&t), 0) if status == OK else status
    if has_few_samples(u):
        return scratch_bytes(0, 0)
    status = plan_forward(&g, vectors, u, RESULT)
    return scratch_bytes(convolve_floats(&g, 1), offset_count(&g)) if status == OK else status


cdef void result(Units* u, const real* x, const real* weight, const real* bias, real* y,
                 void* scratch) noexcept nogil:
    """Run a plan whose scratch has been checked."""
    cdef Geometry g
    cdef Tiles t
    cdef RowProduct p
    cdef const DirectKernels* vectors = floats if real is float else doubles
    if real is float:
        if suits_tiles(u, u.L):
            plan_tiles(&t, u)
            tiles_forward(&t, x, weight, bias, y, aligned(scratch))
            return
    if has_few_samples(u):
        p = product_of(u.H, u.D, u.L)
        vectors.dot(&p, x, weight, bias, 0, u.L, y)
        return
    plan_forward(&g, vectors, u, RESULT)
    convolve(&g, x, weight, bias, y, aligned(scratch))


cdef void convolve(Geometry* g, const real* x, const real* weight, const real* bias, real* y,
                   float* memory) noexcept nogil:
    write_offsets(g, <Py_ssize_t*>(memory + round_up(convolve_floats(g, 1))))
    convolve_all(g, x, weight, bias, y, <real*>memory)


cdef int conv2d_of(const Conv2dSizes* sizes, const real* x, const real* weight, const real* bias,
                   real* y, void* scratch) noexcept nogil:
    cdef Units u
    cdef Py_ssize_t bytes = conv2d_bytes(sizes, &u, floats if real is float else doubles)
    if bytes < 0 or u.count == 0:
        return <int>min(bytes, <Py_ssize_t>OK)
    if x is NULL or weight is NULL or y is NULL or scratch is NULL:
        return NULL_POINTER
    result(&u, x, weight, bias, y, scratch)
    return OK


cdef Py_ssize_t conv2d_bytes(const Conv2dSizes* sizes, Units* u,
                             const DirectKernels* vectors) noexcept nogil:
    cdef int status = set_units(u, sizes)
    if status != OK:
        return status
    lay_out(u, vectors)
    return result_scratch(u, vectors)


# The gradients


cdef Py_ssize_t data_gradient_scratch(Units* u, const DirectKernels* vectors) noexcept nogil:
    """Return the maximum scratch of a phase of the stride, or a Status."""
    cdef Geometry g
    cdef Py_ssize_t a, b, bytes, most = 0
    if has_few_samples(u):
        return scratch_bytes(0, 0)
    u.purpose = DATA_GRADIENT
    u.axis = choose_axis(vectors, u)
    for a in range(min(u.SH, u.H)):
        for b in range(min(u.SW, u.W)):
            if not plan_phase(&g, vectors, u, a, b):
                return TOO_LARGE
            bytes = scratch_bytes(convolve_floats(&g, 1), offset_count(&g))
            if bytes < 0:
                return bytes
            most = max(most, bytes)
    return most


cdef void data_gradient(Units* u, const real* dy, const real* weight, const real* bias, real* dx,
                        void* scratch) noexcept nogil:
    """With a bias for each of its channels, unless that is NULL."""
    cdef Geometry g
    cdef Py_ssize_t a, b
    cdef RowProduct p
    cdef const DirectKernels* vectors = floats if real is float else doubles
    if has_few_samples(u):
        p = product_of(u.H, u.L, u.D)
        vectors.add(&p, dy, weight, bias, 0, u.D, dx)
        return
    u.purpose = DATA_GRADIENT
    u.axis = choose_axis(vectors, u)
    for a in range(min(u.SH, u.H)):
        for b in range(min(u.SW, u.W)):
            plan_phase(&g, vectors, u, a, b)
            convolve(&g, dy, weight, bias, dx, aligned(scratch))


cdef Py_ssize_t weight_gradient_scratch(Units* u, const DirectKernels* vectors) noexcept nogil:
    cdef Geometry g
    cdef Totals t
    if has_few_samples(u):
        return scratch_bytes(0, 0)
    if plan_forward(&g, vectors, u, WEIGHT_GRADIENT) != OK:
        return TOO_LARGE
    t = plan_totals(&g, 1, False)
    return scratch_bytes(gradient_floats(&g, &t, 1), offset_count(&g))


cdef void weight_gradient(Units* u, const real* dy, const real* x, real* dweight, real* dbias,
                          void* scratch) noexcept nogil:
    cdef Geometry g
    cdef Totals t
    cdef RowProduct p
    cdef const DirectKernels* vectors = floats if real is float else doubles
    cdef float* memory = aligned(scratch)
    if has_few_samples(u):
        p = product_of(u.H, u.D, u.L)
        if dweight is not NULL:
            vectors.outer(&p, x, dy, 0, u.L, dweight)
        if dbias is not NULL:
            sum_channels(dy, u.H, u.L, 1, dbias)
        return
    plan_forward(&g, vectors, u, WEIGHT_GRADIENT)
    t = plan_totals(&g, 1, False)
    write_offsets(&g, <Py_ssize_t*>(memory + round_up(gradient_floats(&g, &t, 1))))
    weight_gradient_all(&g, x, dy, dweight, dbias, <real*>memory)


cdef bint backward_suits_tiles(const Units* u) noexcept nogil:
    return suits_tiles(u, u.L) or suits_tiles(u, u.D)


cdef Py_ssize_t most_bytes(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """Return the larger, or the one that is a Status."""
    return min(a, b) if min(a, b) < 0 else max(a, b)


cdef Py_ssize_t backward_bytes(const Conv2dSizes* sizes, Units* u,
                               const DirectKernels* vectors) noexcept nogil:
    cdef Tiles t
    cdef int status = set_units(u, sizes)
    if status != OK:
        return status
    lay_out(u, vectors)
    if vectors is floats and backward_suits_tiles(u):
        status = plan_tiles(&t, u)
        return scratch_bytes(tiles_backward_floats(&t), 0) if status == OK else status
    return most_bytes(data_gradient_scratch(u, vectors), weight_gradient_scratch(u, vectors))


cdef int conv2d_backward_of(const Conv2dSizes* sizes, const real* dy, const real* x,
                            const real* weight, real* dx, real* dweight, real* dbias,
                            void* scratch) noexcept nogil:
    cdef Units u
    cdef Tiles t
    cdef Py_ssize_t bytes = backward_bytes(sizes, &u, floats if real is float else doubles)
    if bytes < 0:
        return <int>bytes
    if scratch is NULL or (u.count > 0 and (
            dy is NULL or (dweight is not NULL and x is NULL)
            or (dx is not NULL and weight is NULL))):
        return NULL_POINTER
    if real is float:
        if backward_suits_tiles(&u):
            plan_tiles(&t, &u)
            tiles_backward(&t, dy, x, weight, dx, dweight, dbias, aligned(scratch))
            return OK
    if dx is not NULL and u.count > 0:
        data_gradient(&u, dy, weight, <const real*>NULL, dx, scratch)
    if dweight is not NULL or dbias is not NULL:
        weight_gradient(&u, dy, x, dweight, dbias, scratch)
    return OK


# The functions of the surface


cdef Py_ssize_t conv2d_scratch(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    return conv2d_bytes(sizes, &u, floats)


cdef Py_ssize_t conv2d_scratch_f64(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    return conv2d_bytes(sizes, &u, doubles)


cdef Py_ssize_t conv2d_backward_scratch(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    return backward_bytes(sizes, &u, floats)


cdef Py_ssize_t conv2d_backward_scratch_f64(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    return backward_bytes(sizes, &u, doubles)


cdef int conv2d_f32(const Conv2dSizes* sizes, const float* x, const float* weight,
                    const float* bias, float* y, void* scratch) noexcept nogil:
    return conv2d_of(sizes, x, weight, bias, y, scratch)


cdef int conv2d_f64(const Conv2dSizes* sizes, const double* x, const double* weight,
                    const double* bias, double* y, void* scratch) noexcept nogil:
    return conv2d_of(sizes, x, weight, bias, y, scratch)


cdef int conv2d_backward_f32(const Conv2dSizes* sizes, const float* dy, const float* x,
                             const float* weight, float* dx, float* dweight, float* dbias,
                             void* scratch) noexcept nogil:
    return conv2d_backward_of(sizes, dy, x, weight, dx, dweight, dbias, scratch)


cdef int conv2d_backward_f64(const Conv2dSizes* sizes, const double* dy, const double* x,
                             const double* weight, double* dx, double* dweight, double* dbias,
                             void* scratch) noexcept nogil:
    return conv2d_backward_of(sizes, dy, x, weight, dx, dweight, dbias, scratch)
