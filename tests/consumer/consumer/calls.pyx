"""Every function of cykernels, once, as thin as can be: arrays may be None (NULL), the status is
returned. The arrays' dtype says which of two functions is called."""
from libc.stdint cimport int64_t

from lenet5c.kernels cimport cykernels
from lenet5c.kernels.cykernels cimport (
    Conv2dSizes, ConvTranspose2dSizes, Im2colSizes, Pool2dSizes, Pool2dWindows)

abi = cykernels.ABI_VERSION, cykernels.abi_version()
isa = cykernels.instruction_set().decode()
struct_sizes = {
    "Conv2dSizes": sizeof(Conv2dSizes) // sizeof(Py_ssize_t),
    "ConvTranspose2dSizes": sizeof(ConvTranspose2dSizes) // sizeof(Py_ssize_t),
    "Im2colSizes": sizeof(Im2colSizes) // sizeof(Py_ssize_t),
    "Pool2dSizes": sizeof(Pool2dSizes) // sizeof(Py_ssize_t),
    "Pool2dWindows": sizeof(Pool2dWindows) // sizeof(Py_ssize_t),
}


cdef float* floats(array) except? NULL:
    return <float*><size_t>(array.ctypes.data if array is not None and array.size > 0 else 0)


cdef double* doubles(array) except? NULL:
    return <double*>floats(array)


cdef int64_t* integers(array) except? NULL:
    return <int64_t*>floats(array)


cdef void* memory(array) except? NULL:
    return <void*><size_t>(array.ctypes.data if array is not None else 0)


def are_doubles(*arrays):
    return any(array is not None and array.dtype == "float64" for array in arrays)


cdef Conv2dSizes conv2d_sizes(s):
    cdef Conv2dSizes c
    (c.N, c.C, c.H, c.W), (c.O, c.KH, c.KW) = s["x"], s["filters"]
    (c.stride_h, c.stride_w), (c.padding_h, c.padding_w) = s["stride"], s["padding"]
    (c.dilation_h, c.dilation_w), c.groups = s["dilation"], s["groups"]
    return c


cdef ConvTranspose2dSizes conv_transpose2d_sizes(s):
    cdef ConvTranspose2dSizes c
    (c.N, c.C, c.H, c.W), (c.O, c.KH, c.KW) = s["x"], s["filters"]
    (c.stride_h, c.stride_w), (c.padding_h, c.padding_w) = s["stride"], s["padding"]
    (c.dilation_h, c.dilation_w), c.groups = s["dilation"], s["groups"]
    c.output_padding_h, c.output_padding_w = s["output_padding"]
    return c


cdef Pool2dSizes pool2d_sizes(s):
    cdef Pool2dSizes p
    (p.N, p.C, p.H, p.W), (p.KH, p.KW) = s["x"], s["kernel_size"]
    (p.stride_h, p.stride_w), (p.padding_h, p.padding_w) = s["stride"], s["padding"]
    p.count_include_pad = s.get("count_include_pad", True)
    return p


cdef Pool2dWindows pool2d_windows(s):
    cdef Pool2dWindows p
    (p.N, p.C, p.H, p.W), (p.KH, p.KW) = s["x"], s["kernel_size"]
    (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w) = s["stride"], s["dilation"]
    (p.padding_top, p.padding_bottom), (p.padding_left, p.padding_right) = s["padding"]
    p.ceil_mode, p.count_include_pad = s["ceil_mode"], s.get("count_include_pad", True)
    p.divisor = s.get("divisor", 0)
    return p


cdef Im2colSizes im2col_sizes(s):
    cdef Im2colSizes c
    (c.N, c.C, c.H, c.W), (c.KH, c.KW) = s["x"], s["kernel_size"]
    (c.stride_h, c.stride_w), (c.padding_h, c.padding_w) = s["stride"], s["padding"]
    c.dilation_h, c.dilation_w = s["dilation"]
    return c


def status_message(Py_ssize_t status):
    return cykernels.status_message(status).decode()


def output_extent(Py_ssize_t extent, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t padding,
                  Py_ssize_t dilation):
    return cykernels.output_extent(extent, kernel, stride, padding, dilation)


def pool2d_output(settings):
    cdef Pool2dWindows s = pool2d_windows(settings)
    cdef Py_ssize_t OH = 0, OW = 0
    return cykernels.pool2d_output(&s, &OH, &OW), (OH, OW)


def conv_transpose2d_output(settings):
    cdef ConvTranspose2dSizes s = conv_transpose2d_sizes(settings)
    cdef Py_ssize_t OH = 0, OW = 0
    return cykernels.conv_transpose2d_output(&s, &OH, &OW), (OH, OW)


def conv2d_scratch(settings, dtype="float32"):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    if dtype == "float64":
        return cykernels.conv2d_scratch_f64(&s)
    return cykernels.conv2d_scratch(&s)


def conv2d_backward_scratch(settings, dtype="float32"):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    if dtype == "float64":
        return cykernels.conv2d_backward_scratch_f64(&s)
    return cykernels.conv2d_backward_scratch(&s)


def conv_transpose2d_scratch(settings, dtype="float32"):
    cdef ConvTranspose2dSizes s = conv_transpose2d_sizes(settings)
    if dtype == "float64":
        return cykernels.conv_transpose2d_scratch_f64(&s)
    return cykernels.conv_transpose2d_scratch(&s)


def pool2d_scratch(settings):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    return cykernels.pool2d_scratch(&s)


def im2col_scratch(settings):
    cdef Im2colSizes s = im2col_sizes(settings)
    return cykernels.im2col_scratch(&s)


def conv2d(settings, x, weight, bias, y, scratch):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    if are_doubles(x, weight, y):
        return cykernels.conv2d_f64(&s, doubles(x), doubles(weight), doubles(bias), doubles(y),
                                    memory(scratch))
    return cykernels.conv2d_f32(&s, floats(x), floats(weight), floats(bias), floats(y),
                                memory(scratch))


def conv2d_backward(settings, dy, x, weight, dx, dweight, dbias, scratch):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    if are_doubles(dy, x, weight):
        return cykernels.conv2d_backward_f64(&s, doubles(dy), doubles(x), doubles(weight),
                                             doubles(dx), doubles(dweight), doubles(dbias),
                                             memory(scratch))
    return cykernels.conv2d_backward_f32(&s, floats(dy), floats(x), floats(weight), floats(dx),
                                         floats(dweight), floats(dbias), memory(scratch))


def conv_transpose2d(settings, x, weight, bias, y, scratch):
    cdef ConvTranspose2dSizes s = conv_transpose2d_sizes(settings)
    if are_doubles(x, weight, y):
        return cykernels.conv_transpose2d_f64(&s, doubles(x), doubles(weight), doubles(bias),
                                              doubles(y), memory(scratch))
    return cykernels.conv_transpose2d_f32(&s, floats(x), floats(weight), floats(bias), floats(y),
                                          memory(scratch))


def conv_transpose2d_backward(settings, dy, x, weight, dx, dweight, dbias, scratch):
    cdef ConvTranspose2dSizes s = conv_transpose2d_sizes(settings)
    if are_doubles(dy, x, weight):
        return cykernels.conv_transpose2d_backward_f64(
            &s, doubles(dy), doubles(x), doubles(weight), doubles(dx), doubles(dweight),
            doubles(dbias), memory(scratch))
    return cykernels.conv_transpose2d_backward_f32(
        &s, floats(dy), floats(x), floats(weight), floats(dx), floats(dweight), floats(dbias),
        memory(scratch))


def max_pool2d(settings, x, y, scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    if are_doubles(x, y):
        return cykernels.max_pool2d_f64(&s, doubles(x), doubles(y), memory(scratch))
    return cykernels.max_pool2d_f32(&s, floats(x), floats(y), memory(scratch))


def max_pool2d_backward(settings, dy, x, dx, scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    if are_doubles(dy, x, dx):
        return cykernels.max_pool2d_backward_f64(&s, doubles(dy), doubles(x), doubles(dx),
                                                 memory(scratch))
    return cykernels.max_pool2d_backward_f32(&s, floats(dy), floats(x), floats(dx),
                                             memory(scratch))


def avg_pool2d(settings, x, y, scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    if are_doubles(x, y):
        return cykernels.avg_pool2d_f64(&s, doubles(x), doubles(y), memory(scratch))
    return cykernels.avg_pool2d_f32(&s, floats(x), floats(y), memory(scratch))


def avg_pool2d_backward(settings, dy, dx, scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    if are_doubles(dy, dx):
        return cykernels.avg_pool2d_backward_f64(&s, doubles(dy), doubles(dx), memory(scratch))
    return cykernels.avg_pool2d_backward_f32(&s, floats(dy), floats(dx), memory(scratch))


def max_pool2d_with_indices(settings, x, y, indices):
    cdef Pool2dWindows s = pool2d_windows(settings)
    if are_doubles(x, y):
        return cykernels.max_pool2d_with_indices_f64(&s, doubles(x), doubles(y), integers(indices))
    return cykernels.max_pool2d_with_indices_f32(&s, floats(x), floats(y), integers(indices))


def max_pool2d_with_indices_backward(settings, dy, indices, dx):
    cdef Pool2dWindows s = pool2d_windows(settings)
    if are_doubles(dy, dx):
        return cykernels.max_pool2d_with_indices_backward_f64(&s, doubles(dy), integers(indices),
                                                              doubles(dx))
    return cykernels.max_pool2d_with_indices_backward_f32(&s, floats(dy), integers(indices),
                                                          floats(dx))


def avg_pool2d_with_divisor(settings, x, y):
    cdef Pool2dWindows s = pool2d_windows(settings)
    if are_doubles(x, y):
        return cykernels.avg_pool2d_with_divisor_f64(&s, doubles(x), doubles(y))
    return cykernels.avg_pool2d_with_divisor_f32(&s, floats(x), floats(y))


def avg_pool2d_with_divisor_backward(settings, dy, dx):
    cdef Pool2dWindows s = pool2d_windows(settings)
    if are_doubles(dy, dx):
        return cykernels.avg_pool2d_with_divisor_backward_f64(&s, doubles(dy), doubles(dx))
    return cykernels.avg_pool2d_with_divisor_backward_f32(&s, floats(dy), floats(dx))


def im2col(settings, x, col):
    cdef Im2colSizes s = im2col_sizes(settings)
    if are_doubles(x, col):
        return cykernels.im2col_f64(&s, doubles(x), doubles(col))
    return cykernels.im2col_f32(&s, floats(x), floats(col))


def col2im(settings, col, x):
    cdef Im2colSizes s = im2col_sizes(settings)
    if are_doubles(col, x):
        return cykernels.col2im_f64(&s, doubles(col), doubles(x))
    return cykernels.col2im_f32(&s, floats(col), floats(x))


def without_sizes():
    """The answers of the functions to sizes that are NULL."""
    cdef Py_ssize_t extent = 0
    return {
        cykernels.pool2d_output(NULL, &extent, &extent),
        cykernels.conv_transpose2d_output(NULL, &extent, &extent),
        cykernels.conv2d_scratch(NULL),
        cykernels.conv2d_scratch_f64(NULL),
        cykernels.conv2d_backward_scratch(NULL),
        cykernels.conv2d_backward_scratch_f64(NULL),
        cykernels.conv_transpose2d_scratch(NULL),
        cykernels.conv_transpose2d_scratch_f64(NULL),
        cykernels.pool2d_scratch(NULL),
        cykernels.im2col_scratch(NULL),
        cykernels.conv2d_f32(NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.conv2d_f64(NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.conv2d_backward_f32(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.conv2d_backward_f64(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.conv_transpose2d_f32(NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.conv_transpose2d_f64(NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.conv_transpose2d_backward_f32(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.conv_transpose2d_backward_f64(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_f32(NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_f64(NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_backward_f32(NULL, NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_backward_f64(NULL, NULL, NULL, NULL, NULL),
        cykernels.avg_pool2d_f32(NULL, NULL, NULL, NULL),
        cykernels.avg_pool2d_f64(NULL, NULL, NULL, NULL),
        cykernels.avg_pool2d_backward_f32(NULL, NULL, NULL, NULL),
        cykernels.avg_pool2d_backward_f64(NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_with_indices_f32(NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_with_indices_f64(NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_with_indices_backward_f32(NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_with_indices_backward_f64(NULL, NULL, NULL, NULL),
        cykernels.avg_pool2d_with_divisor_f32(NULL, NULL, NULL),
        cykernels.avg_pool2d_with_divisor_f64(NULL, NULL, NULL),
        cykernels.avg_pool2d_with_divisor_backward_f32(NULL, NULL, NULL),
        cykernels.avg_pool2d_with_divisor_backward_f64(NULL, NULL, NULL),
        cykernels.im2col_f32(NULL, NULL, NULL),
        cykernels.im2col_f64(NULL, NULL, NULL),
        cykernels.col2im_f32(NULL, NULL, NULL),
        cykernels.col2im_f64(NULL, NULL, NULL),
    }
