"""Declarations shared by the tile modules and the program: an op of a model, and the table of
kernels of an instruction set."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strcmp

cdef enum:
    LANES = 16         # samples of a tile; simd.h is written for it
    LINEAR_BLOCK = 6   # outputs, or a multiple, whose weight gradient LINEAR sums in registers

cdef enum LossKind:
    CROSS_ENTROPY
    MEAN_SQUARED_ERROR
    MAXIMUM_LIKELIHOOD
    MAXIMUM_A_POSTERIORI
    NEGATIVE_LOG_LIKELIHOOD

# A loss and the targets of the outputs of N samples, K values each. Samples may be places
# of maps: outputs are (N / inner, K, inner), and so are targets.
cdef struct Loss:
    LossKind kind
    float setting               # label smoothing of CROSS_ENTROPY, j of MAXIMUM_A_POSTERIORI
    Py_ssize_t inner            # places of a map; 1 or less: outputs are (N, K)
    const int* labels           # (N,); NULL: of no use to the loss
    const float* targets        # (N, K); NULL: 1 at the label, 0 elsewhere
    const float* class_weight   # (K,) of CROSS_ENTROPY and NEGATIVE_LOG_LIKELIHOOD; NULL: 1 each
    const float* sample_weight  # (N,); NULL: 1 each. A sample of weight 0 has no part in anything

cdef struct Op

ctypedef void (*Forward)(const Op* op, const float* params, float* arena,
                         float* scratch) noexcept nogil
# adds to sums (CONV2D: unless NULL) or fills saved; writes the gradient of x if need_dx
ctypedef void (*Backward)(const Op* op, const float* params, const float* arena, float* gradients,
                          bint need_dx, float* sums, float* saved, float* scratch) noexcept nogil
# A sample by itself: x -> y, plain or with 16 channels side by side
ctypedef void (*SampleForward)(const Op* op, const float* params, const float* x,
                               float* y) noexcept nogil
# dx, unless it is NULL; adds to sums
ctypedef void (*SampleBackward)(const Op* op, const float* params, const float* x,
                                const float* dy, float* dx, float* sums) noexcept nogil
ctypedef Py_ssize_t (*Floats)(const Op* op) noexcept nogil
# Of an op that needs all tiles of a batch before it goes on: add a tile to statistics of the batch,
# two numbers a channel. Mean of x and sum of the squares about it, after `count` values of a
# channel; sums of dy and of dy times the normalized x, which are added to those of a record, too
ctypedef void (*AddMoments)(const Op* op, const float* arena, double count,
                            double* moments) noexcept nogil
ctypedef void (*AddShares)(const Op* op, const float* params, const float* arena,
                           const float* gradients, float* sums, double* shares) noexcept nogil

# The kernels of one kind of op: a row of the table that each file of ops/ adds to.
cdef struct OpKernels:
    const char* name
    int function                # which activation
    bint reads_x, reads_y       # backward looks at the op's input, at its output
    Forward forward
    Backward backward
    Floats scratch_floats       # of forward and backward; NULL: none
    Floats saved_floats         # which a tile keeps for the gradients of parameters; NULL: none
    AddMoments add_moments      # BATCH_NORM
    AddShares add_shares
    SampleForward sample_forward     # NULL: the tile kernels, with channels as lanes
    SampleBackward sample_backward

# One op, on tiles. x and y are offsets (in floats) of the input (C, H, W, 16) and the output (O,
# OH, OW, 16) into the arena of activations; gradients lie at the same offsets of an arena of their
# own. weight and bias are offsets into the parameter vector, dweight and dbias into a record.
# Padding is part of a pooling op; a padded convolution is a PAD2D followed by a convolution
# without.
cdef struct Op:
    const OpKernels* kernels
    bint relu           # ADD, BATCH_NORM, CONV2D, LINEAR: rectify the output
    bint mask           # the gradient passes where the output of ADD, CONV2D, LINEAR, MAX_POOL2D,
                        # the input of AVG_POOL2D is positive; global poolings likewise
    bint pool           # BATCH_NORM, CONV2D: y is (O, OH / 2, OW / 2, 16), the largest of each 2 x 2
                        # window
    bint average        # BATCH_NORM, CONV2D_PIXELS with pool: the mean of each window; CONV2D with
                        # outputs_only likewise
    bint outputs_only   # CONV2D with pool: no gradient will be wanted, so no argmax is kept
    bint definition     # CONV2D: sums of terms that are not negative must not be either
    bint count_pad      # AVG_POOL2D: padding counts in the divisor
    bint branches       # ADD: a chain of ops ends at other, so its gradient is wanted
    bint has_bias
    Py_ssize_t groups
    Py_ssize_t C, H, W
    Py_ssize_t O, OH, OW
    Py_ssize_t KH, KW
    Py_ssize_t SH, SW
    Py_ssize_t PH, PW           # padding before the image
    Py_ssize_t EH, EW           # AVG_POOL2D: where the padding after it ends
    Py_ssize_t DH, DW
    Py_ssize_t x, y
    Py_ssize_t other            # FORK, TURN, ADD: a second place, see branch.pxi
    Py_ssize_t argmax           # CONV2D with pool: which element of each window, as large as y;
                                # BATCH_NORM: its x, or with average sums and numbers of x
    Py_ssize_t given            # where the arena has what the engine tells the op of a tile: DROPOUT
                                # its keys, BATCH_NORM of a batch its statistics
    Py_ssize_t weight, bias
    Py_ssize_t dweight, dbias   # CONV2D, SUBSAMPLE2D, BATCH_NORM: where a record has the sums of the
                                # shard's gradients
    Py_ssize_t saved            # where saved_floats begin in a tile's part of the record
    const Py_ssize_t* connections     # CONV2D with a connection table: o * C + c of each filter
                                      # that there is, else NULL
    Py_ssize_t connection_count
    const float* codes          # RBF: (O, C)
    float[2] constants          # of an activation; DROPOUT: 1 / (1 - p)
    bint batch_stats               # BATCH_NORM: by the statistics of the batch, not the running ones
    float* running_mean         # BATCH_NORM: (C,)
    float* running_var
    int64_t* tracked            # the batches in them
    float momentum, eps
    bint draws                  # DROPOUT
    Py_ssize_t draw             # which of the program's dropouts it is
    uint64_t seed               # of its masks
    uint32_t threshold          # p 2^32

# The sum of direct.pxi:
#   y[i, j] = start[i, j] + sum over c, k of vectors[c, k, i] * x[channel(c) + steps[k] + places[j]]
# Channel c lies at (c // channels) * block_stride + (c % channels) * channel_stride of x. All
# offsets are in values.
cdef struct DirectSum:
    bint blocked             # x has a vector in a place, a value for each of those side by side,
                             # and not one value for all
    bint scalars             # and then `vectors` one value for all
    Py_ssize_t rows          # 1, 2 or 4, at most most_rows
    Py_ssize_t blocks, block_stride
    Py_ssize_t channels, channel_stride
    const Py_ssize_t* steps
    Py_ssize_t steps_count
    const Py_ssize_t* places
    Py_ssize_t places_count
    Py_ssize_t y_row         # from one row of y to the next

# Products of few rows x (N, K) and y (N, M) with a matrix, by products.pxi. Rows are x_row and
# y_row values apart.
cdef struct RowProduct:
    Py_ssize_t N, K, M
    Py_ssize_t x_row, y_row

# Softmax along the axis K of (outer, K, inner), by softmax.pxi.
cdef struct Softmax:
    bint logarithmic
    Py_ssize_t outer, K, inner
    Py_ssize_t wide   # vectors side by side in a unit, of an inner axis that has so many

cdef enum:
    LONG_AXIS = 64     # minimum length to put one vector along the lanes
    UNIT_VALUES = 1024  # values of the rows of a unit, to amortize a call
    WIDE = 4           # of a gradient, which reads two arrays, at K places far apart

# The kernels of the direct convolution and of softmax for float or double: see rows.pxi,
# direct.pxi, products.pxi, softmax.pxi. A vector is 64 bytes.
cdef struct DirectKernels:
    Py_ssize_t lanes         # of a vector: 16 floats or 8 doubles
    # samples of `size` values, one for each lane -> a vector for each value, `stride` values apart;
    # and vectors -> the samples of the first lanes
    void (*pack_rows)(const void** samples, Py_ssize_t size, void* tile,
                      Py_ssize_t stride) noexcept nogil
    void (*unpack_rows)(const void* tile, Py_ssize_t size, Py_ssize_t lanes,
                        void** samples) noexcept nogil
    # start[i * start_row + j * start_place] is the first term of y[i * y_row + j * lanes], a vector
    # each
    void (*sum)(const DirectSum* s, const void* vectors, const void* x, const void* start,
                Py_ssize_t start_row, Py_ssize_t start_place, void* y) noexcept nogil
    Py_ssize_t[2] most_rows  # that `sum` takes, of vectors and of scalars
    # total (rows) += the sum of vectors (count, rows)
    void (*add_columns)(const void* vectors, Py_ssize_t count, Py_ssize_t rows,
                        void* total) noexcept nogil
    # for `first` <= m < `stop`, the same bits whatever the range; bias may be NULL:
    # y[n, m] = bias[m] + the sum over k of x[n, k] matrix[m, k]
    void (*dot)(const RowProduct* p, const void* x, const void* matrix, const void* bias,
                Py_ssize_t first, Py_ssize_t stop, void* y) noexcept nogil
    # y[n, m] = bias[m] + the sum over k of x[n, k] matrix[k, m]
    void (*add)(const RowProduct* p, const void* x, const void* matrix, const void* bias,
                Py_ssize_t first, Py_ssize_t stop, void* y) noexcept nogil
    # matrix[m, k] = the sum over n of y[n, m] x[n, k]
    void (*outer)(const RowProduct* p, const void* x, const void* y, Py_ssize_t first, Py_ssize_t stop,
                  void* matrix) noexcept nogil
    # one unit of softmax_units: x -> y if b is NULL, else dy and y -> dx; scratch of
    # softmax_scratch values
    void (*softmax)(const Softmax* s, Py_ssize_t unit, const void* a, const void* b, void* to,
                    void* scratch) noexcept nogil

cdef enum Outside:
    OUTSIDE_BLACK, OUTSIDE_EDGE, OUTSIDE_REFLECTED

# Random distortions of images (C, H, W) of bytes, by distort.pxi and pixels.pxi: how far they go at
# most. gaussian has 2 * radius + 1 weights, mix_quantiles mix_steps + 1 shares.
cdef struct Distort:
    Py_ssize_t C, H, W
    bint warps, colors, mixes   # any of the settings of each
    double translation, scaling, squeeze, shear, rotation   # pixels, shares of 1, tangent, radians
    double flip, flip_vertical, probability
    Py_ssize_t crop_padding                                 # pixels
    double crop                                             # share of the area
    Outside outside
    float elastic
    Py_ssize_t radius
    const float* gaussian
    double brightness, contrast, saturation, hue, grayscale   # shares of 1, hue in radians
    double erasing, erasing_least, erasing_area, erasing_ratio   # areas as shares of the image's
    Py_ssize_t mix_steps
    const double* mix_quantiles

# One step of an optimizer for `size` parameters, see update.pxi. The names are separated by spaces.
ctypedef void (*ApplyUpdate)(const double* settings, float** vectors, float* params,
                             const float* grads, Py_ssize_t size) noexcept nogil

cdef struct UpdateKernel:
    const char* name
    const char* vectors
    const char* settings
    ApplyUpdate apply

cdef struct TileKernels:
    const char* isa
    const OpKernels* ops
    int op_count
    # LINEAR: the gradients of `count` outputs from `first` on, from what `tiles` tiles have saved,
    # added to if `add`
    void (*linear_dparams)(const Op* op, const float** saved, Py_ssize_t tiles, Py_ssize_t first,
                           Py_ssize_t count, bint add, float* grads) noexcept nogil
    # outputs (K, 16) of the samples from `first` on -> the losses of the live lanes, unscaled, and
    # the gradient (K, 16), times scale, unless it is NULL
    void (*loss)(const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K,
                 const float* outputs, float scale, double* losses,
                 float* gradient) noexcept nogil
    # 16 samples of `size` values each -> (size, 16), and back
    void (*pack_bytes)(const unsigned char** samples, Py_ssize_t size, float scale,
                       const float* offset, float* tile) noexcept nogil
    void (*pack_floats)(const float** samples, Py_ssize_t size, float* tile) noexcept nogil
    void (*unpack)(const float* tile, Py_ssize_t size, Py_ssize_t lanes,
                   float* samples) noexcept nogil
    # an image of bytes, distorted as its key says, in gray levels; scratch of distort_floats. If
    # distortions mix, with the second of `images`, else there need not be one
    Py_ssize_t (*distort_floats)(const Distort* d) noexcept nogil
    void (*distort_sample)(const Distort* d, const unsigned char** images, const uint64_t* keys,
                           float* out, float* scratch) noexcept nogil
    # the share of a sample that is mixed, from 0 to 1
    double (*mix_share)(const Distort* d, uint64_t key) noexcept nogil
    # 16 samples, the first `lanes` distorted, the others as the first, -> (size, 16); scratch of
    # distort_tile_floats. If distortions mix, each with the next one, of which there is one more
    # than lanes
    Py_ssize_t (*distort_tile_floats)(const Distort* d) noexcept nogil
    void (*distort_tile)(const Distort* d, const unsigned char** images, const uint64_t* keys,
                         Py_ssize_t lanes, float scale, const float* offset, float* tile,
                         float* scratch) noexcept nogil
    DirectKernels direct     # for float
    # total = the sum of `count` shards of `size` values, in order; added to if `add`
    void (*sum_shards)(const float** shards, Py_ssize_t count, Py_ssize_t size, bint add,
                       float* total) noexcept nogil
    const UpdateKernel* updates   # of the optimizers, by update.pxi
    Py_ssize_t update_count
    # about `rounds` times 16 multiply-adds; returns the number of floating-point operations
    double (*burst)(Py_ssize_t rounds, float* result) noexcept nogil

cdef inline const OpKernels* find_op(const TileKernels* kernels, const char* name) noexcept nogil:
    """The kernels of this name, or NULL."""
    cdef int i
    for i in range(kernels.op_count):
        if strcmp(kernels.ops[i].name, name) == 0:
            return kernels.ops + i
    return NULL


cdef inline bint softmax_along(const Softmax* s, Py_ssize_t lanes) noexcept nogil:
    """Return True if each vector is computed along the lanes."""
    return s.inner < lanes and s.K >= LONG_AXIS


cdef inline Py_ssize_t softmax_width(const Softmax* s, Py_ssize_t lanes) noexcept nogil:
    """The vectors of a unit."""
    if not softmax_along(s, lanes):
        return lanes
    return max(<Py_ssize_t>1, UNIT_VALUES // s.K) if s.inner == 1 else 1


cdef inline Py_ssize_t softmax_units(const Softmax* s, Py_ssize_t lanes) noexcept nogil:
    cdef Py_ssize_t width = softmax_width(s, lanes)
    if s.inner >= lanes:
        return s.outer * softmax_blocks(s, lanes)
    return (s.outer * s.inner + width - 1) // width


cdef inline Py_ssize_t softmax_blocks(const Softmax* s, Py_ssize_t lanes) noexcept nogil:
    """The units along the inner axis: wide ones, then single vectors."""
    cdef Py_ssize_t wide = s.inner // (s.wide * lanes)
    return wide + (s.inner - wide * s.wide * lanes + lanes - 1) // lanes


cdef inline Py_ssize_t softmax_scratch(const Softmax* s, Py_ssize_t lanes) noexcept nogil:
    cdef Py_ssize_t width = softmax_width(s, lanes)
    if s.inner % lanes == 0 or (s.inner == 1 and softmax_along(s, lanes)):
        return 0  # the layout is that of the computation
    return 2 * s.K * width


cdef inline Py_ssize_t round_up(Py_ssize_t floats) noexcept nogil:
    """To whole vectors, which are cache lines."""
    return (floats + LANES - 1) // LANES * LANES


cdef inline void spread_filters(const Op* op, const float* weight, float* filters) noexcept nogil:
    """With a connection table: the filters that there are to their places in (O, C, KH, KW), zeros
    elsewhere."""
    cdef Py_ssize_t i, size = op.KH * op.KW
    memset(filters, 0, op.O * op.C * size * sizeof(float))
    for i in range(op.connection_count):
        memcpy(filters + op.connections[i] * size, weight + i * size, size * sizeof(float))


cdef enum:
    # minimum elementary operations for another thread: some 50 microseconds
    THREAD_WORK = 2000000

cdef inline Py_ssize_t pooled_plane(const Op* op) noexcept nogil:
    """Return the floats of a channel of a convolution's y, after its own pooling."""
    return (op.OH // 2) * (op.OW // 2) * LANES if op.pool else op.OH * op.OW * LANES

cdef inline int useful_threads(double work, int wanted, Py_ssize_t parts) noexcept nogil:
    """Return the number of threads: at most the number of parts, and not more than the work is worth."""
    return <int>max(1., min(<double>wanted, min(<double>parts, 1 + work / THREAD_WORK)))

cdef inline uint64_t hash_bits(uint64_t z) noexcept nogil:
    """Return a hash of z, 64 bits: the output function of splitmix64 (Steele, Lea and Flood, 2014)."""
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL
    return z ^ (z >> 31)

cdef inline uint64_t sample_key(uint64_t stream, Py_ssize_t sample) noexcept nogil:
    """The key of all draws for a sample; `stream` stands for the seed and the epoch."""
    return hash_bits(stream + (<uint64_t>sample + 1) * 0x9e3779b97f4a7c15ULL)

# BATCH_NORM of a batch is given the live lanes as 1 and the dead ones as 0, (16,), and then these
# statistics of the batch, (C,) each
cdef enum Statistic:
    MEAN
    SCALE        # 1 / sqrt(var + eps)
    MEAN_DY
    MEAN_SHARE   # of dy times the normalized x
    STATISTICS   # so many

cdef inline Py_ssize_t statistic_at(const Op* op, Statistic which) noexcept nogil:
    """The place of a statistic in an arena."""
    return op.given + LANES + which * op.C


cdef inline void merge_moments(double* moments, double count, double mean, double squares,
                               double more) noexcept nogil:
    """Mean of `count` values and sum of the squares about it, with those of `more` values (Chan,
    Golub and LeVeque, 1979)."""
    cdef double delta = mean - moments[0], share = more / (count + more)
    moments[0] += delta * share
    moments[1] += squares + delta * delta * count * share
