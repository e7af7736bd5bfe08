# The table of tile kernels; included once for each instruction set, compiled with its flags.
# cython: language_level=3
from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport INFINITY, NAN, sqrt
from lenet5c.kernels.simd.tiles cimport (
    CROSS_ENTROPY, LANES, LINEAR_BLOCK, MAXIMUM_A_POSTERIORI, MAXIMUM_LIKELIHOOD,
    NEGATIVE_LOG_LIKELIHOOD, ApplyUpdate, Backward, DirectKernels, DirectSum, Distort, Floats,
    Forward, Loss, MEAN, MEAN_DY, MEAN_SHARE, Op, OpKernels, OUTSIDE_BLACK, OUTSIDE_REFLECTED,
    RowProduct, SCALE, Softmax, TileKernels, UpdateKernel, WIDE, hash_bits, merge_moments,
    pooled_plane, round_up, softmax_along, softmax_blocks, softmax_width, spread_filters,
    statistic_at)

cdef enum:
    MAX_OPS = 32
    MAX_UPDATES = 32

cdef OpKernels[MAX_OPS] op_table
cdef UpdateKernel[MAX_UPDATES] update_table
cdef TileKernels table
table.ops, table.op_count = op_table, 0
table.updates, table.update_count = update_table, 0


cdef OpKernels* add_op(const char* name, Forward forward, Backward backward):
    """Add a row to the table of ops, to be completed by the caller."""
    cdef OpKernels* row = op_table + table.op_count
    assert table.op_count < MAX_OPS
    row.name, row.forward, row.backward = name, forward, backward
    table.op_count += 1
    return row


cdef add_update(const char* name, const char* vectors, const char* settings, ApplyUpdate apply):
    """Add a row to the table of updates."""
    assert table.update_count < MAX_UPDATES
    update_table[table.update_count] = UpdateKernel(name, vectors, settings, apply)
    table.update_count += 1


include "simd.pxi"
include "rows.pxi"
include "functions.pxi"
include "lenet5c/kernels/ops/activation.pxi"
include "lenet5c/kernels/ops/batch_norm.pxi"
include "lenet5c/kernels/ops/branch.pxi"
include "lenet5c/kernels/ops/conv2d.pxi"
include "lenet5c/kernels/ops/conv2d_gather.pxi"
include "lenet5c/kernels/ops/conv2d_gradients.pxi"
include "lenet5c/kernels/ops/conv2d_narrow.pxi"
include "lenet5c/kernels/ops/conv2d_pixels.pxi"
include "lenet5c/kernels/ops/conv2d_points.pxi"
include "lenet5c/kernels/ops/conv2d_pool.pxi"
include "lenet5c/kernels/ops/conv2d_single.pxi"
include "lenet5c/kernels/ops/distort.pxi"
include "lenet5c/kernels/ops/dropout.pxi"
include "lenet5c/kernels/ops/linear.pxi"
include "lenet5c/kernels/ops/loss.pxi"
include "lenet5c/kernels/ops/pack.pxi"
include "lenet5c/kernels/ops/pad2d.pxi"
include "lenet5c/kernels/ops/pixels.pxi"
include "lenet5c/kernels/ops/pool2d.pxi"
include "lenet5c/kernels/ops/global_pool2d.pxi"
include "lenet5c/kernels/ops/rbf.pxi"
include "lenet5c/kernels/ops/softmax.pxi"
include "lenet5c/kernels/ops/subsample2d.pxi"
include "lenet5c/kernels/ops/update.pxi"
include "lenet5c/kernels/ops/winograd.pxi"
include "lenet5c/kernels/ops/winograd3x3.pxi"
include "lenet5c/kernels/ops/winograd3x3_gradients.pxi"
include "lenet5c/kernels/ops/winograd_dweight.pxi"
include "lenet5c/kernels/ops/winograd_gradients.pxi"
include "lenet5c/kernels/direct/direct.pxi"
include "lenet5c/kernels/direct/products.pxi"
include "peak.pxi"

table.isa = V16_ISA
table.linear_dparams = linear_dparams
table.loss = tile_loss
table.pack_bytes = pack_bytes
table.pack_floats = pack_floats
table.unpack = unpack
table.distort_floats = distort_floats
table.distort_sample = distort_sample
table.mix_share = mix_share
table.distort_tile_floats = distort_tile_floats
table.distort_tile = distort_tile
set_direct(&table.direct)
set_products(&table.direct)
table.direct.softmax = softmax_unit
table.sum_shards = sum_shards
table.burst = burst

kernels = PyCapsule_New(&table, b"lenet5c.TileKernels", NULL)
direct = PyCapsule_New(&table.direct, b"lenet5c.DirectKernels", NULL)
