# Runs of a program: a few samples one by one, or tile by tile on all threads.


cdef forward_batch(Program self, Job* job, int num_threads, Py_ssize_t few, bint share):
    """Compute the outputs of the batch; up to `few` samples are run one by one.

    With `share`, each of them is divided among several threads if there are as many.
    """
    cdef Py_ssize_t tiles
    cdef int threads
    job.forward_ops = job.op_count
    if job.batch <= few and self.by_sample:
        forward_samples(self, job, num_threads, share)
    elif job.cut_count > 0:
        forward_in_stages(self, job, num_threads)
    else:
        job.ops, job.op_count = self.ops + job.op_count, self.inference_count
        job.forward_ops = job.op_count
        tiles = (job.batch + LANES - 1) // LANES
        threads = self.thread_count(job.batch, num_threads, tiles * MOST_PARTS)
        if 0 < 2 * tiles <= threads:
            forward_in_parts(self, job, threads)
        else:
            forward_in_tiles(self, job, <int>max(1, min(threads, tiles)))


cdef forward_samples(Program self, const Job* job, int num_threads, bint share):
    """Run a few samples one by one.

    Groups of a few share what they read. Packed filters stay in the workspace, which only this call
    uses while it runs: concurrent calls share no memory that one of them writes.
    """
    cdef const SampleChain* chain = &self.inference_chain
    cdef Py_ssize_t i
    cdef Py_ssize_t group, groups
    cdef Py_ssize_t copied = round_up(chain.copied_floats), packed = round_up(chain.packed_floats)
    cdef Py_ssize_t stride = round_up(chain.arena_floats), scratch = 0, of_thread, floats
    cdef Py_ssize_t parts = MOST_PARTS if share else 1
    cdef int threads = self.thread_count(job.batch, num_threads, job.batch * parts)
    cdef bint in_parts = threads >= 2 * job.batch > 0
    cdef Workspace space
    cdef float* filters
    cdef float* arenas
    cdef PartsRun run
    if not in_parts:
        threads = <int>max(1, min(threads, job.batch))
    if job.distorts:
        scratch = job.kernels.distort_floats(&job.distort) + CANARY_FLOATS
    scratch = round_up(scratch)
    of_thread = GROUP * stride + scratch
    floats = threads * of_thread
    if in_parts:
        floats = words_floats(chain.segment_count) + job.batch * stride + threads * scratch
    # of nearly equal size, as many for each thread
    groups = min(job.batch, threads * ((job.batch + GROUP * threads - 1) // (GROUP * threads)))
    space = take_workspace(self.idle_filters, copied + packed + floats)
    filters, arenas = space.start + copied, space.start + copied + packed
    for i in range(chain.count):
        if chain.steps[i].kind == STEP_CONV2D:
            pack_changed_filters(job, chain.steps + i, space.start + chain.steps[i].packed_from,
                                 filters + chain.steps[i].packed)
    if in_parts:
        run.job, run.chain, run.packed = job, chain, filters
        run.segments, run.segment_count = chain.segments, chain.segment_count
        run.count, run.stride = job.batch, stride
        with nogil:
            run_in_parts(&run, arenas, scratch, threads)
    elif threads == 1:
        with nogil:
            for group in range(groups):
                forward_part(job, chain, group, groups, filters, arenas, stride)
    else:
        for group in prange(groups, schedule="dynamic", chunksize=1, num_threads=threads,
                            nogil=True):
            forward_part(job, chain, group, groups, filters, arenas + threadid() * of_thread, stride)
    self.idle_filters.append(space)
    raise_overrun()


cdef inline void forward_part(
    const Job* job, const SampleChain* chain, Py_ssize_t group, Py_ssize_t groups,
    const float* filters, float* arenas, Py_ssize_t stride,
) noexcept nogil:
    """Run one group of the batch."""
    cdef Py_ssize_t first = group * job.batch // groups, stop = (group + 1) * job.batch // groups
    forward_group(job, chain, first, stop - first, filters, arenas, stride, arenas + GROUP * stride)


cdef forward_in_tiles(Program self, const Job* job, int threads):
    """Run each tile on any thread."""
    cdef Py_ssize_t tile, tiles = (job.batch + LANES - 1) // LANES
    cdef Py_ssize_t stride = job.arena_half + job.scratch_floats
    cdef Workspace space = self.workspace(threads * stride)
    cdef float* arenas = space.start
    if threads == 1:
        with nogil:
            for tile in range(tiles):
                forward_tile(job, tile, arenas, arenas + job.arena_half)
    else:
        for tile in prange(tiles, schedule="dynamic", chunksize=1, num_threads=threads, nogil=True):
            forward_tile(job, tile, arenas + threadid() * stride, arenas + threadid() * stride
                         + job.arena_half)
    self.give_back(space)


cdef run_by_sample(Program self, const Job* whole, Py_ssize_t batch_size, Py_ssize_t first,
                   Py_ssize_t stop, float[::1] grads, const UpdateSteps* update, double* loss,
                   Py_ssize_t* correct):
    """Run the steps from `first` on, sample by sample."""
    cdef const SampleChain* chain = &self.sample_chain
    cdef Job job
    cdef Py_ssize_t step, n, half = round_up(chain.arena_floats), stride = 2 * half
    cdef Py_ssize_t packed_floats = round_up(chain.packed_floats)
    cdef Py_ssize_t training_floats = round_up(chain.training_floats)
    cdef Py_ssize_t scratch_floats = 0
    if whole.distorts:
        scratch_floats = whole.kernels.distort_floats(&whole.distort) + CANARY_FLOATS
    cdef Workspace space = self.workspace(
        packed_floats + training_floats + 2 * whole.output_size * LANES + FEW_SAMPLES_ * stride
        + scratch_floats)
    cdef float* packed = space.start
    cdef float* training = packed + packed_floats
    cdef float* tile = training + training_floats
    cdef float* arenas = tile + 2 * whole.output_size * LANES
    cdef float* scratch = arenas + FEW_SAMPLES_ * stride
    cdef float* all_grads = &grads[0] if grads.shape[0] > 0 else NULL
    cdef UpdateSteps none
    memset(&none, 0, sizeof(UpdateSteps))
    with nogil:
        # the borders of what is spread out
        memset(training, 0, training_floats * sizeof(float))
        for step in range(first, stop):
            job = whole[0]
            choose_batch(&job, step * batch_size, batch_size)
            begin_sample_step(&job, chain, job.dx is not NULL, packed, training)
            for n in range(job.batch):
                forward_group(&job, chain, n, 1, packed, arenas + n * stride, stride, scratch)
                start_sample_gradient(&job, n, arenas + n * stride + chain.output,
                                      arenas + n * stride + half + chain.output, tile,
                                      loss + step, correct + step)
                backward_sample(&job, chain, n, arenas + n * stride, arenas + n * stride + half,
                                training)
            finish_sample_step(&job, chain, arenas, stride, half, training, all_grads,
                               update if isfinite(loss[step]) else &none, step)
            if not isfinite(loss[step]) and update.kernel is not NULL:
                break
    self.give_back(space)


cdef run_in_tiles(Program self, Job* job, Py_ssize_t batch_size, Py_ssize_t steps, float[::1] grads,
                  const UpdateSteps* update, int num_threads, double* loss, Py_ssize_t* correct,
                  given_ranks):
    """Run all threads, tile by tile."""
    cdef Team team
    cdef Record records[2 * SHARDS]
    cdef Py_ssize_t i, tiles, sums_floats, head_floats, record_floats, record_count
    cdef Py_ssize_t buffers, buffer, buffer_floats
    cdef int threads
    cdef float* window
    cdef Workspace space
    memset(&team, 0, sizeof(Team))
    team.grads = &grads[0] if grads.shape[0] > 0 else NULL
    tiles = (min(batch_size, job.batch) + LANES - 1) // LANES
    team.shard_tiles = shard_tiles_of(job)
    team.batches_per_step = (tiles + SHARDS * team.shard_tiles - 1) // (SHARDS
                                                                        * team.shard_tiles)
    team.shard_batches = steps * team.batches_per_step
    team.last_batch = team.shard_batches - 1
    team.job, team.batch_size = job, batch_size
    team.slices, team.slice_count = self.slices, self.slice_count
    team.update = update[0]
    team.loss, team.correct = loss, correct
    # A record has a head, the losses and correct answers of its tiles, before its sums.
    head_floats = round_up(SHARD_TILES * (sizeof(double) + sizeof(int64_t)) // sizeof(float))
    sums_floats = round_up(job.sums_size + CANARY_FLOATS)
    record_floats = head_floats + sums_floats + job.saved_stride * min(
        team.shard_tiles, (tiles + SHARDS - 1) // SHARDS)
    held = set_ranks(&team.ranks, given_ranks, 2 * SHARDS * record_floats + self.param_extent)
    threads = self.thread_count(min(batch_size, job.batch), num_threads,
                                (min(tiles, <Py_ssize_t>SHARDS) + team.ranks.count - 1)
                                // team.ranks.count)
    # Who recomputes a shard would write to them what a latecomer may still write; ranks write to
    # the place of the shard.
    team.speculate = (job.out is NULL and job.dx is NULL and job.losses is NULL
                      and team.ranks.count == 1)
    record_count = SHARDS + threads if team.ranks.count == 1 else 0
    buffers = threads if update.kernel is not NULL else 1
    buffer_floats = round_up(self.param_extent)
    team.arena_stride = 2 * job.arena_half + round_up(job.scratch_floats)
    space = self.workspace(record_count * record_floats + threads * team.arena_stride
                           + (buffers - 1) * buffer_floats)
    window = space.start if team.ranks.count == 1 else team.ranks.window
    for i in range(SHARDS + threads if team.ranks.count == 1 else 2 * SHARDS):
        records[i].loss = <double*>(window + i * record_floats)
        records[i].correct = <int64_t*>(records[i].loss + SHARD_TILES)
        records[i].sums = window + i * record_floats + head_floats
        records[i].saved = records[i].sums + sums_floats
    for i in range(SHARDS):
        atomic_set(slot_of(&team, i), i)
        atomic_set(reading_of(&team, i), NOTHING)
    team.threads = threads
    if team.ranks.count > 1:
        team.grads = team.ranks.window + 2 * SHARDS * record_floats
    team.claims = <int64_t*>malloc(2 * self.slice_count * sizeof(int64_t))
    if team.claims is NULL:
        raise MemoryError(f"no memory for the claims of {self.slice_count} slices")
    for i in range(2 * self.slice_count):
        team.claims[i] = -1
    team.records = records
    team.arenas = space.start + record_count * record_floats
    team.params[0] = job.params
    for i in range(1, buffers):
        team.params[i] = team.arenas + threads * team.arena_stride + (i - 1) * buffer_floats
    atomic_set(update_of(&team), NOTHING)
    atomic_set(summed_of(&team), NOTHING)
    begin_shard_batch(&team, 0, 0)
    if threads == 1:
        with nogil:
            work_in_team(&team, 0)
    else:
        with nogil, parallel(num_threads=threads):
            work_in_team(&team, threadid())
    free(team.claims)
    buffer = atomic_get(next_shard_of(&team)) >> 16 & 0xff
    for i in range(self.slice_count):
        if buffer != 0:
            copy_params(self.slices + i, team.params[buffer], job.params)
        if team.ranks.count > 1 and grads.shape[0] > 0:
            copy_params(self.slices + i, team.grads, &grads[0])
    self.give_back(space)


cdef inline Py_ssize_t shard_tiles_of(const Job* job) noexcept nogil:
    """Return the maximum number of tiles of a shard without batch normalization."""
    return SHARD_TILES if job.saved_stride * SHARDS * SHARD_TILES <= SAVED_FLOATS else 1


cdef run_in_stages(Program self, Job* job, Py_ssize_t batch_size, Py_ssize_t steps,
                   float[::1] grads, const UpdateSteps* update, int num_threads, double* loss,
                   Py_ssize_t* correct, bint backward, given_ranks):
    """Run all threads, stage by stage, with an arena for each tile of a batch.

    A pass for a gradient from dy is the second one of its batch.
    """
    cdef Stages run
    cdef Py_ssize_t i, channels = 0, most = 0, crossing = 0, shared_floats, units
    cdef float* shared
    cdef Py_ssize_t tiles = (min(batch_size, job.batch) + LANES - 1) // LANES
    cdef Py_ssize_t shards = min(tiles, <Py_ssize_t>SHARDS)
    cdef int threads
    cdef Workspace space
    memset(&run, 0, sizeof(Stages))
    for i in range(job.cut_count):
        channels += cut_of(job, i).C
        most = max(most, cut_of(job, i).C)
        crossing = max(crossing, output_floats(cut_of(job, i)))
    run.tile_stride = job.arena_half
    run.scratch_stride = round_up(job.scratch_floats)
    if backward:
        run.tile_stride += job.arena_half if job.branches else crossing
        run.scratch_stride += 0 if job.branches else job.arena_half
    if <double>tiles * (run.tile_stride + job.saved_stride) > most_elements():
        raise ValueError(
            f"the activations of a batch of {min(batch_size, job.batch)} samples would have more "
            f"than {most_elements()} elements; train on smaller batches")
    run.sums_stride = round_up(job.sums_size + CANARY_FLOATS)
    run.partials_stride = round_up(2 * most + 2)
    shared_floats = 2 * shards * run.partials_stride * (sizeof(double) // sizeof(float))
    shared_floats += shards * run.sums_stride + (tiles * job.saved_stride if backward else 0)
    held = set_ranks(&run.ranks, given_ranks, shared_floats + self.param_extent)
    threads = self.thread_count(min(batch_size, job.batch), num_threads,
                                (shards + run.ranks.count - 1) // run.ranks.count)
    space = self.workspace(
        (shared_floats if run.ranks.count == 1 else 0) + round_up(STATISTICS * channels)
        + threads * run.scratch_stride + tiles * run.tile_stride)
    shared = run.statistics = space.start
    if run.ranks.count == 1:
        run.statistics += shared_floats
    else:
        shared = run.ranks.window
    run.partials, run.shards = <double*>shared, shards
    run.sums = shared + 2 * shards * run.partials_stride * (sizeof(double) // sizeof(float))
    run.saved = run.sums + shards * run.sums_stride
    run.scratch = run.statistics + round_up(STATISTICS * channels)
    run.tiles = run.scratch + threads * run.scratch_stride
    run.job, run.batch_size, run.threads = job, batch_size, threads
    run.of_step = 2 * job.cut_count + (2 if run.ranks.count == 1 else 3)
    if not backward:
        run.of_step = job.cut_count + 1
    run.backward, run.tracks = backward, job.dy is NULL
    run.slices, run.slice_count, run.update = self.slices, self.slice_count, update[0]
    run.grads = &grads[0] if grads.shape[0] > 0 else NULL
    if run.ranks.count > 1:
        run.grads = run.ranks.window + shared_floats
    run.loss, run.correct = loss, correct
    units = max(self.slice_count, shards)
    run.claims = <int64_t*>malloc(units * sizeof(int64_t))
    if run.claims is NULL:
        raise MemoryError(f"no memory for the claims of {units} units")
    for i in range(units):
        run.claims[i] = -1
    atomic_set(end_of(&run), steps * run.of_step)
    if threads == 1:
        with nogil:
            work_in_stages(&run, 0)
    else:
        with nogil, parallel(num_threads=threads):
            work_in_stages(&run, threadid())
    free(run.claims)
    for i in range(self.slice_count if run.ranks.count > 1 and grads.shape[0] > 0 else 0):
        copy_params(self.slices + i, run.grads, &grads[0])
    self.give_back(space)


cdef forward_in_stages(Program self, Job* job, int num_threads):
    cdef UpdateSteps none
    cdef float[::1] nothing = np.empty(0, np.float32)
    cdef Py_ssize_t correct = 0
    cdef double loss = 0
    memset(&none, 0, sizeof(UpdateSteps))
    run_in_stages(self, job, job.batch, 1, nothing, &none, num_threads, &loss, &correct, False,
                  None)


cdef bint are_finite(const double* values, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if not isfinite(values[i]):
            return False
    return True
