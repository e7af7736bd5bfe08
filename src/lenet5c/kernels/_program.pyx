"""Programs: a model's ops, run tile by tile over a batch, forward and backward, in one OpenMP region.

A batch is cut into tiles of 16 samples, the last one filled up with copies of its first sample (dead lanes, whose
gradient is zero). A thread takes a tile through all ops in an arena of its own: memory is threads x one tile,
whatever the batch. Gradients go to a fixed number of shards, each the sum of a run of neighbouring tiles in order,
and the shards are added in order: the bits do not depend on the number of threads or on who ran what.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from lenet5c.kernels._workspace cimport Workspace
from lenet5c.kernels.tiles cimport (
    AVG_POOL2D, CONV2D, CROSS_ENTROPY, LINEAR, MAX_POOL2D, MEAN_SQUARED_ERROR, PAD2D, RELU, SIGMOID, TANH, LossKind,
    Op, OpKind, TileKernels, useful_threads)

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define lenet5c_max_threads() omp_get_max_threads()
    #define LENET5C_OPENMP 1
    #else
    #define lenet5c_max_threads() 1
    #define LENET5C_OPENMP 0
    #endif
    """
    int lenet5c_max_threads() nogil
    enum:
        LENET5C_OPENMP

cdef enum:
    LANES = 16
    SHARDS = 16          # at most this many gradient shards a batch, so at most this many threads in training
    SUM_CHUNK = 4096     # parameters a thread sums over the shards at a time

has_openmp = bool(LENET5C_OPENMP)


def max_threads():
    """Threads that an OpenMP region takes by default here: cores, affinity and OMP_NUM_THREADS."""
    return lenet5c_max_threads()


cdef struct Job:
    const TileKernels* kernels
    const Op* ops
    Py_ssize_t op_count
    Py_ssize_t forward_ops         # how many of them the forward pass must run
    Py_ssize_t first_gradient      # gradients are wanted down to the input of this op
    Py_ssize_t arena_half
    Py_ssize_t input_size, output_size, output
    # the batch: bytes with scale and offset, or floats; index picks samples, NULL takes them in order
    Py_ssize_t batch
    const unsigned char* bytes
    const float* floats
    const int64_t* index
    float scale
    const float* offset
    const float* params
    float* out                     # (batch, output_size), or NULL
    # the gradient comes from dy (batch, output_size) or from the loss
    const float* dy
    const float* zeros
    const int* labels
    const float* targets
    LossKind loss
    float smoothing, loss_scale
    float* dx                      # (batch, input_size), or NULL
    float* shards
    Py_ssize_t shard_count, shard_stride
    double* tile_loss
    Py_ssize_t* tile_correct


cdef void load_tile(const Job* job, Py_ssize_t first, float* tile) noexcept nogil:
    cdef const unsigned char* bytes[LANES]
    cdef const float* floats[LANES]
    cdef Py_ssize_t lane, at
    for lane in range(LANES):
        at = first + lane if first + lane < job.batch else first
        if job.index is not NULL:
            at = job.index[at]
        if job.bytes is not NULL:
            bytes[lane] = job.bytes + at * job.input_size
        else:
            floats[lane] = job.floats + at * job.input_size
    if job.bytes is not NULL:
        job.kernels.pack_bytes(bytes, job.input_size, job.scale, job.offset, tile)
    else:
        job.kernels.pack_floats(floats, job.input_size, tile)


cdef void forward_tile(const Job* job, Py_ssize_t tile, float* arena) noexcept nogil:
    cdef Py_ssize_t i
    cdef const Op* op
    load_tile(job, tile * LANES, arena)
    for i in range(job.forward_ops):
        op = job.ops + i
        job.kernels.forward(op, job.params, arena + op.x, arena + op.y)
    if job.out is not NULL:
        job.kernels.unpack(arena + job.output, job.output_size, min(<Py_ssize_t>LANES, job.batch - tile * LANES),
                           job.out + tile * LANES * job.output_size)


cdef Py_ssize_t count_correct(const float* logits, Py_ssize_t classes, const int* labels, Py_ssize_t lanes) noexcept nogil:
    """How many of the first lanes have their largest logit at the label; the first of equals counts."""
    cdef Py_ssize_t lane, k, best, correct = 0
    for lane in range(lanes):
        best = 0
        for k in range(1, classes):
            if logits[k * LANES + lane] > logits[best * LANES + lane]:
                best = k
        correct += best == labels[lane]
    return correct


cdef void start_gradient(const Job* job, Py_ssize_t tile, float* arena) noexcept nogil:
    """Fill the gradient of the tile's output, from the caller's dy or from the loss."""
    cdef const float* rows[LANES]
    cdef float* gradient = arena + job.arena_half + job.output
    cdef Py_ssize_t lane, first = tile * LANES
    cdef Py_ssize_t lanes = min(<Py_ssize_t>LANES, job.batch - first)
    if job.dy is not NULL:
        for lane in range(LANES):
            rows[lane] = job.dy + (first + lane) * job.output_size if lane < lanes else job.zeros
        job.kernels.pack_floats(rows, job.output_size, gradient)
        return
    job.tile_loss[tile] = job.kernels.loss(
        job.loss, job.output_size, lanes, arena + job.output, job.labels + first,
        job.targets + first * job.output_size if job.targets is not NULL else NULL,
        job.smoothing, job.loss_scale, gradient)
    job.tile_correct[tile] = count_correct(arena + job.output, job.output_size, job.labels + first, lanes)


cdef void run_shard(const Job* job, Py_ssize_t shard, float* arena) noexcept nogil:
    cdef Py_ssize_t tiles = (job.batch + LANES - 1) // LANES
    cdef Py_ssize_t tile, i
    cdef const Op* op
    cdef float* gradients = arena + job.arena_half
    cdef float* dparams = job.shards + shard * job.shard_stride
    cdef float* dx
    memset(dparams, 0, job.shard_stride * sizeof(float))
    for tile in range(shard * tiles // job.shard_count, (shard + 1) * tiles // job.shard_count):
        forward_tile(job, tile, arena)
        start_gradient(job, tile, arena)
        for i in range(job.op_count - 1, job.first_gradient - 1, -1):
            op = job.ops + i
            dx = gradients + op.x if i > job.first_gradient or job.dx is not NULL else NULL
            job.kernels.backward(op, job.params, arena + op.x, arena + op.y, gradients + op.y, dx, dparams)
        if job.dx is not NULL:
            job.kernels.unpack(gradients, job.input_size, min(<Py_ssize_t>LANES, job.batch - tile * LANES),
                               job.dx + tile * LANES * job.input_size)


cdef class Program:
    """A lowered model, ready to run.

    `plan` comes from `lowering.lower`. All arrays are checked by the caller except for what could reach outside
    memory, which is checked here: sizes of params, grads, out, dy, dx and the range of index and labels.
    """
    cdef Op* ops
    cdef Job template
    cdef float* zeros
    cdef double work
    cdef list idle_workspaces
    cdef object capsule
    cdef readonly tuple input_shape, output_shape
    cdef readonly Py_ssize_t param_extent

    def __cinit__(self, plan, capsule):
        cdef Py_ssize_t i
        cdef Op* op
        cdef Job* job = &self.template
        self.capsule = capsule
        self.idle_workspaces = []
        self.input_shape = plan.input_shape
        self.output_shape = plan.output_shape
        self.param_extent = plan.param_extent
        self.work = plan.work
        memset(job, 0, sizeof(Job))
        job.kernels = <const TileKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.TileKernels")
        job.op_count = len(plan.ops)
        job.arena_half = plan.arena_floats
        job.input_size = plan.input_size
        job.output_size = plan.output_size
        job.output = plan.output
        self.ops = <Op*>calloc(max(job.op_count, 1), sizeof(Op))
        self.zeros = <float*>calloc(job.output_size, sizeof(float))
        if self.ops is NULL or self.zeros is NULL:
            raise MemoryError("no memory for a program")
        job.ops = self.ops
        job.zeros = self.zeros
        for i in range(job.op_count):
            op = self.ops + i
            o = plan.ops[i]
            op.kind = KINDS[o.kind]
            op.relu, op.gate, op.count_pad, op.has_bias = o.relu, o.gate, o.count_pad, o.bias is not None
            op.groups = o.groups
            op.C, op.H, op.W = o.in_shape
            op.O, op.OH, op.OW = o.out_shape
            op.KH, op.KW = o.kernel_size
            op.SH, op.SW = o.stride
            op.PH, op.PW = o.padding
            op.DH, op.DW = o.dilation
            op.x, op.y = o.x, o.y
            op.weight, op.bias = o.weight or 0, o.bias or 0
        job.first_gradient = plan.first_trainable

    def __dealloc__(self):
        free(self.ops)
        free(self.zeros)

    cdef set_batch(self, Job* job, samples, const int64_t[::1] index, double scale, const float[::1] offset):
        """Point job at samples, (N, input_size) of uint8 (then with scale and offset) or float32."""
        cdef const unsigned char[:, ::1] bytes
        cdef const float[:, ::1] floats
        cdef Py_ssize_t available, i, width
        if samples.dtype == "uint8":
            bytes = samples
            available, width = bytes.shape[0], bytes.shape[1]
            if offset is None or offset.shape[0] != job.input_size:
                raise ValueError(f"offset should have {job.input_size} values, one for each input pixel")
            job.scale = scale
            job.offset = &offset[0]
            job.bytes = &bytes[0, 0] if available > 0 else NULL
        else:
            floats = samples
            available, width = floats.shape[0], floats.shape[1]
            job.floats = &floats[0, 0] if available > 0 else NULL
        if width != job.input_size:
            raise ValueError(f"samples have {width} values each, the program takes {job.input_size}")
        job.batch = available
        if index is not None:
            job.batch = index.shape[0]
            for i in range(job.batch):
                if not 0 <= index[i] < available:
                    raise IndexError(f"index[{i}] is {index[i]}, but there are {available} samples")
            job.index = &index[0] if job.batch > 0 else NULL

    cdef int thread_count(self, Py_ssize_t batch, int wanted, Py_ssize_t parts):
        """How many threads to use: no more than there are parts to hand out, or than there is work for."""
        return useful_threads(batch * self.work, wanted, parts)

    cdef Workspace workspace(self, Py_ssize_t floats):
        """An idle workspace of at least this size, or a new one; give it back to idle_workspaces afterwards."""
        cdef Workspace space
        try:
            space = self.idle_workspaces.pop()
        except IndexError:
            return Workspace(floats)
        return space if space.floats >= floats else Workspace(floats)

    def forward(self, samples, const float[::1] params not None, float[:, ::1] out not None, int num_threads,
                const int64_t[::1] index=None, double scale=1, const float[::1] offset=None):
        """out (N, output_size) = the outputs of the batch."""
        cdef Job job = self.template
        cdef Py_ssize_t tile, tiles
        cdef int threads
        cdef Workspace space
        cdef float* arenas
        self.set_batch(&job, samples, index, scale, offset)
        if params.shape[0] < self.param_extent or out.shape[0] != job.batch or out.shape[1] != job.output_size:
            raise ValueError("params or out have the wrong size")
        if job.batch == 0:
            return
        job.params = &params[0] if params.shape[0] > 0 else NULL
        job.out = &out[0, 0]
        job.forward_ops = job.op_count
        tiles = (job.batch + LANES - 1) // LANES
        threads = self.thread_count(job.batch, num_threads, tiles)
        space = self.workspace(threads * job.arena_half)
        arenas = space.start
        if threads == 1:
            with nogil:
                for tile in range(tiles):
                    forward_tile(&job, tile, arenas)
        else:
            for tile in prange(tiles, schedule="dynamic", chunksize=1, num_threads=threads, nogil=True):
                forward_tile(&job, tile, arenas + threadid() * job.arena_half)
        self.idle_workspaces.append(space)

    def backward(self, samples, const float[:, ::1] dy not None, const float[::1] params not None,
                 float[::1] grads not None, float[:, ::1] dx, int num_threads, const int64_t[::1] index=None):
        """grads = the parameters' gradient, dx (N, input_size), unless it is None, the input's."""
        cdef Job job = self.template
        self.set_batch(&job, samples, index, 1, None)
        if dy.shape[0] != job.batch or dy.shape[1] != job.output_size:
            raise ValueError("dy has the wrong size")
        job.forward_ops = job.op_count
        if job.op_count > 0 and not needs_output(self.ops + job.op_count - 1):
            job.forward_ops -= 1
        if job.batch > 0:
            job.dy = &dy[0, 0]
            if dx is not None:
                self.set_dx(&job, dx)
        self.gradient(&job, params, grads, num_threads)

    def train_step(self, samples, const int[::1] labels not None, const float[::1] params not None,
                   float[::1] grads not None, int num_threads, str loss="cross_entropy", double smoothing=0,
                   const float[:, ::1] targets=None, const int64_t[::1] index=None, double scale=1,
                   const float[::1] offset=None, float[:, ::1] out=None, float[:, ::1] dx=None):
        """Forward, loss and backward in one sweep.

        Returns the mean loss and the number of samples whose largest output is at their label; grads becomes the
        gradient of the mean loss, out the outputs, dx the gradient of the input.
        """
        cdef Job job = self.template
        cdef Py_ssize_t tiles, tile, correct = 0, elements
        cdef double total = 0
        self.set_batch(&job, samples, index, scale, offset)
        if job.batch == 0:
            raise ValueError("a training step needs at least one sample")
        self.set_loss(&job, loss, smoothing, labels, targets)
        if out is not None:
            if out.shape[0] != job.batch or out.shape[1] != job.output_size:
                raise ValueError("out has the wrong size")
            job.out = &out[0, 0]
        if dx is not None:
            self.set_dx(&job, dx)
        job.forward_ops = job.op_count
        tiles = (job.batch + LANES - 1) // LANES
        job.tile_loss = <double*>malloc(tiles * sizeof(double))
        job.tile_correct = <Py_ssize_t*>malloc(tiles * sizeof(Py_ssize_t))
        try:
            if job.tile_loss is NULL or job.tile_correct is NULL:
                raise MemoryError("no memory for the losses of a batch")
            self.gradient(&job, params, grads, num_threads)
            for tile in range(tiles):
                total += job.tile_loss[tile]
                correct += job.tile_correct[tile]
        finally:
            free(job.tile_loss)
            free(job.tile_correct)
        elements = job.batch * (job.output_size if job.loss == MEAN_SQUARED_ERROR else 1)
        return total / elements, correct

    cdef set_dx(self, Job* job, float[:, ::1] dx):
        if dx.shape[0] != job.batch or dx.shape[1] != job.input_size:
            raise ValueError("dx has the wrong size")
        job.dx = &dx[0, 0]
        job.first_gradient = 0

    cdef set_loss(self, Job* job, str loss, double smoothing, const int[::1] labels, const float[:, ::1] targets):
        cdef Py_ssize_t i
        if labels.shape[0] != job.batch:
            raise ValueError(f"labels has {labels.shape[0]} values for a batch of {job.batch}")
        for i in range(job.batch):
            if not 0 <= labels[i] < job.output_size:
                raise ValueError(f"labels[{i}] is {labels[i]}, it should be 0 to {job.output_size - 1}")
        job.labels = &labels[0]
        job.smoothing = smoothing
        if loss == "cross_entropy":
            job.loss = CROSS_ENTROPY
            job.loss_scale = 1 / <double>job.batch
        elif loss == "mse":
            if targets is None or targets.shape[0] != job.batch or targets.shape[1] != job.output_size:
                raise ValueError(f"targets should have the shape ({job.batch}, {job.output_size})")
            job.loss = MEAN_SQUARED_ERROR
            job.targets = &targets[0, 0]
            job.loss_scale = 2 / (<double>job.batch * job.output_size)
        else:
            raise ValueError(f"loss is {loss!r}, it should be 'cross_entropy' or 'mse'")

    cdef gradient(self, Job* job, const float[::1] params, float[::1] grads, int num_threads):
        cdef Py_ssize_t tiles = (job.batch + LANES - 1) // LANES
        cdef Py_ssize_t size = self.param_extent
        cdef Py_ssize_t shard, chunk, chunks = (size + SUM_CHUNK - 1) // SUM_CHUNK
        cdef Py_ssize_t arena = 2 * job.arena_half
        cdef int threads
        cdef Workspace space
        cdef float* arenas
        cdef float* total = NULL
        if params.shape[0] < size or grads.shape[0] < size:
            raise ValueError("params or grads have the wrong size")
        if size > 0:
            job.params = &params[0]
            total = &grads[0]
            memset(total, 0, size * sizeof(float))
        if job.batch == 0:
            return
        job.shard_count = min(tiles, <Py_ssize_t>SHARDS)
        job.shard_stride = (size + LANES - 1) // LANES * LANES
        threads = self.thread_count(job.batch, num_threads, job.shard_count)
        # All shards are reserved whatever the batch: memory must not depend on it.
        space = self.workspace(SHARDS * job.shard_stride + threads * arena)
        job.shards = space.start
        arenas = space.start + SHARDS * job.shard_stride
        if threads == 1:
            with nogil:
                for shard in range(job.shard_count):
                    run_shard(job, shard, arenas)
                if size > 0:
                    job.kernels.sum_shards(job.shards, job.shard_count, job.shard_stride, 0, size, total)
        else:
            with nogil, parallel(num_threads=threads):
                for shard in prange(job.shard_count, schedule="dynamic", chunksize=1):
                    run_shard(job, shard, arenas + threadid() * arena)
                for chunk in prange(chunks, schedule="static"):
                    job.kernels.sum_shards(job.shards, job.shard_count, job.shard_stride, chunk * SUM_CHUNK,
                                           min((chunk + 1) * SUM_CHUNK, size), total)
        self.idle_workspaces.append(space)


KINDS = {"conv2d": CONV2D, "linear": LINEAR, "max_pool2d": MAX_POOL2D, "avg_pool2d": AVG_POOL2D, "relu": RELU,
         "sigmoid": SIGMOID, "tanh": TANH, "pad2d": PAD2D}


cdef bint needs_output(const Op* op) noexcept:
    """Whether an op's backward pass looks at its output."""
    return op.gate or op.kind in (MAX_POOL2D, RELU, SIGMOID, TANH)


cdef const TileKernels* table(capsule) except NULL:
    return <const TileKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.TileKernels")


def sgd(capsule, float[::1] params not None, const float[::1] grads not None, float[::1] velocity not None,
        double lr, double momentum, bint nesterov, double weight_decay):
    """One step of stochastic gradient descent; params and velocity are updated in place."""
    cdef const TileKernels* kernels = table(capsule)
    cdef Py_ssize_t size = params.shape[0]
    if grads.shape[0] != size or velocity.shape[0] != size:
        raise ValueError(f"params, grads and velocity have {size}, {grads.shape[0]} and {velocity.shape[0]} values")
    if size > 0:
        with nogil:
            kernels.sgd(&params[0], &grads[0], &velocity[0], size, lr, momentum, nesterov, weight_decay)


def adam(capsule, float[::1] params not None, const float[::1] grads not None, float[::1] m not None,
         float[::1] v not None, double lr, double beta1, double beta2, double eps, double correction1,
         double correction2, double weight_decay, bint decoupled):
    """One step of Adam; params and the running means m and v are updated in place."""
    cdef const TileKernels* kernels = table(capsule)
    cdef Py_ssize_t size = params.shape[0]
    if grads.shape[0] != size or m.shape[0] != size or v.shape[0] != size:
        raise ValueError("params, grads, m and v should have equally many values")
    if size > 0:
        with nogil:
            kernels.adam(&params[0], &grads[0], &m[0], &v[0], size, lr, beta1, beta2, eps, correction1, correction2,
                         weight_decay, decoupled)


def burst(capsule, Py_ssize_t rounds, int num_threads):
    """Keep each of some threads busy with multiply-adds alone; returns the floating-point operations done by all."""
    cdef const TileKernels* kernels = table(capsule)
    cdef float results[64]
    cdef int thread, threads = max(1, min(num_threads, 64))
    cdef double operations = 0
    for thread in prange(threads, schedule="static", chunksize=1, num_threads=threads, nogil=True):
        operations += kernels.burst(rounds, &results[thread])
    return operations
