"""Topics of same_bits.py: functions on arrays with the channels last, in float32 and float64."""

import numpy as np
from bits import FEW, numbers, steps, topic

from lenet5c import kernels

LAST = {"data_format": "NHWC"}
# Image (H, W, C), filters (KH, KW, C / groups, O), window.
CONVOLUTIONS = [
    ((20, 20, 1), (5, 5, 1, 6), {}),
    ((14, 14, 6), (5, 5, 6, 16), {}),
    ((7, 9, 3), (3, 3, 3, 4), {"padding": 1}),
    ((9, 8, 2), (2, 3, 2, 5), {"stride": (2, 1), "padding": (1, 2), "dilation": (3, 2)}),
    ((11, 10, 17), (3, 2, 17, 33), {"stride": 3, "padding": 1}),
    ((6, 5, 4), (3, 3, 2, 6), {"groups": 2, "padding": 1}),
    ((4, 3, 8), (2, 2, 1, 8), {"groups": 8}),
]
POOLINGS = [
    ((8, 6, 3), {"kernel_size": 2}),
    ((9, 8, 130), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((6, 7, 1), {"kernel_size": (3, 2), "stride": (1, 3)}),
    ((5, 6, 17), {"kernel_size": (2, 4), "stride": 1, "padding": (1, 2)}),
]


@topic
def conv2d_with_channels_last():
    for seed, (image, filters, options) in enumerate(CONVOLUTIONS):
        weight, bias = numbers(filters, 50 + seed), numbers(filters[-1], 100 + seed)
        for batch in (1, FEW):
            x = numbers((batch, *image), seed)
            for dtype in (np.float32, np.float64):
                arrays = [array.astype(dtype) for array in (x, weight, bias)]
                y = kernels.conv2d(*arrays, **options, **LAST)
                yield y
                dy = numbers(y.shape, 151).astype(dtype)
                yield from kernels.conv2d_backward(dy, *arrays[:2], **options, **LAST)


@topic
def pooling_with_channels_last():
    for seed, (image, window) in enumerate(POOLINGS):
        for draw in (numbers, steps):
            for dtype in (np.float32, np.float64):
                x = draw((FEW, *image), seed).astype(dtype)
                y, indices = kernels.max_pool2d(x, **window, **LAST, return_indices=True)
                dy = numbers(y.shape, 425 + seed).astype(dtype)
                yield from (y, indices, kernels.avg_pool2d(x, **window, **LAST))
                yield kernels.max_pool2d_backward(dy, x, **window, **LAST)
                yield kernels.max_pool2d_backward(dy, x.shape, **window, **LAST, indices=indices)
                yield kernels.avg_pool2d_backward(dy, x.shape, **window, **LAST)
