# Pooling by the plane kernels of planes/, which need no scratch.


cdef int pool2d_output(const Pool2dWindows* s, Py_ssize_t* OH, Py_ssize_t* OW) noexcept nogil:
    if s is NULL or OH is NULL or OW is NULL:
        return NULL_POINTER
    OH[0] = window_count(s.H, s.KH, s.stride_h, s.padding_top, s.padding_bottom, s.dilation_h,
                         s.ceil_mode != 0)
    OW[0] = window_count(s.W, s.KW, s.stride_w, s.padding_left, s.padding_right, s.dilation_w,
                         s.ceil_mode != 0)
    return <int>min(min(OH[0], OW[0]), <Py_ssize_t>OK)


cdef int set_windows(Windows* w, const Pool2dWindows* s) noexcept nogil:
    """The settings, checked."""
    cdef Py_ssize_t bottom, right
    cdef int status = pool2d_output(s, &w.OH, &w.OW)
    if status != OK:
        return status
    if s.N < 0 or s.C < 1 or s.divisor < 0:
        return INVALID_SIZE
    bottom, right = s.H + s.padding_bottom, s.W + s.padding_right
    if (not within(max(s.N, <Py_ssize_t>1), s.C, s.H, s.W)
            or not within(max(s.N, <Py_ssize_t>1), s.C, w.OH, w.OW)
            or not within(1, 1, s.padding_top + bottom, s.padding_left + right)
            or s.divisor > most_elements() or times(s.H, s.W) > INT32_MAX):
        return TOO_LARGE
    w.images, w.C, w.H, w.W = s.N * s.C, 1, s.H, s.W
    w.KH, w.KW, w.SH, w.SW = s.KH, s.KW, s.stride_h, s.stride_w
    w.PT, w.PL, w.DH, w.DW = s.padding_top, s.padding_left, s.dilation_h, s.dilation_w
    w.divisor, w.top, w.bottom, w.left, w.right = s.divisor, 0, s.H, 0, s.W
    if s.count_include_pad:
        w.top, w.bottom, w.left, w.right = -w.PT, bottom, -w.PL, right
    if (s.padding_bottom > times(s.dilation_h, s.KH - 1)
            or s.padding_right > times(s.dilation_w, s.KW - 1)
            or not see_image(w.OH, w.SH, w.PT, w.KH, w.DH, w.H)
            or not see_image(w.OW, w.SW, w.PL, w.KW, w.DW, w.W)):
        return PADDING_TOO_LARGE
    find_shortcuts(w)
    return OK


cdef const Pool2dWindows* windows_of(const Pool2dSizes* s, Pool2dWindows* windows) noexcept nogil:
    """The same as windows of any kind; NULL of NULL."""
    if s is NULL:
        return NULL
    memset(windows, 0, sizeof(Pool2dWindows))
    windows.N, windows.C, windows.H, windows.W = s.N, s.C, s.H, s.W
    windows.KH, windows.KW, windows.stride_h, windows.stride_w = s.KH, s.KW, s.stride_h, s.stride_w
    windows.padding_top = windows.padding_bottom = s.padding_h
    windows.padding_left = windows.padding_right = s.padding_w
    windows.dilation_h = windows.dilation_w = 1
    windows.count_include_pad = s.count_include_pad
    return windows


cdef int maximum(const Pool2dWindows* sizes, const real* x, real* y,
                 int64_t* indices) noexcept nogil:
    cdef Windows w
    cdef int status = set_windows(&w, sizes)
    if status != OK or w.images == 0:
        return status
    if x is NULL or y is NULL:
        return NULL_POINTER
    planes.maximum[0 if real is float else 1](&w, x, y, indices, 0, parts_of(&w) * w.OH)
    return OK


cdef int maximum_backward(const Pool2dWindows* sizes, const real* dy, const real* x,
                          const int64_t* indices, real* dx) noexcept nogil:
    """Either x or indices is not NULL."""
    cdef Windows w
    cdef int status = set_windows(&w, sizes)
    if status != OK or w.images == 0:
        return status
    if dy is NULL or dx is NULL or (x is NULL and indices is NULL):
        return NULL_POINTER
    if planes.maximum_backward[0 if real is float else 1](&w, dy, x, indices, dx, 0, parts_of(&w)):
        return OK
    return INVALID_INDEX


cdef int mean(const Pool2dWindows* sizes, const real* x, real* y) noexcept nogil:
    cdef Windows w
    cdef int status = set_windows(&w, sizes)
    if status != OK or w.images == 0:
        return status
    if x is NULL or y is NULL:
        return NULL_POINTER
    planes.mean[0 if real is float else 1](&w, x, y, 0, parts_of(&w) * w.OH)
    return OK


cdef int mean_backward(const Pool2dWindows* sizes, const real* dy, real* dx) noexcept nogil:
    cdef Windows w
    cdef int status = set_windows(&w, sizes)
    if status != OK or w.images == 0:
        return status
    if dy is NULL or dx is NULL:
        return NULL_POINTER
    planes.mean_backward[0 if real is float else 1](&w, dy, dx, 0, parts_of(&w))
    return OK

# The functions of the surface


cdef Py_ssize_t pool2d_scratch(const Pool2dSizes* sizes) noexcept nogil:
    cdef Windows w
    cdef Pool2dWindows windows
    return set_windows(&w, windows_of(sizes, &windows))


cdef int max_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return maximum(windows_of(sizes, &windows), x, y, NULL)


cdef int max_pool2d_f64(const Pool2dSizes* sizes, const double* x, double* y,
                        void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return maximum(windows_of(sizes, &windows), x, y, NULL)


cdef int max_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, const float* x,
                                 float* dx, void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return maximum_backward(windows_of(sizes, &windows), dy, x, NULL, dx)


cdef int max_pool2d_backward_f64(const Pool2dSizes* sizes, const double* dy, const double* x,
                                 double* dx, void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return maximum_backward(windows_of(sizes, &windows), dy, x, NULL, dx)


cdef int avg_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return mean(windows_of(sizes, &windows), x, y)


cdef int avg_pool2d_f64(const Pool2dSizes* sizes, const double* x, double* y,
                        void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return mean(windows_of(sizes, &windows), x, y)


cdef int avg_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, float* dx,
                                 void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return mean_backward(windows_of(sizes, &windows), dy, dx)


cdef int avg_pool2d_backward_f64(const Pool2dSizes* sizes, const double* dy, double* dx,
                                 void* scratch) noexcept nogil:
    cdef Pool2dWindows windows
    return mean_backward(windows_of(sizes, &windows), dy, dx)


cdef int max_pool2d_with_indices_f32(const Pool2dWindows* sizes, const float* x, float* y,
                                     int64_t* indices) noexcept nogil:
    return maximum(sizes, x, y, indices)


cdef int max_pool2d_with_indices_f64(const Pool2dWindows* sizes, const double* x, double* y,
                                     int64_t* indices) noexcept nogil:
    return maximum(sizes, x, y, indices)


cdef int max_pool2d_with_indices_backward_f32(const Pool2dWindows* sizes, const float* dy,
                                              const int64_t* indices, float* dx) noexcept nogil:
    return maximum_backward(sizes, dy, <const float*>NULL, indices, dx)


cdef int max_pool2d_with_indices_backward_f64(const Pool2dWindows* sizes, const double* dy,
                                              const int64_t* indices, double* dx) noexcept nogil:
    return maximum_backward(sizes, dy, <const double*>NULL, indices, dx)


cdef int avg_pool2d_with_divisor_f32(const Pool2dWindows* sizes, const float* x,
                                     float* y) noexcept nogil:
    return mean(sizes, x, y)


cdef int avg_pool2d_with_divisor_f64(const Pool2dWindows* sizes, const double* x,
                                     double* y) noexcept nogil:
    return mean(sizes, x, y)


cdef int avg_pool2d_with_divisor_backward_f32(const Pool2dWindows* sizes, const float* dy,
                                              float* dx) noexcept nogil:
    return mean_backward(sizes, dy, dx)


cdef int avg_pool2d_with_divisor_backward_f64(const Pool2dWindows* sizes, const double* dy,
                                              double* dx) noexcept nogil:
    return mean_backward(sizes, dy, dx)
