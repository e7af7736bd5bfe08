"""Programs: a model's ops, run tile by tile over a batch, forward and backward, on the threads of
one OpenMP region.

Memory is threads x one tile and a fixed number of records, whatever the batch. The bits do not
depend on the number of threads or on who ran what. job.pxi: what is done to a tile and to a shard
of tiles. team.pxi: how threads share it out; stages.pxi: the same with batch normalization;
ranks.pxi: what processes share. settings.pxi: what Python objects say of ops and loss.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport isfinite, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from lenet5c.kernels.ops._distort cimport Warp
from lenet5c.kernels.engine.shards cimport SHARD_TILES, SHARDS
from lenet5c.kernels.engine._update cimport Update, UpdateSteps, apply_update
from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport (
    CROSS_ENTROPY, LANES, LINEAR_BLOCK, MAXIMUM_A_POSTERIORI, MAXIMUM_LIKELIHOOD, MEAN, MEAN_DY,
    MEAN_SHARE, MEAN_SQUARED_ERROR, NEGATIVE_LOG_LIKELIHOOD, SCALE, STATISTICS, THREAD_WORK,
    DirectSum, Distort, Loss, Op, OpKernels, RowProduct, TileKernels, find_op, merge_moments,
    pooled_plane, round_up, sample_key, spread_filters, useful_threads)

from lenet5c.kernels.engine.samples import Samples
from lenet5c.kernels.threads import effective

cdef enum:
    FEW_SAMPLES_ = 5
    GROUP = 3     # samples that a product of few rows takes together, see direct/products.pxi

# Maximum number of samples run one by one: a tile takes about as long as five in training, and as
# eight in inference; but forward must have the bits of a training step.
FEW_SAMPLES = FEW_SAMPLES_
TILE_LANES = LANES
LINEAR_OUTPUTS = LINEAR_BLOCK

include "lenet5c/kernels/canary.pxi"
include "job.pxi"
include "ranks.pxi"
include "team.pxi"
include "shared_team.pxi"
include "stages.pxi"
include "sample.pxi"
include "sample_training.pxi"
include "settings.pxi"

cdef enum:
    # maximum memory in floats for records of more than one tile each
    SAVED_FLOATS = 1 << 24
    # approximate number of elementary operations per output of a loss
    LOSS_WORK = 40


cdef Workspace take_workspace(list idle, Py_ssize_t floats):
    """Return an idle workspace of at least this size, or a new one."""
    cdef Workspace space
    try:
        space = idle.pop()
    except IndexError:
        return Workspace(floats)
    return space if space.floats >= floats else Workspace(floats)


cdef class Program:
    """A lowered model, ready to run.

    `plan` comes from `lowering.lower`. All arrays are checked by the caller except for what could
    reach outside memory, which is checked here: sizes of params, grads, out, dy, dx and the range
    of index and labels.
    """
    cdef Op* ops                   # then those of inference
    cdef Py_ssize_t inference_count
    cdef Slice* slices
    cdef Py_ssize_t slice_count
    cdef Segment* segments
    cdef Py_ssize_t parts_scratch
    cdef Py_ssize_t segment_count
    cdef SampleChain sample_chain      # of training steps
    cdef SampleChain inference_chain   # the same bits, and nothing for a gradient
    cdef Job template
    cdef float* zeros
    cdef double work
    cdef Py_ssize_t* cuts
    cdef list idle_workspaces, gaps, held
    cdef list idle_filters  # workspaces of `forward_samples`, with packed filters
    cdef readonly list counters  # of the passes with masks, of each dropout
    cdef object capsule
    cdef readonly tuple input_shape, output_shape
    cdef readonly Py_ssize_t param_extent
    cdef readonly bint by_sample
    cdef readonly Py_ssize_t few   # samples that `Inference` takes one by one

    def __cinit__(self, plan, capsule):
        cdef Py_ssize_t i
        cdef Op* op
        cdef Job* job = &self.template
        self.capsule = capsule
        self.idle_workspaces, self.idle_filters = [], []
        self.gaps = plan.gaps
        self.held, self.counters = [], []
        self.input_shape = plan.input_shape
        self.output_shape = plan.output_shape
        self.param_extent = plan.param_extent
        # A loss alone computes exponentials.
        self.work = plan.work if plan.ops else LOSS_WORK * plan.output_size
        memset(job, 0, sizeof(Job))
        job.kernels = <const TileKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.TileKernels")
        job.op_count = len(plan.ops)
        job.arena_half = plan.arena_floats + CANARY_FLOATS
        job.sums_size = plan.sums_floats
        job.input_size = plan.input_size
        job.output_size = plan.output_size
        job.output = plan.output
        job.first_gradient = plan.first_trainable
        job.penalties, job.branches = plan.penalties, plan.branches
        self.slice_count, self.inference_count = len(plan.slices), len(plan.inference_ops)
        self.ops = <Op*>calloc(max(job.op_count + self.inference_count, 1), sizeof(Op))
        self.slices = <Slice*>calloc(max(self.slice_count, 1), sizeof(Slice))
        self.segment_count = len(plan.segments)
        self.segments = <Segment*>calloc(max(self.segment_count, 1), sizeof(Segment))
        self.zeros = <float*>calloc(job.output_size, sizeof(float))
        self.cuts = <Py_ssize_t*>calloc(max(job.op_count, 1), sizeof(Py_ssize_t))
        if (self.ops is NULL or self.slices is NULL or self.segments is NULL or self.zeros is NULL
                or self.cuts is NULL):
            raise MemoryError("no memory for a program")
        job.ops, job.zeros, job.cuts = self.ops, self.zeros, self.cuts
        for i in range(job.op_count):
            op = self.ops + i
            set_op(op, plan.ops[i], job.kernels, self.held)
            if op.batch_stats:
                self.cuts[job.cut_count] = i
                job.cut_count += 1
            if op.draws:
                self.counters.append(plan.ops[i].counter)
            op.saved = job.saved_stride
            if op.kernels.saved_floats is not NULL:
                job.saved_stride += op.kernels.saved_floats(op)
        for i in range(self.inference_count):
            set_op(self.ops + job.op_count + i, plan.inference_ops[i], job.kernels, self.held)
        for i in range(job.op_count + self.inference_count):
            job.scratch_floats = max(job.scratch_floats, scratch_of(self.ops + i))
        job.saved_stride += CANARY_FLOATS
        job.scratch_floats += CANARY_FLOATS
        for i in range(self.slice_count):
            linear, start, size, sums = plan.slices[i]
            self.slices[i].linear = NULL if linear is None else self.ops + <Py_ssize_t>linear
            self.slices[i].start, self.slices[i].size, self.slices[i].sums = start, size, sums
        self.parts_scratch = CANARY_FLOATS + set_segments(
            self.segments, plan.segments, self.ops + job.op_count)
        if plan.sample is not None:
            self.by_sample = set_sample_chain(
                &self.sample_chain, plan.sample, self.template.kernels, self.held)
            self.by_sample = self.by_sample and set_sample_chain(
                &self.inference_chain, plan.inference, self.template.kernels, self.held)
            self.few = plan.inference.few

    def __dealloc__(self):
        free_sample_chain(&self.sample_chain)
        free_sample_chain(&self.inference_chain)
        free(self.ops)
        free(self.slices)
        free(self.segments)
        free(self.zeros)
        free(self.cuts)

    cdef set_batch(self, Job* job, samples):
        """Point job at a batch: rows (N, input_size) of float32, or `Samples`.

        Returns the objects that job points into; the caller must keep references.
        """
        cdef const int64_t[::1] index = None, numbers = None
        cdef const float[::1] offset = None
        cdef const unsigned char[:, ::1] bytes
        cdef const float[:, ::1] floats
        cdef Py_ssize_t available, i, width, places
        images, distortion = samples, None
        if isinstance(samples, Samples):
            images, distortion, job.scale = samples.rows, samples.distortion, samples.scale
            index, numbers, offset = samples.index, samples.numbers, samples.offset
        if images.dtype.kind == "u":  # faster than comparing the dtype
            bytes = images
            available, width = bytes.shape[0], bytes.shape[1]
            if offset is None or offset.shape[0] != job.input_size:
                raise ValueError(
                    f"offset must have {job.input_size} values, one for each input pixel")
            job.offset = &offset[0]
            job.bytes = &bytes[0, 0] if available > 0 else NULL
        else:
            floats = images
            available, width = floats.shape[0], floats.shape[1]
            job.floats = &floats[0, 0] if available > 0 else NULL
        places = max(job.loss.inner, <Py_ssize_t>1)
        if places > 1 and (job.floats is NULL or job.op_count > 0 or index is not None):
            raise ValueError("places must be 1 for samples of uint8 and for programs with ops")
        if width % places != 0 or width // places != job.input_size:
            raise ValueError(
                f"samples must have {job.input_size} values at each of {places} places, got {width}"
                if places > 1 else
                f"samples must have {job.input_size} values each, got {width}")
        job.batch = available * places
        if index is not None:
            job.batch = index.shape[0]
            for i in range(job.batch):
                if not 0 <= index[i] < available:
                    raise IndexError(f"index must be 0 to {available - 1}, got {index[i]} at {i}")
            job.index = &index[0] if job.batch > 0 else NULL
        if numbers is not None:
            if numbers.shape[0] != available:
                raise ValueError(f"numbers must have length {available}, got {numbers.shape[0]}")
            job.numbers = &numbers[0] if available > 0 else NULL
        return samples, images, set_distort(job, self.input_shape, distortion)

    cdef count_draws(self, Py_ssize_t steps):
        for counter in self.counters:
            counter[0] += steps

    cdef check_values(self, Py_ssize_t samples):
        """Raise an error if the batch has no variance."""
        cdef Py_ssize_t i
        for i in range(self.template.cut_count):
            if samples * self.ops[self.cuts[i]].H * self.ops[self.cuts[i]].W < 2:
                raise ValueError(
                    "x must have more than one value per channel in training, for batch "
                    f"normalization, got {samples}")

    cdef int thread_count(self, Py_ssize_t batch, int wanted, Py_ssize_t parts):
        """Return the number of threads for this number of parts and this amount of work."""
        return useful_threads(batch * self.work, wanted, parts)

    cdef Workspace workspace(self, Py_ssize_t floats):
        """Return an idle workspace of at least this size, or a new one, for give_back."""
        return take_workspace(self.idle_workspaces, floats)

    cdef give_back(self, Workspace space):
        self.idle_workspaces.append(space)
        raise_overrun()

    def forward(self, samples, const float[::1] params not None, float[:, ::1] out not None,
                int num_threads, bint by_sample=False, bint share=False):
        """out (N, output_size) = the outputs of the batch.

        With by_sample, a few samples are run one by one, which is faster and differs from a tile in
        the last digits. This applies to all methods: a training step has the bits of forward and
        backward. With share, threads may share a sample. A program with batch statistics or
        dropouts makes a training pass: it takes the batch into the running statistics, and counts
        the masks. Returns the numbers of those it has drawn, for `backward`.
        """
        cdef Job job = self.template
        held = self.set_batch(&job, samples)
        if (params.shape[0] < self.param_extent or out.shape[0] != job.batch
                or out.shape[1] != job.output_size):
            raise ValueError("params and out must have the sizes of the program")
        self.check_values(job.batch)
        draws = set_draws(&job, self.counters, None)
        if job.batch == 0:
            return draws
        job.params = <float*>&params[0] if params.shape[0] > 0 else NULL
        job.out = &out[0, 0]
        forward_batch(self, &job, num_threads, FEW_SAMPLES_ if by_sample else 0, share)
        self.count_draws(1)
        return draws

    def backward(self, samples, const float[:, ::1] dy not None, const float[::1] params not None,
                 float[::1] grads not None, float[:, ::1] dx, int num_threads,
                 bint by_sample=False, draws=None):
        """grads = the parameters' gradient, dx (N, input_size), unless it is None, the input's.

        draws is what `forward` returned.
        """
        cdef Job job = self.template
        cdef const Op* last
        cdef UpdateSteps none
        cdef double loss = 0
        cdef Py_ssize_t correct = 0
        if self.counters and draws is None:
            raise ValueError("draws must be those of the forward pass, got None")
        held = self.set_batch(&job, samples), set_draws(&job, self.counters, draws)
        if dy.shape[0] != job.batch or dy.shape[1] != job.output_size:
            raise ValueError("dy must have the shape of the output")
        job.forward_ops = job.op_count
        if job.op_count > 0:
            last = self.ops + job.op_count - 1
            if not (last.kernels.reads_y or last.mask or last.pool):
                job.forward_ops -= 1
        if job.batch > 0:
            job.dy = &dy[0, 0]
            if dx is not None:
                set_dx(&job, dx)
        memset(&none, 0, sizeof(UpdateSteps))
        self.run(&job, max(job.batch, <Py_ssize_t>1), 1, params, grads, &none, num_threads, &loss,
                 &correct, by_sample)

    def train_step(self, samples, const int[::1] labels, const float[::1] params not None,
                   float[::1] grads not None, int num_threads, str loss="cross_entropy",
                   double setting=0, const float[:, ::1] targets=None, float[:, ::1] out=None,
                   float[:, ::1] dx=None, bint by_sample=False,
                   const float[::1] class_weight=None, const float[::1] sample_weight=None,
                   ignore_index=None, bint mean=True, double[::1] losses=None,
                   bint count=True, Py_ssize_t inner=1):
        """Forward, loss and backward in one sweep.

        Returns the loss and, to `count`, the number of samples of the right class, else 0; grads
        becomes the gradient of the loss, out the outputs, dx the gradient of the input, losses the
        loss of each sample. The loss is the mean, by the weights of samples and of their classes,
        or the sum. Samples whose label is ignore_index are left out, as are those of weight 0. Of a
        program of no ops, the samples may be `inner` places of maps (N, K inner), and so are dx and
        targets. Targets need no labels, but to count.
        """
        cdef Job job = self.template
        cdef UpdateSteps none
        cdef Py_ssize_t correct = 0
        cdef double total = 0
        job.loss.inner, job.counts = inner, count
        held = self.set_batch(&job, samples), set_draws(&job, self.counters, None)
        if job.batch == 0:
            raise ValueError("x must have at least one sample in a training step")
        self.check_values(job.batch)
        held_too = set_loss(&job, loss, setting, labels, targets, class_weight, sample_weight,
                            ignore_index, mean, job.batch, losses)
        if out is not None:
            if out.shape[0] != job.batch or out.shape[1] != job.output_size:
                raise ValueError("out must have the shape of the output")
            job.out = &out[0, 0]
        if dx is not None:
            set_dx(&job, dx)
        job.forward_ops = job.op_count
        memset(&none, 0, sizeof(UpdateSteps))
        self.run(&job, job.batch, 1, params, grads, &none, num_threads, &total, &correct, by_sample)
        self.count_draws(1)
        return total / divisor_of(&job, 0, job.batch), correct

    def loss(self, samples, const int[::1] labels, int num_threads, str loss,
             double setting=0, const float[:, ::1] targets=None,
             const float[::1] class_weight=None, const float[::1] sample_weight=None,
             ignore_index=None, bint mean=True, double[::1] losses=None, Py_ssize_t inner=1):
        """The loss of outputs, by a program of no ops; a few samples as in `train_step`."""
        cdef Job job = self.template
        cdef UpdateSteps none
        cdef float[::1] nothing = np.empty(0, np.float32)
        cdef Py_ssize_t correct = 0
        cdef double total = 0
        if job.op_count > 0:
            raise ValueError(f"the program must have no ops, got {job.op_count}")
        job.loss.inner = inner
        held = self.set_batch(&job, samples)
        if job.batch == 0:
            raise ValueError("x must have at least one sample for a loss")
        held_too = set_loss(&job, loss, setting, labels, targets, class_weight, sample_weight,
                            ignore_index, mean, job.batch, losses)
        job.value_only = True
        memset(&none, 0, sizeof(UpdateSteps))
        self.run(&job, job.batch, 1, nothing, nothing, &none, num_threads, &total, &correct, True)
        return total / divisor_of(&job, 0, job.batch)

    def train_steps(self, samples, const int[::1] labels not None, float[::1] params not None,
                    float[::1] grads not None, int num_threads, Py_ssize_t batch_size,
                    Update update not None, record, str loss="cross_entropy", double setting=0,
                    const float[:, ::1] targets=None, bint by_sample=False,
                    const float[::1] class_weight=None, const float[::1] sample_weight=None,
                    ignore_index=None, bint mean=True, ranks=None):
        """Take as many steps as record.losses has elements: `train_step`, then an update.

        record.losses receives the loss of each step. A step whose loss is not finite is the
        last and moves nothing. record.taken and record.correct become the number of steps taken,
        that one not counted, and of correct answers in them: before anything can interrupt this.
        Of `ranks`, `lenet5c.training.parallel.Ranks` of several processes, each computes some shards.
        """
        cdef Job job = self.template
        cdef double[::1] losses = record.losses
        cdef Py_ssize_t step, steps = losses.shape[0], taken = 0, right = 0
        cdef Py_ssize_t* correct
        held = self.set_batch(&job, samples), set_draws(&job, self.counters, None)
        if job.batch < 1 or batch_size < 1 or steps != (job.batch - 1) // batch_size + 1:
            raise ValueError(f"losses must have one value for each batch of {batch_size} of the "
                             f"{job.batch} samples, got {steps}")
        self.check_values(min(batch_size, job.batch - (steps - 1) * batch_size))
        held_too = set_loss(&job, loss, setting, labels, targets, class_weight, sample_weight,
                            ignore_index, mean, batch_size, None)
        for step in range(steps):
            if divisor_of(&job, step, 1) == 0:
                raise ValueError(
                    f"weights must be greater than 0 for a sample of each batch, got 0 for all from "
                    f"{step * batch_size} to {min(job.batch, (step + 1) * batch_size) - 1}; leave "
                    "them out")
        if update.size != params.shape[0] or update.steps != steps:
            raise ValueError(
                f"update must have {params.shape[0]} parameters and {steps} steps, got "
                f"{update.size} and {update.steps}")
        job.forward_ops, job.counts = job.op_count, True
        correct = <Py_ssize_t*>calloc(steps, sizeof(Py_ssize_t))
        if correct is NULL:
            raise MemoryError("no memory for the counts of the steps")
        try:
            losses[:] = 0
            self.run(&job, batch_size, steps, params, grads, &update.run, num_threads, &losses[0],
                     correct, by_sample, ranks)
            for step in range(steps):
                losses[step] /= divisor_of(&job, step,
                                           min(batch_size, job.batch - step * batch_size))
                if not isfinite(losses[step]):
                    break
                taken += 1
                right += correct[step]
            self.count_draws(min(taken + 1, steps))
        finally:
            free(correct)
        record.taken, record.correct = taken, right

    cdef run(self, Job* job, Py_ssize_t batch_size, Py_ssize_t steps, const float[::1] params,
             float[::1] grads, const UpdateSteps* update, int num_threads, double* loss,
             Py_ssize_t* correct, bint by_sample, ranks=None):
        """Take the job through its steps: gradients into grads, and the update, if there is one."""
        cdef Py_ssize_t i, last = job.batch - (steps - 1) * batch_size
        if params.shape[0] < self.param_extent or grads.shape[0] < self.param_extent:
            raise ValueError("params and grads must have the size of the program")
        for start, stop in self.gaps:
            for i in range(start, stop):
                grads[i] = 0
        if self.param_extent > 0:
            job.params = <float*>&params[0]
        if job.batch == 0:
            grads[:self.param_extent] = 0
            return
        by_sample = by_sample and self.by_sample and job.loss.inner <= 1
        if by_sample and batch_size <= FEW_SAMPLES_:
            run_by_sample(self, job, batch_size, 0, steps, grads, update, loss, correct)
        elif by_sample and last <= FEW_SAMPLES_:
            # Each batch chooses for itself, also after larger ones.
            job.batch -= last
            if steps > 1:
                run_in_tiles(self, job, batch_size, steps - 1, grads, update, num_threads, loss,
                             correct, ranks)
            job.batch += last
            if update.kernel is NULL or are_finite(loss, steps - 1):
                run_by_sample(self, job, batch_size, steps - 1, steps, grads, update, loss, correct)
        elif job.cut_count > 0:
            run_in_stages(self, job, batch_size, steps, grads, update, num_threads, loss, correct,
                          True, ranks)
        else:
            run_in_tiles(self, job, batch_size, steps, grads, update, num_threads, loss, correct,
                         ranks)


include "parts.pxi"
include "run.pxi"
include "inference.pxi"
