"""Readable float64 reference implementations of every kernel, layer, loss and optimizer.

Each function follows its definition, in plain loops or a few NumPy calls, with the backward pass
next to the forward pass. The tests compare the fast code with these functions, and these functions
with central differences and PyTorch. They are slow, and they check only what NumPy checks.

Read the modules in this order:

1. `windows`, `convolution`, `pooling`, `fully_connected`, `activation`, `softmax`, `loss` and
   `network`: the parts of a LeNet-5, and the complete net.
2. `optimizer`, and `derivatives`, which shows how to check a gradient.
3. `normalization`, `dropout_mask`, `shortcut`, `mixture`: layers introduced after 1998.
4. `connections`, `subsampling`, `radial_basis`: the LeNet-5 of 1998.
5. `transposed`, `one_dimensional`, `pooling1d`: transposed convolution, and convolution and pooling
   along one axis; `columns`, `winograd`: other ways to compute a convolution.
6. `distortion`, `augmentation`: random changes of training images.
7. `reasons`: explanations of a prediction, and the smallest steps that change it.

Arguments are anything that NumPy can convert to an array; results are new arrays of float64. Names:

=====================  ==========================================================================
N C H W                batch, channels, height and width of the input
O I KH KW              axes of a weight: output and input channels, height and width
OH OW                  height and width of the output
x, y                   input and output of a layer
dx, dy, dweight        gradient of the loss with respect to x, y, weight
d2x, d2y, d2weight     diagonal second derivatives of the loss
``*_backward``         from dy to dx and the gradients of the parameters
``*_backward_second``  from d2y to d2x and the second derivatives of the parameters
=====================  ==========================================================================

Learning-rate schedules have no reference implementation: those of `lenet5c.optim` are plain Python.
"""

from lenet5c.reference.activation import (
    gelu,
    gelu_backward,
    gelu_backward_second,
    leaky_relu,
    leaky_relu_backward,
    leaky_relu_backward_second,
    relu,
    relu_backward,
    relu_backward_second,
    scaled_tanh,
    scaled_tanh_backward,
    scaled_tanh_backward_second,
    sigmoid,
    sigmoid_backward,
    sigmoid_backward_second,
    tanh,
    tanh_backward,
    tanh_backward_second,
)
from lenet5c.reference.augmentation import change_colors, erase, erased_rectangle, mix, mix_share
from lenet5c.reference.columns import col2im, im2col
from lenet5c.reference.connections import (
    connected_conv2d,
    connected_conv2d_backward,
    connected_conv2d_backward_second,
    gather_filters,
    scatter_filters,
)
from lenet5c.reference.convolution import conv2d, conv2d_backward, conv2d_backward_second
from lenet5c.reference.derivatives import backward_second, numeric_gradient
from lenet5c.reference.distortion import (
    distort,
    distortion_draws,
    distortion_field,
    distortion_keys,
    distortion_map,
    distortion_noise,
)
from lenet5c.reference.dropout_mask import (
    draw_dropout_mask,
    dropout,
    dropout_backward,
    dropout_backward_second,
)
from lenet5c.reference.fully_connected import (
    flatten,
    flatten_backward,
    flatten_backward_second,
    linear,
    linear_backward,
    linear_backward_second,
)
from lenet5c.reference.loss import (
    cross_entropy,
    cross_entropy_second,
    map_loss,
    map_loss_second,
    mle_loss,
    mle_loss_second,
    mse_loss,
    mse_loss_second,
    nll_loss,
    nll_loss_second,
)
from lenet5c.reference.mixture import ensemble, ensemble_backward, ensemble_backward_second
from lenet5c.reference.network import (
    lenet5,
    lenet5_1998,
    lenet5_1998_backward,
    lenet5_1998_backward_second,
    lenet5_backward,
)
from lenet5c.reference.normalization import (
    batch_norm,
    batch_norm_backward,
    batch_norm_backward_second,
    batch_norm_inference,
    update_running_statistics,
)
from lenet5c.reference.one_dimensional import (
    conv1d,
    conv1d_backward,
    conv_transpose1d,
    conv_transpose1d_backward,
)
from lenet5c.reference.optimizer import (
    adagrad_step,
    adam_step,
    lion_step,
    nadam_step,
    rmsprop_step,
    sdlm_step,
    sgd_step,
)
from lenet5c.reference.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    avg_pool2d_backward_second,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    global_avg_pool2d_backward_second,
    global_max_pool2d,
    global_max_pool2d_backward,
    global_max_pool2d_backward_second,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_backward_second,
)
from lenet5c.reference.pooling1d import (
    avg_pool1d,
    avg_pool1d_backward,
    max_pool1d,
    max_pool1d_backward,
)
from lenet5c.reference.radial_basis import rbf, rbf_backward, rbf_backward_second
from lenet5c.reference.reasons import boundary_step, deepfool_step, grad_cam
from lenet5c.reference.shortcut import residual, residual_backward, residual_backward_second
from lenet5c.reference.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from lenet5c.reference.subsampling import (
    subsample2d,
    subsample2d_backward,
    subsample2d_backward_second,
)
from lenet5c.reference.transposed import conv_transpose2d, conv_transpose2d_backward
from lenet5c.reference.windows import border, output_shape, pair
from lenet5c.reference.winograd import (
    winograd_conv2d,
    winograd_conv2d_backward,
    winograd_matrices,
    winograd_square_conv2d,
    winograd_square_conv2d_backward,
)

__all__ = [
    "adagrad_step",
    "adam_step",
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool2d_backward_second",
    "backward_second",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_backward_second",
    "batch_norm_inference",
    "border",
    "boundary_step",
    "change_colors",
    "col2im",
    "connected_conv2d",
    "connected_conv2d_backward",
    "connected_conv2d_backward_second",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv2d_backward_second",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cross_entropy",
    "cross_entropy_second",
    "deepfool_step",
    "distort",
    "distortion_draws",
    "distortion_field",
    "distortion_keys",
    "distortion_map",
    "distortion_noise",
    "draw_dropout_mask",
    "dropout",
    "dropout_backward",
    "dropout_backward_second",
    "ensemble",
    "ensemble_backward",
    "ensemble_backward_second",
    "erase",
    "erased_rectangle",
    "flatten",
    "flatten_backward",
    "flatten_backward_second",
    "gather_filters",
    "gelu",
    "gelu_backward",
    "gelu_backward_second",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_avg_pool2d_backward_second",
    "global_max_pool2d",
    "global_max_pool2d_backward",
    "global_max_pool2d_backward_second",
    "grad_cam",
    "im2col",
    "leaky_relu",
    "leaky_relu_backward",
    "leaky_relu_backward_second",
    "lenet5",
    "lenet5_1998",
    "lenet5_1998_backward",
    "lenet5_1998_backward_second",
    "lenet5_backward",
    "linear",
    "linear_backward",
    "linear_backward_second",
    "lion_step",
    "log_softmax",
    "log_softmax_backward",
    "map_loss",
    "map_loss_second",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_backward_second",
    "mix",
    "mix_share",
    "mle_loss",
    "mle_loss_second",
    "mse_loss",
    "mse_loss_second",
    "nadam_step",
    "nll_loss",
    "nll_loss_second",
    "numeric_gradient",
    "output_shape",
    "pair",
    "rbf",
    "rbf_backward",
    "rbf_backward_second",
    "relu",
    "relu_backward",
    "relu_backward_second",
    "residual",
    "residual_backward",
    "residual_backward_second",
    "rmsprop_step",
    "scaled_tanh",
    "scaled_tanh_backward",
    "scaled_tanh_backward_second",
    "scatter_filters",
    "sdlm_step",
    "sgd_step",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_backward_second",
    "softmax",
    "softmax_backward",
    "subsample2d",
    "subsample2d_backward",
    "subsample2d_backward_second",
    "tanh",
    "tanh_backward",
    "tanh_backward_second",
    "update_running_statistics",
    "winograd_conv2d",
    "winograd_conv2d_backward",
    "winograd_matrices",
    "winograd_square_conv2d",
    "winograd_square_conv2d_backward",
]
