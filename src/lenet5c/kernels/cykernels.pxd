"""Kernels for `cimport` by other projects: functions on pointers. See docs/howto/embedding.md.

    from lenet5c.kernels cimport cykernels

Every function is serial, needs no GIL, allocates nothing and raises nothing, so it may be called
from the caller's own `prange`. Names end in the dtype, f32 for float and f64 for double. Arrays are
C-contiguous, in the order (N, C, H, W); inputs and outputs must not overlap. Outputs are
overwritten. `scratch` is memory of the caller, with any content and alignment, of the number of
bytes returned by the function's `*_scratch` for the same sizes; concurrent calls must not share it.

A result of OK or more means success; a negative one is a Status, and then nothing has been written
(except with INVALID_INDEX, which is detected while writing).
Declarations are only added to this file, never changed: programs compiled with it run with every
later version that has the same ABI_VERSION.
"""
from libc.stdint cimport int64_t

cdef enum:
    ABI_VERSION = 1

cdef enum Status:
    OK = 0
    INVALID_SIZE = -1        # a size, stride or dilation is below 1, or a batch or padding below 0
    INVALID_GROUPS = -2      # groups do not divide both the input and the output channels
    WINDOW_TOO_LARGE = -3    # a window, dilated, is larger than the padded image
    PADDING_TOO_LARGE = -4   # pooling: a window would contain only padding
    TOO_LARGE = -5           # an array or the scratch would be too large to address
    NULL_POINTER = -6        # of a required array, or of the sizes
    INVALID_INDEX = -7       # an index of a maximum is outside its plane

# x (N, C, H, W), weight (O, C / groups, KH, KW), bias (O,), y (N, O, OH, OW); only N may be 0
cdef struct Conv2dSizes:
    Py_ssize_t N, C, H, W
    Py_ssize_t O, KH, KW
    Py_ssize_t stride_h, stride_w
    Py_ssize_t padding_h, padding_w
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t groups

# x (N, C, H, W), y (N, C, OH, OW)
cdef struct Pool2dSizes:
    Py_ssize_t N, C, H, W
    Py_ssize_t KH, KW
    Py_ssize_t stride_h, stride_w
    Py_ssize_t padding_h, padding_w
    Py_ssize_t count_include_pad    # average pooling: 1 if padding counts in the divisor

# The same with padding on each side, dilation and ceil_mode, which rounds OH and OW up for a last
# window that begins within the image or the padding before it. A mean is divided by `divisor`,
# unless that is 0.
cdef struct Pool2dWindows:
    Py_ssize_t N, C, H, W
    Py_ssize_t KH, KW
    Py_ssize_t stride_h, stride_w
    Py_ssize_t padding_top, padding_bottom, padding_left, padding_right
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t ceil_mode
    Py_ssize_t count_include_pad
    Py_ssize_t divisor

# x (N, C, H, W), weight (C, O / groups, KH, KW), bias (O,), y (N, O, OH, OW) with
# OH = (H - 1) stride_h - 2 padding_h + dilation_h (KH - 1) + output_padding_h + 1
cdef struct ConvTranspose2dSizes:
    Py_ssize_t N, C, H, W
    Py_ssize_t O, KH, KW
    Py_ssize_t stride_h, stride_w
    Py_ssize_t padding_h, padding_w
    Py_ssize_t output_padding_h, output_padding_w    # each less than its stride or its dilation
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t groups

# x (N, C, H, W), col (N, C KH KW, OH OW)
cdef struct Im2colSizes:
    Py_ssize_t N, C, H, W
    Py_ssize_t KH, KW
    Py_ssize_t stride_h, stride_w
    Py_ssize_t padding_h, padding_w
    Py_ssize_t dilation_h, dilation_w

# The ABI_VERSION of the installed lenet5c, and the instruction set in use
cdef int abi_version() noexcept nogil
cdef const char* instruction_set() noexcept nogil
# A sentence for a Status
cdef const char* status_message(Py_ssize_t status) noexcept nogil

# OH from H, or OW from W: the number of windows along one axis, or a Status
cdef Py_ssize_t output_extent(Py_ssize_t extent, Py_ssize_t kernel, Py_ssize_t stride,
                              Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil

# The same for both axes of poolings and transposed convolutions: a Status, and OH, OW
cdef int pool2d_output(const Pool2dWindows* sizes, Py_ssize_t* OH, Py_ssize_t* OW) noexcept nogil
cdef int conv_transpose2d_output(const ConvTranspose2dSizes* sizes, Py_ssize_t* OH,
                                 Py_ssize_t* OW) noexcept nogil

# Bytes of scratch, or a Status. The second of each pair is for the functions of double. Poolings
# and im2col need none: theirs check the sizes and are 0, and scratch may be NULL.
cdef Py_ssize_t conv2d_scratch(const Conv2dSizes* sizes) noexcept nogil
cdef Py_ssize_t conv2d_scratch_f64(const Conv2dSizes* sizes) noexcept nogil
cdef Py_ssize_t conv2d_backward_scratch(const Conv2dSizes* sizes) noexcept nogil
cdef Py_ssize_t conv2d_backward_scratch_f64(const Conv2dSizes* sizes) noexcept nogil
# the larger of conv_transpose2d and its backward
cdef Py_ssize_t conv_transpose2d_scratch(const ConvTranspose2dSizes* sizes) noexcept nogil
cdef Py_ssize_t conv_transpose2d_scratch_f64(const ConvTranspose2dSizes* sizes) noexcept nogil
cdef Py_ssize_t pool2d_scratch(const Pool2dSizes* sizes) noexcept nogil
cdef Py_ssize_t im2col_scratch(const Im2colSizes* sizes) noexcept nogil

# bias may be NULL
cdef int conv2d_f32(const Conv2dSizes* sizes, const float* x, const float* weight,
                    const float* bias, float* y, void* scratch) noexcept nogil
cdef int conv2d_f64(const Conv2dSizes* sizes, const double* x, const double* weight,
                    const double* bias, double* y, void* scratch) noexcept nogil
# dx, dweight and dbias may each be NULL, and is then not computed; so may x without dweight, and
# weight without dx
cdef int conv2d_backward_f32(const Conv2dSizes* sizes, const float* dy, const float* x,
                             const float* weight, float* dx, float* dweight, float* dbias,
                             void* scratch) noexcept nogil
cdef int conv2d_backward_f64(const Conv2dSizes* sizes, const double* dy, const double* x,
                             const double* weight, double* dx, double* dweight, double* dbias,
                             void* scratch) noexcept nogil
# NULL is allowed as in conv2d
cdef int conv_transpose2d_f32(const ConvTranspose2dSizes* sizes, const float* x,
                              const float* weight, const float* bias, float* y,
                              void* scratch) noexcept nogil
cdef int conv_transpose2d_f64(const ConvTranspose2dSizes* sizes, const double* x,
                              const double* weight, const double* bias, double* y,
                              void* scratch) noexcept nogil
cdef int conv_transpose2d_backward_f32(const ConvTranspose2dSizes* sizes, const float* dy,
                                       const float* x, const float* weight, float* dx,
                                       float* dweight, float* dbias, void* scratch) noexcept nogil
cdef int conv_transpose2d_backward_f64(const ConvTranspose2dSizes* sizes, const double* dy,
                                       const double* x, const double* weight, double* dx,
                                       double* dweight, double* dbias, void* scratch) noexcept nogil

cdef int max_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil
cdef int max_pool2d_f64(const Pool2dSizes* sizes, const double* x, double* y,
                        void* scratch) noexcept nogil
cdef int max_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, const float* x,
                                 float* dx, void* scratch) noexcept nogil
cdef int max_pool2d_backward_f64(const Pool2dSizes* sizes, const double* dy, const double* x,
                                 double* dx, void* scratch) noexcept nogil
cdef int avg_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil
cdef int avg_pool2d_f64(const Pool2dSizes* sizes, const double* x, double* y,
                        void* scratch) noexcept nogil
cdef int avg_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, float* dx,
                                 void* scratch) noexcept nogil
cdef int avg_pool2d_backward_f64(const Pool2dSizes* sizes, const double* dy, double* dx,
                                 void* scratch) noexcept nogil
# With windows of any kind. indices (N, C, OH, OW) are the places of the maxima in their planes (H,
# W), h W + w; it may be NULL, and is all that the gradient needs.
cdef int max_pool2d_with_indices_f32(const Pool2dWindows* sizes, const float* x, float* y,
                                     int64_t* indices) noexcept nogil
cdef int max_pool2d_with_indices_f64(const Pool2dWindows* sizes, const double* x, double* y,
                                     int64_t* indices) noexcept nogil
cdef int max_pool2d_with_indices_backward_f32(const Pool2dWindows* sizes, const float* dy,
                                              const int64_t* indices, float* dx) noexcept nogil
cdef int max_pool2d_with_indices_backward_f64(const Pool2dWindows* sizes, const double* dy,
                                              const int64_t* indices, double* dx) noexcept nogil
cdef int avg_pool2d_with_divisor_f32(const Pool2dWindows* sizes, const float* x,
                                     float* y) noexcept nogil
cdef int avg_pool2d_with_divisor_f64(const Pool2dWindows* sizes, const double* x,
                                     double* y) noexcept nogil
cdef int avg_pool2d_with_divisor_backward_f32(const Pool2dWindows* sizes, const float* dy,
                                              float* dx) noexcept nogil
cdef int avg_pool2d_with_divisor_backward_f64(const Pool2dWindows* sizes, const double* dy,
                                              double* dx) noexcept nogil

cdef int im2col_f32(const Im2colSizes* sizes, const float* x, float* col) noexcept nogil
cdef int im2col_f64(const Im2colSizes* sizes, const double* x, double* col) noexcept nogil
cdef int col2im_f32(const Im2colSizes* sizes, const float* col, float* x) noexcept nogil
cdef int col2im_f64(const Im2colSizes* sizes, const double* col, double* x) noexcept nogil
