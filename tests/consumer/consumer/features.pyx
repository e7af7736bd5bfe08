# cython: boundscheck=False, wraparound=False, cdivision=True
"""The kernels through cimport: convolution, ReLU and max pooling, sample by sample, on this
project's own threads.

Each thread has an intermediate image and a scratch of its own; the convolution of the whole batch
is never stored.
"""
from cython.parallel cimport prange, threadid

from lenet5c.kernels cimport cykernels
from lenet5c.kernels.cykernels cimport Conv2dSizes, Pool2dSizes

import numpy as np


cdef int sample_features(const Conv2dSizes* conv, const Pool2dSizes* pool, const float* x,
                         const float* weight, const float* bias, float* image, Py_ssize_t pixels,
                         float* y, void* scratch) noexcept nogil:
    cdef Py_ssize_t i
    cdef int status = cykernels.conv2d_f32(conv, x, weight, bias, image, scratch)
    if status < 0:
        return status
    for i in range(pixels):
        image[i] = max(image[i], <float>0)
    return cykernels.max_pool2d_f32(pool, image, y, scratch)


def features(const float[:, :, :, ::1] x not None, const float[:, :, :, ::1] weight not None,
             const float[::1] bias not None, int num_threads):
    """max_pool2d(relu(conv2d(x, weight, bias)), 2), and how many threads took part."""
    cdef Conv2dSizes conv
    cdef Pool2dSizes pool
    cdef Py_ssize_t n, samples = x.shape[0], OH, OW, bytes, pixels
    cdef int status = 0
    conv.N, conv.C, conv.H, conv.W = 1, x.shape[1], x.shape[2], x.shape[3]
    conv.O, conv.KH, conv.KW = weight.shape[0], weight.shape[2], weight.shape[3]
    conv.stride_h = conv.stride_w = conv.dilation_h = conv.dilation_w = conv.groups = 1
    conv.padding_h = conv.padding_w = 0
    bytes = cykernels.conv2d_scratch(&conv)
    if bytes < 0:
        raise ValueError(cykernels.status_message(bytes).decode())
    OH = cykernels.output_extent(conv.H, conv.KH, 1, 0, 1)
    OW = cykernels.output_extent(conv.W, conv.KW, 1, 0, 1)
    pixels = conv.O * OH * OW
    pool.N, pool.C, pool.H, pool.W = 1, conv.O, OH, OW
    pool.KH = pool.KW = pool.stride_h = pool.stride_w = 2
    pool.padding_h = pool.padding_w = pool.count_include_pad = 0
    if cykernels.pool2d_scratch(&pool) < 0:
        raise ValueError(cykernels.status_message(cykernels.pool2d_scratch(&pool)).decode())
    bytes = max(bytes, cykernels.pool2d_scratch(&pool))

    y = np.empty((samples, conv.O, OH // 2, OW // 2), np.float32)
    cdef float[:, :, :, ::1] out = y
    cdef float[:, ::1] images = np.empty((num_threads, pixels), np.float32)
    cdef unsigned char[:, ::1] scratch = np.empty((num_threads, bytes), np.uint8)
    cdef unsigned char[::1] seen = np.zeros(num_threads, np.uint8)
    for n in prange(samples, schedule="static", num_threads=num_threads, nogil=True):
        seen[threadid()] = 1
        status += sample_features(&conv, &pool, &x[n, 0, 0, 0], &weight[0, 0, 0, 0], &bias[0],
                                  &images[threadid(), 0], pixels, &out[n, 0, 0, 0],
                                  &scratch[threadid(), 0])
    if status < 0:
        raise RuntimeError("a kernel refused its arguments")
    return y, int(np.sum(seen))
