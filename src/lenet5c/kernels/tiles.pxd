"""What the tile modules and the program share: one op of a model, and the table of kernels of an instruction set."""

cdef enum OpKind:
    CONV2D
    LINEAR
    MAX_POOL2D
    AVG_POOL2D
    RELU
    SIGMOID
    TANH
    PAD2D

cdef enum LossKind:
    CROSS_ENTROPY
    MEAN_SQUARED_ERROR

# One op, on tiles. x and y are offsets (in floats) of the input (C, H, W, 16) and the output (O, OH, OW, 16) into the
# arena of activations; gradients lie at the same offsets of an arena of their own. weight and bias are offsets into the
# parameter vector, dweight and dbias into a record. Padding is part of a pooling op; a padded convolution is a PAD2D
# followed by a convolution without.
cdef struct Op:
    OpKind kind
    bint relu           # CONV2D, LINEAR: rectify the output
    bint gate           # CONV2D, LINEAR, MAX_POOL2D: the gradient passes where the output is positive
    bint pool           # CONV2D: y is (O, OH / 2, OW / 2, 16), the largest of each 2 x 2 window
    bint count_pad      # AVG_POOL2D: padding counts in the divisor
    bint has_bias
    Py_ssize_t groups
    Py_ssize_t C, H, W
    Py_ssize_t O, OH, OW
    Py_ssize_t KH, KW
    Py_ssize_t SH, SW
    Py_ssize_t PH, PW
    Py_ssize_t DH, DW
    Py_ssize_t x, y
    Py_ssize_t choice           # CONV2D with pool: which element of each window, as large as y
    Py_ssize_t weight, bias
    Py_ssize_t dweight, dbias   # CONV2D: where a record has the sums of the shard's gradients
    Py_ssize_t kept_x, kept_dy  # LINEAR: where a tile's part of the record keeps what its gradients are made of

cdef struct TileKernels:
    const char* isa
    # x (C, H, W, 16) -> y (O, OH, OW, 16)
    void (*forward)(const Op* op, const float* params, float* arena, float* scratch) noexcept nogil
    # adds to sums or fills kept; writes the gradient of x if need_dx
    void (*backward)(const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
                     float* sums, float* kept, float* scratch) noexcept nogil
    # LINEAR: the gradients of `count` outputs from `first` on, from what `tiles` tiles have kept; added to if `add`
    void (*linear_dparams)(const Op* op, const float** kept, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t count,
                           bint add, float* grads) noexcept nogil
    # logits (K, 16) -> gradient (K, 16) times scale; returns the sum of the live lanes' losses, unscaled
    double (*loss)(LossKind kind, Py_ssize_t classes, Py_ssize_t lanes, const float* logits, const int* labels,
                   const float* targets, float smoothing, float scale, float* dlogits) noexcept nogil
    # 16 samples of `size` values each -> (size, 16), and back
    void (*pack_bytes)(const unsigned char** samples, Py_ssize_t size, float scale, const float* offset,
                       float* tile) noexcept nogil
    void (*pack_floats)(const float** samples, Py_ssize_t size, float* tile) noexcept nogil
    void (*unpack)(const float* tile, Py_ssize_t size, Py_ssize_t lanes, float* samples) noexcept nogil
    # total = the sum of `count` shards of `size` values, in order; added to if `add`
    void (*sum_shards)(const float** shards, Py_ssize_t count, Py_ssize_t size, bint add, float* total) noexcept nogil
    void (*sgd)(float* params, const float* grads, float* velocity, Py_ssize_t size, float lr, float momentum,
                bint nesterov, float weight_decay) noexcept nogil
    void (*adam)(float* params, const float* grads, float* m, float* v, Py_ssize_t size, double lr, double beta1,
                 double beta2, float eps, double correction1, float correction2, double weight_decay,
                 bint decoupled) noexcept nogil
    # about `rounds` times 16 multiply-adds; returns the number of floating-point operations
    double (*burst)(Py_ssize_t rounds, float* result) noexcept nogil
