# Transposed convolution y: the data gradient of the convolution from y to x, plus a bias. Its own
# gradients are that convolution's result and weight gradient.


cdef Py_ssize_t transposed_extent(Py_ssize_t extent, Py_ssize_t kernel, Py_ssize_t stride,
                                  Py_ssize_t padding, Py_ssize_t output_padding,
                                  Py_ssize_t dilation) noexcept nogil:
    """OH from H, or OW from W, or a Status."""
    cdef Py_ssize_t size
    if (extent < 1 or kernel < 1 or stride < 1 or dilation < 1 or padding < 0 or output_padding < 0
            or output_padding >= max(stride, dilation)):
        return INVALID_SIZE
    if (extent > most_elements() or padding > most_elements()
            or max(max(kernel, stride), dilation) > MAX_SETTING):
        return TOO_LARGE
    size = times(extent - 1, stride) + times(dilation, kernel - 1) + output_padding + 1 - 2 * padding
    return size if size > 0 else <Py_ssize_t>INVALID_SIZE


cdef int conv_transpose2d_output(const ConvTranspose2dSizes* s, Py_ssize_t* OH,
                                 Py_ssize_t* OW) noexcept nogil:
    if s is NULL or OH is NULL or OW is NULL:
        return NULL_POINTER
    OH[0] = transposed_extent(s.H, s.KH, s.stride_h, s.padding_h, s.output_padding_h, s.dilation_h)
    OW[0] = transposed_extent(s.W, s.KW, s.stride_w, s.padding_w, s.output_padding_w, s.dilation_w)
    return <int>min(min(OH[0], OW[0]), <Py_ssize_t>OK)


cdef int set_transposed(Units* u, const ConvTranspose2dSizes* s) noexcept nogil:
    """The convolution whose data gradient it is, checked."""
    cdef Py_ssize_t OH, OW
    cdef int status = conv_transpose2d_output(s, &OH, &OW)
    if status != OK:
        return status
    if s.N < 0 or s.C < 1 or s.O < 1 or s.groups < 1:
        return INVALID_SIZE
    if s.C % s.groups != 0 or s.O % s.groups != 0:
        return INVALID_GROUPS
    if (not within(max(s.N, <Py_ssize_t>1), s.C, s.H, s.W)
            or not within(max(s.N, <Py_ssize_t>1), s.O, OH, OW)
            or not within(1, 1, OH + 2 * s.padding_h, OW + 2 * s.padding_w)
            or not within(s.C, s.O // s.groups, s.KH, s.KW)):
        return TOO_LARGE
    memset(u, 0, sizeof(Units))
    u.groups, u.count, u.threads = s.groups, s.N * s.groups, 1
    u.D, u.H, u.W, u.L, u.OH, u.OW = s.O // s.groups, OH, OW, s.C // s.groups, s.H, s.W
    u.KH, u.KW, u.SH, u.SW = s.KH, s.KW, s.stride_h, s.stride_w
    u.PH, u.PW, u.DH, u.DW = s.padding_h, s.padding_w, s.dilation_h, s.dilation_w
    return OK


cdef Py_ssize_t transposed_bytes(const ConvTranspose2dSizes* sizes, Units* u,
                                 const DirectKernels* vectors) noexcept nogil:
    cdef int status = set_transposed(u, sizes)
    if status != OK:
        return status
    return most_bytes(data_gradient_scratch(u, vectors),
                      most_bytes(result_scratch(u, vectors), weight_gradient_scratch(u, vectors)))


cdef int conv_transpose2d_of(const ConvTranspose2dSizes* sizes, const real* x, const real* weight,
                             const real* bias, real* y, void* scratch) noexcept nogil:
    cdef Units u
    cdef Py_ssize_t bytes = transposed_bytes(sizes, &u, floats if real is float else doubles)
    if bytes < 0 or u.count == 0:
        return <int>min(bytes, <Py_ssize_t>OK)
    if x is NULL or weight is NULL or y is NULL or scratch is NULL:
        return NULL_POINTER
    data_gradient(&u, x, weight, bias, y, scratch)
    return OK


cdef int conv_transpose2d_backward_of(
    const ConvTranspose2dSizes* sizes, const real* dy, const real* x, const real* weight, real* dx,
    real* dweight, real* dbias, void* scratch,
) noexcept nogil:
    cdef Units u
    cdef Py_ssize_t bytes = transposed_bytes(sizes, &u, floats if real is float else doubles)
    if bytes < 0:
        return <int>bytes
    if scratch is NULL or (u.count > 0 and (
            dy is NULL or (dweight is not NULL and x is NULL)
            or (dx is not NULL and weight is NULL))):
        return NULL_POINTER
    if dx is not NULL and u.count > 0:
        result(&u, dy, weight, <const real*>NULL, dx, scratch)
    if dweight is not NULL:
        weight_gradient(&u, x, dy, dweight, <real*>NULL, scratch)
    if dbias is not NULL:
        sum_channels(dy, sizes.N, sizes.O, u.H * u.W, dbias)
    return OK


cdef void sum_channels(const real* dy, Py_ssize_t N, Py_ssize_t channels, Py_ssize_t size,
                       real* sums) noexcept nogil:
    """The sum of each channel of dy (N, channels, size)."""
    cdef Py_ssize_t n, c, i
    cdef double total
    for c in range(channels):
        total = 0
        for n in range(N):
            for i in range(size):
                total += dy[(n * channels + c) * size + i]
        sums[c] = <real>total


# The functions of the surface


cdef Py_ssize_t conv_transpose2d_scratch(const ConvTranspose2dSizes* sizes) noexcept nogil:
    cdef Units u
    return transposed_bytes(sizes, &u, floats)


cdef Py_ssize_t conv_transpose2d_scratch_f64(const ConvTranspose2dSizes* sizes) noexcept nogil:
    cdef Units u
    return transposed_bytes(sizes, &u, doubles)


cdef int conv_transpose2d_f32(const ConvTranspose2dSizes* sizes, const float* x,
                              const float* weight, const float* bias, float* y,
                              void* scratch) noexcept nogil:
    return conv_transpose2d_of(sizes, x, weight, bias, y, scratch)


cdef int conv_transpose2d_f64(const ConvTranspose2dSizes* sizes, const double* x,
                              const double* weight, const double* bias, double* y,
                              void* scratch) noexcept nogil:
    return conv_transpose2d_of(sizes, x, weight, bias, y, scratch)


cdef int conv_transpose2d_backward_f32(
    const ConvTranspose2dSizes* sizes, const float* dy, const float* x, const float* weight,
    float* dx, float* dweight, float* dbias, void* scratch,
) noexcept nogil:
    return conv_transpose2d_backward_of(sizes, dy, x, weight, dx, dweight, dbias, scratch)


cdef int conv_transpose2d_backward_f64(
    const ConvTranspose2dSizes* sizes, const double* dy, const double* x, const double* weight,
    double* dx, double* dweight, double* dbias, void* scratch,
) noexcept nogil:
    return conv_transpose2d_backward_of(sizes, dy, x, weight, dx, dweight, dbias, scratch)
