# Conversion of the Python objects of a program to C structures, with checks.

STEP_KINDS = {"tile": STEP_TILE, "sample": STEP_SAMPLE, "conv2d": STEP_CONV2D,
              "linear": STEP_LINEAR, "channels": STEP_CHANNELS, "blocked": STEP_BLOCKED,
              "plain": STEP_PLAIN}


cdef set_op(Op* op, o, const TileKernels* kernels, list held):
    """Fill in an op from an `ops.Op`; the arrays that it points into join those held."""
    cdef const Py_ssize_t[::1] connections
    cdef const float[:, ::1] codes
    cdef bytes kind = o.kind.encode()
    op.kernels = find_op(kernels, kind)
    if op.kernels is NULL:
        raise ValueError(f"kind must be an op of the kernels, got {o.kind!r}")
    op.C, op.H, op.W = o.in_shape
    op.O, op.OH, op.OW = o.inner_shape
    op.KH, op.KW = getattr(o, "kernel_size", (1, 1))
    op.SH, op.SW = getattr(o, "stride", (1, 1))
    op.PH, op.PW = getattr(o, "padding", (0, 0))
    op.EH, op.EW = getattr(o, "padded_end", (0, 0))
    op.DH, op.DW = getattr(o, "dilation", (1, 1))
    op.groups, op.definition = getattr(o, "groups", 1), getattr(o, "definition", False)
    op.relu, op.mask, op.pool = o.relu, getattr(o, "mask", False), o.pool
    op.average = getattr(o, "average", False)
    op.outputs_only = getattr(o, "outputs_only", False)
    op.count_pad = getattr(o, "count_include_pad", False)
    op.has_bias = getattr(o, "bias", None) is not None
    op.x, op.y, op.argmax = o.x, o.y, getattr(o, "argmax", 0)
    op.other, op.branches = getattr(o, "other", 0), getattr(o, "branches", False)
    op.weight, op.bias = getattr(o, "weight", 0), getattr(o, "bias", None) or 0
    op.dweight, op.dbias = getattr(o, "dweight", 0), getattr(o, "dbias", 0)
    constants = getattr(o, "constants", ())
    if len(constants) > 2:
        raise ValueError(f"constants must have at most two values, got {len(constants)}")
    for i, constant in enumerate(constants):
        op.constants[i] = constant
    if getattr(o, "connections", None) is not None:
        connections = o.connections
        op.connections, op.connection_count = &connections[0], connections.shape[0]
        held.append(connections)
    if hasattr(o, "given"):
        op.given = o.given
    if hasattr(o, "batch_stats"):
        set_batch_norm(op, o, held)
    if hasattr(o, "counter"):
        op.draws, op.draw, op.seed = True, o.draw, o.seed
        op.threshold, op.constants[0] = <uint32_t>(o.p * 4294967296.), 1 / (1 - <double>o.p)
    if hasattr(o, "codes"):
        codes = o.codes
        if codes.shape[0] != op.O or codes.shape[1] != op.C:
            raise ValueError(
                f"codes must have the shape ({op.O}, {op.C}), got ({codes.shape[0]}, {codes.shape[1]})")
        op.codes = &codes[0, 0]
        held.append(codes)


cdef set_batch_norm(Op* op, o, list held):
    cdef float[::1] mean = o.running_mean, var = o.running_var
    cdef int64_t[::1] tracked = o.tracked.reshape(1)
    if mean.shape[0] != op.C or var.shape[0] != op.C:
        raise ValueError(
            f"running mean and variance must have {op.C} values, got {mean.shape[0]} and "
            f"{var.shape[0]}")
    op.running_mean, op.running_var, op.tracked = &mean[0], &var[0], &tracked[0]
    op.batch_stats, op.eps, op.momentum = o.batch_stats, o.eps, o.momentum
    held += [mean, var, tracked]


cdef set_segment(Segment* segment, tuple planned):
    segment.first, segment.stop, segment.outputs, segment.least = planned


cdef Py_ssize_t set_segments(Segment* segments, list planned, const Op* ops) except -1:
    """Return the maximum scratch of a part of a segment."""
    cdef Py_ssize_t i, scratch = 0
    for i in range(len(planned)):
        set_segment(segments + i, planned[i])
        scratch = max(scratch, parts_scratch(ops, segments + i))
    return scratch


def statistics_floats(Py_ssize_t channels):
    """Return the floats of an arena for the batch statistics of batch normalization."""
    return round_up(LANES + STATISTICS * channels)


cdef set_dx(Job* job, float[:, ::1] dx):
    cdef Py_ssize_t places = max(job.loss.inner, <Py_ssize_t>1)
    if dx.shape[0] * places != job.batch or dx.shape[1] != job.input_size * places:
        raise ValueError("dx must have the shape of the input")
    job.dx = &dx[0, 0]
    job.first_gradient = 0


cdef set_distort(Job* job, tuple input_shape, distort):
    """Distort samples of bytes by the `warp` and the `stream` of seed and epoch."""
    cdef Warp warp
    if distort is None:
        return None
    if job.bytes is NULL or len(input_shape) != 3:
        raise ValueError("samples must be images (C, H, W) of uint8 to be distorted")
    warp = <Warp?>distort.warp
    job.distorts = True
    job.distort = warp.of(input_shape[0], input_shape[1], input_shape[2])
    job.stream = distort.stream
    job.scratch_floats = max(job.scratch_floats,
                             job.kernels.distort_tile_floats(&job.distort) + CANARY_FLOATS)
    return warp


cdef set_draws(Job* job, list counters, draws):
    """Set the numbers of the dropout masks of a job: the next ones, or those given.

    Returns them; the caller must keep a reference.
    """
    cdef const int64_t[::1] numbers
    if not counters:
        return None
    if draws is None:
        draws = np.array([int(counter[0]) for counter in counters], np.int64)
    numbers = draws
    if numbers.shape[0] != len(counters):
        raise ValueError(f"draws must have {len(counters)} values, one for each dropout, got "
                         f"{numbers.shape[0]}")
    job.draws = &numbers[0]
    return draws


# Kind of each loss, and the factor of its gradient.
LOSS_KINDS = {"cross_entropy": (CROSS_ENTROPY, 1), "mse": (MEAN_SQUARED_ERROR, 2),
              "mle": (MAXIMUM_LIKELIHOOD, 1), "map": (MAXIMUM_A_POSTERIORI, 1),
              "nll": (NEGATIVE_LOG_LIKELIHOOD, 1)}


cdef set_loss(Job* job, str name, double setting, const int[::1] labels,
              const float[:, ::1] targets, const float[::1] class_weight,
              const float[::1] sample_weight, ignore_index, bint mean, Py_ssize_t batch_size,
              double[::1] losses):
    """Set the loss and the targets of a job; ignored samples get the weight 0.

    Returns the objects that job points into; the caller must keep references.
    """
    cdef Py_ssize_t i, K = job.output_size
    cdef Loss* loss = &job.loss
    cdef Py_ssize_t places = max(loss.inner, <Py_ssize_t>1)
    cdef bint ignores = ignore_index is not None, found = False
    cdef int ignored = ignore_index if ignores else 0
    cdef double weight
    cdef double[::1] divisors
    if name not in LOSS_KINDS:
        raise ValueError(f"loss must be one of {', '.join(LOSS_KINDS)}, got {name!r}")
    loss.kind, job.loss_factor = LOSS_KINDS[name]
    loss.setting = setting
    if labels is None and (targets is None or job.counts or loss.kind not in (
            CROSS_ENTROPY, MEAN_SQUARED_ERROR)):
        raise ValueError("labels must be given for this loss and to count correct answers")
    if labels is not None and labels.shape[0] != job.batch:
        raise ValueError(f"labels must have {job.batch} values, got {labels.shape[0]}")
    for i in range(job.batch if labels is not None else 0):
        if ignores and labels[i] == ignored:
            found = True
        elif not 0 <= labels[i] < K:
            raise ValueError(f"labels must be 0 to {K - 1}, got {labels[i]} at {i}")
    if targets is None and loss.kind == MEAN_SQUARED_ERROR or targets is not None and (
            targets.shape[0] * places != job.batch or targets.shape[1] != K * places):
        raise ValueError(f"targets must have the shape ({job.batch // places}, {K * places})")
    if class_weight is not None and class_weight.shape[0] != K:
        raise ValueError(f"class_weight must have {K} values, got {class_weight.shape[0]}")
    if sample_weight is not None and sample_weight.shape[0] != job.batch:
        raise ValueError(
            f"sample_weight must have {job.batch} values, got {sample_weight.shape[0]}")
    if losses is not None:
        if losses.shape[0] != job.batch:
            raise ValueError(f"losses must have {job.batch} values, got {losses.shape[0]}")
        job.losses = &losses[0]
    if found:
        left = (np.asarray(labels) != ignored).astype(np.int32)
        labels = left * np.asarray(labels)
        weights = left if sample_weight is None else left * np.asarray(sample_weight)
        sample_weight = weights.astype(np.float32)
    if labels is not None:
        loss.labels = &labels[0]
    if targets is not None:
        loss.targets = &targets[0, 0]
    if class_weight is not None:
        loss.class_weight = &class_weight[0]
    if sample_weight is not None:
        loss.sample_weight = &sample_weight[0]
    job.loss_terms = K if loss.kind == MEAN_SQUARED_ERROR else 1
    if mean and sample_weight is None and (class_weight is None or targets is not None):
        return labels, sample_weight
    divisors = np.full((job.batch - 1) // batch_size + 1, 0. if mean else 1.)
    job.divisors = &divisors[0]
    for i in range(job.batch if mean else 0):
        weight = 1 if sample_weight is None else sample_weight[i]
        if class_weight is not None and targets is None:
            weight *= class_weight[labels[i]]
        divisors[i // batch_size] += weight * job.loss_terms
    return labels, sample_weight, divisors


cdef Py_ssize_t most_elements() noexcept nogil:
    """Return `lenet5c.kernels.shapes.MAX_ELEMENTS`, the maximum size of an array."""
    return <Py_ssize_t>1 << (40 if sizeof(Py_ssize_t) == 8 else 23)


def kernels_read(capsule, str kind):
    """Return two flags: the backward kernel reads the op's input, and its output."""
    cdef bytes name = kind.encode()
    cdef const OpKernels* kernels = find_op(
        <const TileKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.TileKernels"), name)
    if kernels is NULL:
        raise ValueError(f"kind must be an op of the kernels, got {kind!r}")
    return bool(kernels.reads_x), bool(kernels.reads_y)


cdef bint set_sample_chain(SampleChain* chain, plan, const TileKernels* kernels, list held) except -1:
    """Fill in the steps of single samples; False if they cannot."""
    cdef Py_ssize_t i
    cdef Step* step
    chain.steps = <Step*>calloc(max(len(plan.steps), 1), sizeof(Step))
    if chain.steps is NULL:
        raise MemoryError("no memory for a program")
    chain.count = len(plan.steps)
    chain.segment_count = len(plan.segments)
    chain.segments = <Segment*>calloc(max(chain.segment_count, 1), sizeof(Segment))
    if chain.segments is NULL:
        raise MemoryError("no memory for a program")
    for i in range(chain.segment_count):
        set_segment(chain.segments + i, plan.segments[i])
    chain.output, chain.arena_floats = plan.output, plan.arena_floats + CANARY_FLOATS
    chain.first_trainable = plan.first_trainable
    for i in range(chain.count):
        planned = plan.steps[i]
        step = chain.steps + i
        step.kind = STEP_KINDS[planned.kind]
        set_op(&step.op, planned.op, kernels, held)
        step.op.x, step.op.y = planned.x, planned.y
        step.blocked = planned.blocked
        step.packed, step.training = chain.packed_floats, chain.training_floats
        step.packed_from = chain.copied_floats
        chain.copied_floats += copied_floats(step)
        chain.packed_floats += packed_floats(step) + CANARY_FLOATS
        chain.training_floats += training_floats(step) + CANARY_FLOATS
    if chain.arena_floats + chain.packed_floats + chain.training_floats > most_elements():
        # Spread out, the gradient of a strided or dilated convolution may be far larger than a
        # tile.
        chain.count = 0
        return False
    for i in range(chain.count):
        if chain.steps[i].kind == STEP_CONV2D and not set_offsets(chain.steps + i):
            raise MemoryError("no memory for a program")
    return True


cdef void free_sample_chain(SampleChain* chain) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(chain.count if chain.steps is not NULL else 0):
        free(chain.steps[i].taps)
        free(chain.steps[i].pixels)
        free(chain.steps[i].inputs)
        free(chain.steps[i].spread_taps)
        free(chain.steps[i].spread_pixels)
    free(chain.steps)
    free(chain.segments)
