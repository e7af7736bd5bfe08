# The table of tile kernels; included once for each instruction set, compiled with its flags.
# cython: language_level=3
from cpython.pycapsule cimport PyCapsule_New
from lenet5c.kernels.simd.tiles cimport (
    AVG_POOL2D, CONV2D, CROSS_ENTROPY, LINEAR, MAX_POOL2D, MAXIMUM_A_POSTERIORI,
    MAXIMUM_LIKELIHOOD, MOST_UPDATES, PAD2D, RBF, RELU, SIGMOID, SUBSAMPLE2D, TANH, DirectSum,
    Distort, LossKind, Op, TileKernels, UpdateKernel, distort_floats, hash_bits, spread_filters,
    update_function)

include "simd.pxi"

cdef TileKernels table
table.update_count = 0

include "lenet5c/kernels/ops/pool2d.pxi"
include "lenet5c/kernels/ops/conv2d.pxi"
include "lenet5c/kernels/ops/conv2d_gradients.pxi"
include "lenet5c/kernels/ops/winograd.pxi"
include "lenet5c/kernels/ops/convolution.pxi"
include "lenet5c/kernels/ops/linear.pxi"
include "lenet5c/kernels/ops/subsample2d.pxi"
include "lenet5c/kernels/ops/rbf.pxi"
include "lenet5c/kernels/ops/activation.pxi"
include "lenet5c/kernels/ops/loss.pxi"
include "lenet5c/kernels/ops/update.pxi"
include "lenet5c/kernels/ops/pack.pxi"
include "lenet5c/kernels/ops/distort.pxi"
include "lenet5c/kernels/direct/direct.pxi"
include "peak.pxi"


cdef void forward(const Op* op, const float* params, float* arena, float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef float* y = arena + op.y
    if op.kind == CONV2D or op.kind == LINEAR:
        conv2d_forward(op, params, arena, scratch)
    elif op.kind == MAX_POOL2D:
        max_pool2d_forward(op, x, y)
    elif op.kind == AVG_POOL2D:
        avg_pool2d_forward(op, x, y)
    elif op.kind == SUBSAMPLE2D:
        subsample2d_forward(op, params, x, y)
    elif op.kind == RBF:
        rbf_forward(op, x, y)
    elif op.kind == PAD2D:
        pad2d_forward(op, x, y)
    else:
        activation_forward(op, x, y)


cdef void backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef const float* y = arena + op.y
    cdef float* dy = gradients + op.y
    cdef float* dx = gradients + op.x
    if op.kind == CONV2D or op.kind == LINEAR:
        if op.mask and not op.pool:
            mask_gradient(op, y, dy)
        if op.kind == CONV2D:
            conv2d_backward(op, params, arena, gradients, need_dx, sums, scratch)
        else:
            linear_backward(op, params, arena, gradients, need_dx, saved)
    elif op.kind == SUBSAMPLE2D:
        subsample2d_backward(op, params, x, dy, dx if need_dx else NULL, sums)
    elif not need_dx:
        return
    elif op.kind == RBF:
        rbf_backward(op, x, dy, dx)
    elif op.kind == MAX_POOL2D:
        max_pool2d_backward(op, x, y, dy, dx)
    elif op.kind == AVG_POOL2D:
        avg_pool2d_backward(op, x, dy, dx)
    elif op.kind == PAD2D:
        pad2d_backward(op, dy, dx)
    else:
        activation_backward(op, y, dy, dx)


table.isa = V16_ISA
table.forward = forward
table.backward = backward
table.linear_dparams = linear_dparams
table.linear_sample = linear_sample
table.linear_sample_dx = linear_sample_dx
table.linear_sample_dparams = linear_sample_dparams
table.subsample2d_sample = subsample2d_sample
table.subsample2d_sample_backward = subsample2d_sample_backward
table.rbf_sample = rbf_sample
table.rbf_sample_backward = rbf_sample_backward
table.loss = tile_loss
table.pack_bytes = pack_bytes
table.pack_floats = pack_floats
table.unpack = unpack
table.distort_sample = distort_sample
table.distort_tile = distort_tile
table.pack_rows = pack_rows
table.unpack_rows = unpack_rows
table.direct_sum = direct_sum
table.direct_rows = 4 if V16_REGISTERS == 32 else 1
table.add_columns = add_columns
table.sum_shards = sum_shards
table.updates = updates
table.burst = burst

kernels = PyCapsule_New(&table, b"lenet5c.TileKernels", NULL)
