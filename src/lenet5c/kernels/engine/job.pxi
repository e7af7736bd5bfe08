# A job (a program applied to a batch) and its parts: a tile forward, a shard of tiles forward and
# backward.
#
# A batch is cut into tiles of 16 samples, the last one filled up with copies of its first sample
# (dead lanes, whose gradient is zero). A thread takes a tile through all ops in an arena of its
# own: activations, gradients, scratch. A shard is a run of neighboring tiles, in order; what it
# adds to the parameters' gradient goes into a record: sums over its positions for convolutions, and
# for each tile what the gradients of linear layers are made of.

cdef extern from "sleeps.h" nogil:
    void sleep_as(int thread, int64_t number, int64_t* next_shard, int shift)
    void sleep_at(const char* point)

cdef struct Record:
    float* sums
    float* saved                       # of the shard's tiles, saved_stride apart
    double* loss                       # of each of its tiles, as is `correct`
    int64_t* correct

cdef struct Job:
    const TileKernels* kernels
    const Op* ops
    Py_ssize_t op_count
    Py_ssize_t forward_ops            # how many of them the forward pass must run
    Py_ssize_t first_gradient         # gradients are wanted down to the input of this op
    Py_ssize_t arena_half, scratch_floats
    Py_ssize_t sums_size, saved_stride
    Py_ssize_t input_size, output_size, output
    # the batch: bytes with scale and offset, or floats; index picks samples, NULL takes them in
    # order
    Py_ssize_t batch
    const unsigned char* bytes
    const float* floats
    const int64_t* index
    float scale
    const float* offset
    # bytes may be distorted: stream stands for seed and epoch; numbers has the number of each
    # image, NULL numbers them in order; first_sample is the place of the first without index
    bint distorts
    Distort distort
    uint64_t stream
    const int64_t* numbers
    Py_ssize_t first_sample
    Py_ssize_t step                   # of a run
    const int64_t* draws              # the number of each dropout's masks in the first step, or NULL
    const Py_ssize_t* cuts            # ops that need all tiles of the batch before they go on
    Py_ssize_t cut_count
    bint branches                     # ops branch, so gradients of several may cross a cut
    float* params                     # written to by an update only
    float* out                        # (batch, output_size), or NULL
    # the gradient comes from dy (batch, output_size) or from the loss
    const float* dy
    const float* zeros
    Loss loss
    bint counts                       # correct answers are wanted
    bint penalties                    # the class of a sample is where its output is smallest, not
                                      # largest
    double loss_factor                # the gradient's, over the divisor of the batch
    Py_ssize_t loss_terms             # of a sample
    const double* divisors            # of the loss of each batch; NULL: the number of its terms
    double divisor                    # of this batch
    double* losses                    # (batch,), or NULL
    bint value_only                   # the loss alone is wanted, and no gradient
    float* dx                         # (batch, input_size), or NULL


cdef inline double divisor_of(const Job* job, Py_ssize_t step, Py_ssize_t batch) noexcept nogil:
    return <double>batch * job.loss_terms if job.divisors is NULL else job.divisors[step]


cdef inline void choose_batch(Job* job, Py_ssize_t first, Py_ssize_t batch_size) noexcept nogil:
    """Change a job of all samples to that of the batch that begins at `first`."""
    job.batch = min(batch_size, job.batch - first)
    job.step = first // batch_size
    job.divisor = divisor_of(job, job.step, job.batch)
    if job.index is not NULL:
        job.index += first
    elif job.bytes is not NULL:
        job.bytes += first * job.input_size
        job.first_sample += first
    else:
        job.floats += first * job.input_size
    if job.loss.labels is not NULL:
        job.loss.labels += first
    if job.loss.targets is not NULL:
        job.loss.targets += first * job.output_size
    if job.loss.sample_weight is not NULL:
        job.loss.sample_weight += first


cdef inline uint64_t key_at(const Job* job, Py_ssize_t at) noexcept nogil:
    """Return the key of the random draws for the image at this place."""
    at += job.first_sample
    return sample_key(job.stream, at if job.numbers is NULL else job.numbers[at])


cdef void load_tile(const Job* job, Py_ssize_t first, float* tile, float* scratch) noexcept nogil:
    cdef const unsigned char* bytes[LANES]
    cdef const float* floats[LANES]
    cdef Py_ssize_t lane, at
    if job.loss.inner > 1:
        load_places(job, first, tile)
        return
    if job.distorts:
        load_distorted(job, first, tile, scratch)
        return
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


cdef inline void find_image(const Job* job, Py_ssize_t place, const unsigned char** image,
                            uint64_t* key) noexcept nogil:
    """The image at a place of the batch, and the key of its draws; after the last comes the first."""
    cdef Py_ssize_t at = place % job.batch
    if job.index is not NULL:
        at = job.index[at]
    image[0], key[0] = job.bytes + at * job.input_size, key_at(job, at)


cdef void load_distorted(const Job* job, Py_ssize_t first, float* tile,
                         float* scratch) noexcept nogil:
    """Load a tile of distorted images; one more, as each may be mixed with the next one."""
    cdef const unsigned char* images[LANES + 1]
    cdef uint64_t keys[LANES + 1]
    cdef Py_ssize_t lane, lanes = min(<Py_ssize_t>LANES, job.batch - first)
    cdef float* end = scratch + job.kernels.distort_tile_floats(&job.distort)
    for lane in range(lanes + 1):
        find_image(job, first + lane, images + lane, keys + lane)
    set_canary(end)
    job.kernels.distort_tile(&job.distort, images, keys, lanes, job.scale, job.offset, tile,
                             scratch)
    check_canary(end, b"distort", b"scratch")


cdef inline Py_ssize_t place_at(const Job* job, Py_ssize_t place) noexcept nogil:
    """Return the offset of the first value of a place in maps (maps, K, inner)."""
    cdef Py_ssize_t inner = job.loss.inner
    return place // inner * inner * job.input_size + place % inner


cdef inline bint are_neighbors(const Job* job, Py_ssize_t first, Py_ssize_t lanes) noexcept nogil:
    """True if the places of a tile fill it and lie side by side."""
    return lanes == LANES and first % job.loss.inner + LANES <= job.loss.inner


cdef void load_places(const Job* job, Py_ssize_t first, float* tile) noexcept nogil:
    """Load a tile of places; dead lanes are as the first."""
    cdef Py_ssize_t lanes = min(<Py_ssize_t>LANES, job.batch - first)
    cdef Py_ssize_t k, lane, inner = job.loss.inner
    cdef const float* x = job.floats + place_at(job, first)
    if are_neighbors(job, first, lanes):
        for k in range(job.input_size):
            memcpy(tile + k * LANES, x + k * inner, LANES * sizeof(float))
        return
    for lane in range(LANES):
        x = job.floats + place_at(job, first + (lane if lane < lanes else 0))
        for k in range(job.input_size):
            tile[k * LANES + lane] = x[k * inner]


cdef void store_places(const Job* job, Py_ssize_t first, const float* tile,
                       float* to) noexcept nogil:
    """Store a tile of places in maps like those of the input."""
    cdef Py_ssize_t lanes = min(<Py_ssize_t>LANES, job.batch - first)
    cdef Py_ssize_t k, lane, inner = job.loss.inner
    cdef float* place = to + place_at(job, first)
    if are_neighbors(job, first, lanes):
        for k in range(job.input_size):
            memcpy(place + k * inner, tile + k * LANES, LANES * sizeof(float))
        return
    for lane in range(lanes):
        place = to + place_at(job, first + lane)
        for k in range(job.input_size):
            place[k * inner] = tile[k * LANES + lane]


cdef inline Py_ssize_t scratch_of(const Op* op) noexcept nogil:
    return op.kernels.scratch_floats(op) if op.kernels.scratch_floats is not NULL else 0


cdef inline float* scratch_end(const Op* op, float* scratch) noexcept nogil:
    return scratch + scratch_of(op)


cdef inline float* arena_end(const Job* job, float* arena) noexcept nogil:
    return arena + job.arena_half - CANARY_FLOATS


cdef inline void forward_op(const Job* job, const Op* op, float* arena,
                            float* scratch) noexcept nogil:
    if CANARY_FLOATS > 0:
        set_canary(arena_end(job, arena))
        set_canary(scratch_end(op, scratch))
    op.kernels.forward(op, job.params, arena, scratch)
    if CANARY_FLOATS > 0:
        check_canary(arena_end(job, arena), op.kernels.name, b"arena")
        check_canary(scratch_end(op, scratch), op.kernels.name, b"scratch")


cdef inline void backward_op(const Job* job, const Op* op, float* arena, float* gradients,
                             bint need_dx, float* sums, float* saved,
                             float* scratch) noexcept nogil:
    cdef float* saved_end = saved + job.saved_stride - CANARY_FLOATS
    cdef const char* name = op.kernels.name
    if CANARY_FLOATS > 0:
        set_canary(arena_end(job, arena))
        set_canary(arena_end(job, gradients))
        set_canary(scratch_end(op, scratch))
        set_canary(sums + job.sums_size)
        set_canary(saved_end)
    op.kernels.backward(op, job.params, arena, gradients, need_dx, sums, saved, scratch)
    if CANARY_FLOATS > 0:
        check_canary(arena_end(job, arena), name, b"arena")
        check_canary(arena_end(job, gradients), name, b"arena of gradients")
        check_canary(scratch_end(op, scratch), name, b"scratch")
        check_canary(sums + job.sums_size, name, b"sums in a record")
        check_canary(saved_end, name, b"saved values in a record")


cdef void give_keys(const Job* job, Py_ssize_t first, float* arena) noexcept nogil:
    """Give each dropout the keys of a tile's samples: by their places in the batch and by the
    number of the step. Dead lanes are as the first, here, too."""
    cdef Py_ssize_t i, lane, n
    cdef const Op* op
    cdef uint32_t* keys
    cdef uint64_t stream, key
    for i in range(job.op_count):
        op = job.ops + i
        if not op.draws:
            continue
        keys = <uint32_t*>(arena + op.given)
        stream = sample_key(op.seed, job.draws[op.draw] + job.step)
        for lane in range(LANES):
            n = first + lane if first + lane < job.batch else first
            key = sample_key(stream, n)
            keys[lane], keys[LANES + lane] = <uint32_t>key, <uint32_t>(key >> 32)


cdef inline void begin_tile(const Job* job, Py_ssize_t tile, float* arena,
                            float* scratch) noexcept nogil:
    """Load the samples of a tile; augmentation depends on their numbers."""
    load_tile(job, tile * LANES, arena, scratch)
    if job.draws is not NULL:
        give_keys(job, tile * LANES, arena)


cdef inline void store_outputs(const Job* job, Py_ssize_t tile, const float* arena) noexcept nogil:
    if job.out is not NULL:
        job.kernels.unpack(arena + job.output, job.output_size,
                           min(<Py_ssize_t>LANES, job.batch - tile * LANES),
                           job.out + tile * LANES * job.output_size)


cdef inline void store_dx(const Job* job, Py_ssize_t tile, const float* gradients) noexcept nogil:
    if job.dx is not NULL and job.loss.inner > 1:
        store_places(job, tile * LANES, gradients, job.dx)
    elif job.dx is not NULL:
        job.kernels.unpack(gradients, job.input_size,
                           min(<Py_ssize_t>LANES, job.batch - tile * LANES),
                           job.dx + tile * LANES * job.input_size)


cdef inline void forward_tile(const Job* job, Py_ssize_t tile, float* arena,
                              float* scratch) noexcept nogil:
    cdef Py_ssize_t i
    begin_tile(job, tile, arena, scratch)
    for i in range(job.forward_ops):
        sleep_at(b"forward")
        forward_op(job, job.ops + i, arena, scratch)
    store_outputs(job, tile, arena)


cdef double judge(
    const Job* job, Py_ssize_t first, Py_ssize_t lanes, const float* outputs, float* gradient,
    int64_t* correct,
) noexcept nogil:
    """Fill the gradient of a tile's outputs, unless it is NULL; return the sum of the losses.

    Correct are lanes with their largest logit, or least penalty, at the label; of equals the first.
    A sample of weight 0 is not counted.
    """
    cdef double losses[LANES]
    cdef double total = 0
    cdef float sign = -1 if job.penalties else 1
    cdef const float* weight = job.loss.sample_weight
    cdef Py_ssize_t lane, k, best
    # The mean of no samples has no gradient.
    cdef float scale = job.loss_factor / job.divisor if job.divisor != 0 else 0
    job.kernels.loss(&job.loss, first, lanes, job.output_size, outputs, scale, losses, gradient)
    correct[0] = 0
    for lane in range(lanes):
        total += losses[lane]
        if job.losses is not NULL:
            job.losses[first + lane] = losses[lane]
        if not job.counts:
            continue
        best = 0
        for k in range(1, job.output_size):
            if sign * outputs[k * LANES + lane] > sign * outputs[best * LANES + lane]:
                best = k
        if best == job.loss.labels[first + lane] and (weight is NULL or weight[first + lane] != 0):
            correct[0] += 1
    return total


cdef void start_gradient(
    const Job* job, Py_ssize_t tile, const float* output, float* gradient, double* loss,
    int64_t* correct,
) noexcept nogil:
    """Fill the gradient of the tile's output, from the caller's dy or from the loss."""
    cdef const float* rows[LANES]
    cdef Py_ssize_t lane, first = tile * LANES
    cdef Py_ssize_t lanes = min(<Py_ssize_t>LANES, job.batch - first)
    if job.dy is not NULL:
        for lane in range(LANES):
            rows[lane] = job.dy + (first + lane) * job.output_size if lane < lanes else job.zeros
        job.kernels.pack_floats(rows, job.output_size, gradient)
        loss[0], correct[0] = 0, 0  # not used, but summed
        return
    loss[0] = judge(job, first, lanes, output, NULL if job.value_only else gradient, correct)


cdef inline void run_shard(
    const Job* job, Py_ssize_t first, Py_ssize_t stop, float* arena, Record* record,
) noexcept nogil:
    """Run the tiles first .. stop; the arena has activations, gradients and scratch."""
    cdef Py_ssize_t tile, i
    cdef float* gradients = arena + job.arena_half
    cdef float* scratch = gradients + job.arena_half
    memset(record.sums, 0, job.sums_size * sizeof(float))
    for tile in range(first, stop):
        forward_tile(job, tile, arena, scratch)
        start_gradient(job, tile, arena + job.output, gradients + job.output,
                       &record.loss[tile - first], &record.correct[tile - first])
        for i in range(job.op_count - 1, job.first_gradient - 1, -1):
            sleep_at(b"backward")
            backward_op(job, job.ops + i, arena, gradients,
                        i > job.first_gradient or job.dx is not NULL, record.sums,
                        record.saved + (tile - first) * job.saved_stride, scratch)
        store_dx(job, tile, gradients)
