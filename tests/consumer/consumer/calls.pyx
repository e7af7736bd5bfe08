"""Every function of cykernels, once, as thin as can be: arrays may be None (NULL), the status is
returned."""
from lenet5c.kernels cimport cykernels
from lenet5c.kernels.cykernels cimport Conv2dSizes, Im2colSizes, Pool2dSizes

abi = cykernels.ABI_VERSION, cykernels.abi_version()
isa = cykernels.instruction_set().decode()
struct_sizes = {
    "Conv2dSizes": sizeof(Conv2dSizes) // sizeof(Py_ssize_t),
    "Pool2dSizes": sizeof(Pool2dSizes) // sizeof(Py_ssize_t),
    "Im2colSizes": sizeof(Im2colSizes) // sizeof(Py_ssize_t),
}


cdef const float* floats(const float[::1] array):
    return &array[0] if array is not None and array.shape[0] > 0 else NULL


cdef float* outs(float[::1] array):
    return &array[0] if array is not None and array.shape[0] > 0 else NULL


cdef void* memory(unsigned char[::1] array):
    return &array[0] if array is not None else NULL


cdef Conv2dSizes conv2d_sizes(s):
    cdef Conv2dSizes c
    (c.N, c.C, c.H, c.W), (c.O, c.KH, c.KW) = s["x"], s["filters"]
    (c.stride_h, c.stride_w), (c.padding_h, c.padding_w) = s["stride"], s["padding"]
    (c.dilation_h, c.dilation_w), c.groups = s["dilation"], s["groups"]
    return c


cdef Pool2dSizes pool2d_sizes(s):
    cdef Pool2dSizes p
    (p.N, p.C, p.H, p.W), (p.KH, p.KW) = s["x"], s["kernel_size"]
    (p.stride_h, p.stride_w), (p.padding_h, p.padding_w) = s["stride"], s["padding"]
    p.count_include_pad = s.get("count_include_pad", True)
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


def conv2d_scratch(settings):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    return cykernels.conv2d_scratch(&s)


def conv2d_backward_scratch(settings):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    return cykernels.conv2d_backward_scratch(&s)


def pool2d_scratch(settings):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    return cykernels.pool2d_scratch(&s)


def im2col_scratch(settings):
    cdef Im2colSizes s = im2col_sizes(settings)
    return cykernels.im2col_scratch(&s)


def conv2d(settings, const float[::1] x, const float[::1] weight, const float[::1] bias,
           float[::1] y, unsigned char[::1] scratch):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    return cykernels.conv2d_f32(&s, floats(x), floats(weight), floats(bias), outs(y),
                                memory(scratch))


def conv2d_backward(settings, const float[::1] dy, const float[::1] x, const float[::1] weight,
                    float[::1] dx, float[::1] dweight, float[::1] dbias,
                    unsigned char[::1] scratch):
    cdef Conv2dSizes s = conv2d_sizes(settings)
    return cykernels.conv2d_backward_f32(&s, floats(dy), floats(x), floats(weight), outs(dx),
                                         outs(dweight), outs(dbias), memory(scratch))


def max_pool2d(settings, const float[::1] x, float[::1] y, unsigned char[::1] scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    return cykernels.max_pool2d_f32(&s, floats(x), outs(y), memory(scratch))


def max_pool2d_backward(settings, const float[::1] dy, const float[::1] x, float[::1] dx,
                        unsigned char[::1] scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    return cykernels.max_pool2d_backward_f32(&s, floats(dy), floats(x), outs(dx), memory(scratch))


def avg_pool2d(settings, const float[::1] x, float[::1] y, unsigned char[::1] scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    return cykernels.avg_pool2d_f32(&s, floats(x), outs(y), memory(scratch))


def avg_pool2d_backward(settings, const float[::1] dy, float[::1] dx, unsigned char[::1] scratch):
    cdef Pool2dSizes s = pool2d_sizes(settings)
    return cykernels.avg_pool2d_backward_f32(&s, floats(dy), outs(dx), memory(scratch))


def im2col(settings, x, col):
    cdef Im2colSizes s = im2col_sizes(settings)
    cdef const double[::1] x64
    cdef double[::1] col64
    if x is None or x.dtype == "float32":
        return cykernels.im2col_f32(&s, floats(x), outs(col))
    x64, col64 = x, col
    return cykernels.im2col_f64(&s, &x64[0], &col64[0])


def col2im(settings, col, x):
    cdef Im2colSizes s = im2col_sizes(settings)
    cdef const double[::1] col64
    cdef double[::1] x64
    if col is None or col.dtype == "float32":
        return cykernels.col2im_f32(&s, floats(col), outs(x))
    col64, x64 = col, x
    return cykernels.col2im_f64(&s, &col64[0], &x64[0])


def without_sizes():
    """The answers of the functions to sizes that are NULL."""
    return {
        cykernels.conv2d_scratch(NULL), cykernels.conv2d_backward_scratch(NULL),
        cykernels.pool2d_scratch(NULL), cykernels.im2col_scratch(NULL), cykernels.conv2d_f32(NULL,
                                                                                             NULL, NULL, NULL, NULL, NULL),
        cykernels.conv2d_backward_f32(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        cykernels.max_pool2d_f32(NULL, NULL, NULL, NULL), cykernels.avg_pool2d_f32(NULL, NULL,
                                                                                   NULL, NULL),
        cykernels.max_pool2d_backward_f32(NULL, NULL, NULL, NULL, NULL),
        cykernels.avg_pool2d_backward_f32(NULL, NULL, NULL, NULL), cykernels.im2col_f32(NULL, NULL,
                                                                                        NULL),
        cykernels.im2col_f64(NULL, NULL, NULL), cykernels.col2im_f32(NULL, NULL, NULL),
        cykernels.col2im_f64(NULL, NULL, NULL),
    }
