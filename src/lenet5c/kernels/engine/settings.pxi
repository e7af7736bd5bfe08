# What the Python objects of a program say, checked and put into the structures that its run reads.

KINDS = {"conv2d": CONV2D, "linear": LINEAR, "max_pool2d": MAX_POOL2D, "avg_pool2d": AVG_POOL2D,
         "relu": RELU, "sigmoid": SIGMOID, "tanh": TANH, "scaled_tanh": SCALED_TANH,
         "pad2d": PAD2D, "subsample2d": SUBSAMPLE2D, "rbf": RBF}
STEP_KINDS = {"tile": STEP_TILE, "conv2d": STEP_CONV2D, "linear": STEP_LINEAR, "pad2d": STEP_PAD2D,
              "blocked": STEP_BLOCKED, "plain": STEP_PLAIN,
              "subsample2d": STEP_SUBSAMPLE2D, "rbf": STEP_RBF}


cdef set_op(Op* op, o, list held):
    """Fill in an op from its `lowering.TileOp`; the arrays it points into join those held."""
    cdef const Py_ssize_t[::1] connections
    cdef const float[:, ::1] codes
    op.kind = KINDS[o.kind]
    op.relu, op.mask, op.pool, op.winograd = o.relu, o.mask, o.pool, o.winograd
    op.count_pad, op.has_bias = o.count_pad, o.bias is not None
    op.groups = o.groups
    op.C, op.H, op.W = o.in_shape
    op.O, op.OH, op.OW = o.inner_shape
    op.KH, op.KW = o.kernel_size
    op.SH, op.SW = o.stride
    op.PH, op.PW = o.padding
    op.DH, op.DW = o.dilation
    op.x, op.y, op.argmax = o.x, o.y, o.argmax
    op.weight, op.bias = o.weight or 0, o.bias or 0
    op.dweight, op.dbias = o.dweight, o.dbias
    op.saved_x, op.saved_dy = o.saved_x, o.saved_dy
    op.amplitude, op.slope = o.amplitude, o.slope
    if o.connections is not None:
        connections = o.connections
        op.connections, op.connection_count = &connections[0], connections.shape[0]
        held.append(connections)
    if o.codes is not None:
        codes = o.codes
        if codes.shape[0] != op.O or codes.shape[1] != op.C:
            raise ValueError(
                f"codes has the shape ({codes.shape[0]}, {codes.shape[1]}), not ({op.O}, {op.C})")
        op.codes = &codes[0, 0]
        held.append(codes)


cdef bint needs_output(const Op* op) noexcept:
    """Whether an op's backward pass looks at its output, or at what goes with it."""
    return op.mask or op.pool or op.kind in (MAX_POOL2D, RELU, SIGMOID, TANH, SCALED_TANH)


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
            raise ValueError(f"labels[{i}] is {labels[i]}, it should be 0 to {job.output_size - 1}")
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
        raise ValueError(f"loss is {loss!r}, it should be 'cross_entropy', 'mse', 'mle' or 'map'")
