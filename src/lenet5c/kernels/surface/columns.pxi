# im2col and col2im


cdef int set_columns(Window* w, const Im2colSizes* s) noexcept nogil:
    cdef int status
    if s is NULL:
        return NULL_POINTER
    status = set_window(w, s.N, s.C, s.H, s.W, s.KH, s.KW, s.stride_h, s.stride_w, s.padding_h,
                        s.padding_w, s.dilation_h, s.dilation_w)
    if status == OK and not within(times(s.N, s.C), times(s.KH, s.KW), w.OH, w.OW):
        return TOO_LARGE
    return status


cdef Py_ssize_t im2col_scratch(const Im2colSizes* sizes) noexcept nogil:
    cdef Window w
    return set_columns(&w, sizes)


cdef int planes_to_columns(const Im2colSizes* sizes, const real* x, real* col) noexcept nogil:
    cdef Window w
    cdef Py_ssize_t plane
    cdef int status = set_columns(&w, sizes)
    if status != OK or sizes.N == 0:
        return status
    if x is NULL or col is NULL:
        return NULL_POINTER
    for plane in range(sizes.N * sizes.C):
        unfold(x + plane * w.H * w.W, &w, col + plane * w.KH * w.KW * w.OH * w.OW)
    return OK


cdef int columns_to_planes(const Im2colSizes* sizes, const real* col, real* x) noexcept nogil:
    cdef Window w
    cdef Py_ssize_t plane
    cdef int status = set_columns(&w, sizes)
    if status != OK or sizes.N == 0:
        return status
    if x is NULL or col is NULL:
        return NULL_POINTER
    memset(x, 0, sizes.N * sizes.C * w.H * w.W * sizeof(real))
    for plane in range(sizes.N * sizes.C):
        fold(col + plane * w.KH * w.KW * w.OH * w.OW, &w, x + plane * w.H * w.W)
    return OK


cdef int im2col_f32(const Im2colSizes* sizes, const float* x, float* col) noexcept nogil:
    return planes_to_columns(sizes, x, col)


cdef int im2col_f64(const Im2colSizes* sizes, const double* x, double* col) noexcept nogil:
    return planes_to_columns(sizes, x, col)


cdef int col2im_f32(const Im2colSizes* sizes, const float* col, float* x) noexcept nogil:
    return columns_to_planes(sizes, col, x)


cdef int col2im_f64(const Im2colSizes* sizes, const double* col, double* x) noexcept nogil:
    return columns_to_planes(sizes, col, x)
