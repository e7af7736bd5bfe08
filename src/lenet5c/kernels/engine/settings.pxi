# What the Python objects of a program say, checked and put into the structures that its run reads.

STEP_KINDS = {"tile": STEP_TILE, "sample": STEP_SAMPLE, "conv2d": STEP_CONV2D,
              "linear": STEP_LINEAR, "subsample2d": STEP_SUBSAMPLE2D, "blocked": STEP_BLOCKED,
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
    op.count_pad = getattr(o, "count_include_pad", False)
    op.has_bias = getattr(o, "bias", None) is not None
    op.x, op.y, op.argmax = o.x, o.y, getattr(o, "argmax", 0)
    op.weight, op.bias = getattr(o, "weight", 0), getattr(o, "bias", None) or 0
    op.dweight, op.dbias = getattr(o, "dweight", 0), getattr(o, "dbias", 0)
    constants = getattr(o, "constants", ())
    if len(constants) > 2:
        raise ValueError(f"constants must be two at most, got {len(constants)}")
    for i, constant in enumerate(constants):
        op.constants[i] = constant
    if getattr(o, "connections", None) is not None:
        connections = o.connections
        op.connections, op.connection_count = &connections[0], connections.shape[0]
        held.append(connections)
    if hasattr(o, "codes"):
        codes = o.codes
        if codes.shape[0] != op.O or codes.shape[1] != op.C:
            raise ValueError(
                f"codes has the shape ({codes.shape[0]}, {codes.shape[1]}), not ({op.O}, {op.C})")
        op.codes = &codes[0, 0]
        held.append(codes)


cdef set_dx(Job* job, float[:, ::1] dx):
    if dx.shape[0] != job.batch or dx.shape[1] != job.input_size:
        raise ValueError("dx has the wrong size")
    job.dx = &dx[0, 0]
    job.first_gradient = 0


cdef set_loss(Job* job, str loss, double setting, const int[::1] labels,
              const float[:, ::1] targets):
    cdef Py_ssize_t i
    if labels.shape[0] != job.batch:
        raise ValueError(f"labels has {labels.shape[0]} values for a batch of {job.batch}")
    for i in range(job.batch):
        if not 0 <= labels[i] < job.output_size:
            raise ValueError(f"labels must be 0 to {job.output_size - 1}, got {labels[i]} at {i}")
    job.labels = &labels[0]
    job.setting = setting
    if loss == "cross_entropy":
        job.loss = CROSS_ENTROPY
        job.loss_factor, job.loss_terms = 1, 1
    elif loss == "mse":
        if targets is None or targets.shape[0] != job.batch or targets.shape[1] != job.output_size:
            raise ValueError(f"targets should have the shape ({job.batch}, {job.output_size})")
        job.loss = MEAN_SQUARED_ERROR
        job.targets = &targets[0, 0]
        job.loss_factor, job.loss_terms = 2, job.output_size
    elif loss in ("mle", "map"):
        job.loss = MAXIMUM_LIKELIHOOD if loss == "mle" else MAXIMUM_A_POSTERIORI
        job.loss_factor, job.loss_terms = 1, 1
    else:
        raise ValueError(f"loss must be 'cross_entropy', 'mse', 'mle' or 'map', got {loss!r}")
