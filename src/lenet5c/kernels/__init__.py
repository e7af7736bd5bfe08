"""Compiled kernels for NumPy arrays: convolution, pooling, softmax and im2col, with gradients."""

from lenet5c.kernels.columns import col2im, im2col
from lenet5c.kernels.convolution import conv2d, conv2d_backward
from lenet5c.kernels.one_dimensional import (
    conv1d,
    conv1d_backward,
    conv_transpose1d,
    conv_transpose1d_backward,
)
from lenet5c.kernels.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    global_max_pool2d,
    global_max_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from lenet5c.kernels.pooling1d import (
    avg_pool1d,
    avg_pool1d_backward,
    max_pool1d,
    max_pool1d_backward,
)
from lenet5c.kernels.simd.dispatch import isa
from lenet5c.kernels.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from lenet5c.kernels.threads import get_num_threads, set_num_threads
from lenet5c.kernels.transposed import conv_transpose2d, conv_transpose2d_backward

__all__ = [
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "col2im",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "get_num_threads",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_max_pool2d",
    "global_max_pool2d_backward",
    "im2col",
    "isa",
    "log_softmax",
    "log_softmax_backward",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "set_num_threads",
    "softmax",
    "softmax_backward",
]
