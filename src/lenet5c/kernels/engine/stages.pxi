# Stages: the passes of a program with batch normalization, which wants mean and variance of a
# batch before any of its samples goes on.
#
# The ops are cut before each such op, of which there are K. A step has these stages, each of which
# is done by all before the next one begins:
#
#   0 ... K         the ops forward, from one cut to the next; moments of what comes to the next one
#   K ... 2 K       the ops backward, from one cut to the one before; its sums of the gradient
#   2 K + 1         slices of the parameters: their gradient, and the update; of ranks, who sum some
#                   slices each, the gradient alone
#   2 K + 2         of ranks: the update
#
# Stage K does both: the last ops forward, the loss, and back. So each tile of a batch has an arena
# of its own, from its first stage to the last. Gradients lie in that of a thread, which stays in
# its cache: of those only the one that comes to the cut goes into the next stage, by a copy in the
# tile's arena. Where ops branch, several may, and a tile has an arena of gradients, too.
#
# What a shard, a run of neighboring tiles, adds to moments and sums lies apart for each shard;
# whichever thread ends a stage adds them up, shard by shard in order. The arithmetic is cut by the
# batch alone, so the assignment to threads changes no bit.
#
# There are no barriers, but all threads wait for the last one of a stage: an arena that other
# threads use next cannot also be computed by a late thread. Each unit of a stage, a shard or a
# slice, is claimed; a thread begins with its own share, the same in each stage, whose arenas are in
# its cache.
#   stage          number of the stage, from the first of the run on; set last when a stage begins
#   units_done     of this stage; the thread that does the last one begins the next
#   end            number of the stage at which all is over
#   claim of unit  number of the last stage in which it was claimed; numbers only grow, and all units
#                  of a stage are claimed before the next one, so a thread that comes late gets none

cdef struct Stages:
    int64_t words[3 * WORDS]
    int64_t* claims
    int threads
    const Job* job               # of all samples; a step takes batch_size of them
    Py_ssize_t batch_size, of_step
    bint backward                # gradients are wanted
    bint tracks                  # running statistics take in those of each batch
    float* tiles                 # of each tile: activations, gradients or that of a cut
    Py_ssize_t tile_stride
    Ranks ranks                  # which take shards each
    float* scratch               # of each thread: gradients, scratch
    Py_ssize_t scratch_stride
    # Here on, all that ranks exchange: of two stages in turn and each shard two numbers a channel
    # of the op at which it is cut, its loss and its correct answers; of each shard its sums; of
    # each tile what linear layers save.
    double* partials
    float* sums
    float* saved
    Py_ssize_t partials_stride, sums_stride, shards
    float* statistics            # of all cuts, as the op is given them
    const Slice* slices
    Py_ssize_t slice_count
    UpdateSteps update
    float* grads
    double* loss                 # of each step
    Py_ssize_t* correct

cdef struct Stage:
    int64_t number
    Py_ssize_t of_step           # its place in the step
    Job job                      # of the step's batch
    Py_ssize_t tiles, shards
    Py_ssize_t first, stop       # of the shards, those of this process


cdef inline int64_t* stage_of(Stages* run) noexcept nogil:
    return run.words


cdef inline int64_t* units_done_of(Stages* run) noexcept nogil:
    return run.words + WORDS


cdef inline int64_t* end_of(Stages* run) noexcept nogil:
    return run.words + 2 * WORDS


cdef void describe_stage(const Stages* run, int64_t number, Stage* stage) noexcept nogil:
    cdef Job* job = &stage.job
    stage.number = number
    stage.of_step = number % run.of_step
    job[0] = run.job[0]
    choose_batch(job, number // run.of_step * run.batch_size, run.batch_size)
    stage.tiles = (job.batch + LANES - 1) // LANES
    stage.shards = min(stage.tiles, <Py_ssize_t>SHARDS)
    stage.first = first_shard(&run.ranks, run.ranks.rank, stage.shards)
    stage.stop = first_shard(&run.ranks, run.ranks.rank + 1, stage.shards)


cdef inline Py_ssize_t first_tile(const Stage* stage, Py_ssize_t shard) noexcept nogil:
    return shard * stage.tiles // stage.shards


cdef inline double* partials_of(const Stages* run, const Stage* stage,
                                Py_ssize_t shard) noexcept nogil:
    # The first 2 K + 1 stages of a step exchange them, an odd number.
    cdef Py_ssize_t turn = (stage.job.step + stage.of_step) & 1
    return run.partials + (turn * run.shards + shard) * run.partials_stride


cdef inline double* loss_of(const Stages* run, const Stage* stage, Py_ssize_t shard) noexcept nogil:
    """The loss of a shard, and after it the number of correct answers."""
    return partials_of(run, stage, shard) + run.partials_stride - 2


cdef inline const Op* cut_of(const Job* job, Py_ssize_t cut) noexcept nogil:
    return job.ops + job.cuts[cut]


cdef inline Py_ssize_t lanes_of(const Job* job, Py_ssize_t tile) noexcept nogil:
    return min(<Py_ssize_t>LANES, job.batch - tile * LANES)


cdef inline float* statistics_of(const Stages* run, const Job* job, Py_ssize_t cut) noexcept nogil:
    """Statistics of a cut, behind those of the cuts before it."""
    cdef Py_ssize_t i, at = 0
    for i in range(cut):
        at += STATISTICS * cut_of(job, i).C
    return run.statistics + at


cdef void give_statistics(const Stages* run, const Job* job, Py_ssize_t cut,
                          float* arena) noexcept nogil:
    """Copy the statistics of a cut to the arena of its op."""
    cdef const Op* op = cut_of(job, cut)
    memcpy(arena + op.given + LANES, statistics_of(run, job, cut),
           STATISTICS * op.C * sizeof(float))


cdef void give_lanes(const Job* job, Py_ssize_t tile, float* arena) noexcept nogil:
    """Mark the lanes in use for the op of each cut."""
    cdef Py_ssize_t cut, lane
    for cut in range(job.cut_count):
        for lane in range(LANES):
            arena[cut_of(job, cut).given + lane] = lane < lanes_of(job, tile)


cdef void stage_forward(Stages* run, const Stage* stage, Py_ssize_t shard, Py_ssize_t tile,
                        float* arena, float* scratch) noexcept nogil:
    """Run a tile from one cut to the next, or to the end."""
    cdef const Job* job = &stage.job
    cdef Py_ssize_t i, part = stage.of_step, first = 0, stop = job.forward_ops
    cdef Py_ssize_t before = (tile - first_tile(stage, shard)) * LANES
    cdef const Op* op
    if part == 0:
        begin_tile(job, tile, arena, scratch)
        give_lanes(job, tile, arena)
    else:
        give_statistics(run, job, part - 1, arena)
        first = job.cuts[part - 1]
    if part < job.cut_count:
        stop = job.cuts[part]
    for i in range(first, stop):
        sleep_at(b"stage forward")
        forward_op(job, job.ops + i, arena, scratch)
    if part < job.cut_count:
        op = cut_of(job, part)
        op.kernels.add_moments(op, arena, <double>before * (op.H * op.W),
                               partials_of(run, stage, shard))
    else:
        store_outputs(job, tile, arena)


cdef inline Py_ssize_t output_floats(const Op* op) noexcept nogil:
    """Return the size of the output of an op at a cut."""
    return op.O * op.OH * op.OW // (4 if op.pool else 1) * LANES


cdef void stage_backward(Stages* run, const Stage* stage, Py_ssize_t shard, Py_ssize_t tile,
                         float* arena, float* gradients, float* scratch) noexcept nogil:
    """Run a tile backward from one cut, or the end, to the previous cut, or the input."""
    cdef const Job* job = &stage.job
    cdef Py_ssize_t i, part = 2 * job.cut_count - stage.of_step
    cdef Py_ssize_t last = job.op_count - 1, stop = job.first_gradient
    cdef float* crossing = arena + job.arena_half
    cdef float* sums = run.sums + shard * run.sums_stride
    cdef const Op* op
    if part < job.cut_count:
        give_statistics(run, job, part, arena)
        last = job.cuts[part]
        op = job.ops + last
        if not job.branches:
            memcpy(gradients + op.y, crossing, output_floats(op) * sizeof(float))
    if part > 0:
        stop = job.cuts[part - 1] + 1
    for i in range(last, stop - 1, -1):
        sleep_at(b"stage backward")
        backward_op(job, job.ops + i, arena, gradients,
                    i > job.first_gradient or job.dx is not NULL, sums,
                    run.saved + tile * job.saved_stride, scratch)
    if part > 0:
        op = cut_of(job, part - 1)
        op.kernels.add_shares(op, job.params, arena, gradients, sums,
                              partials_of(run, stage, shard))
        if not job.branches:
            memcpy(crossing, gradients + op.y, output_floats(op) * sizeof(float))
    else:
        store_dx(job, tile, gradients)


cdef void run_stage_of_shard(Stages* run, const Stage* stage, Py_ssize_t shard,
                             float* space) noexcept nogil:
    """Run a shard in the memory of a thread."""
    cdef const Job* job = &stage.job
    cdef int64_t right
    cdef Py_ssize_t tile, cuts = job.cut_count
    cdef bint turns = run.backward and stage.of_step == cuts
    cdef float* arena
    cdef float* gradients = space
    cdef float* scratch = space
    cdef double loss
    if run.backward and not job.branches:
        scratch += job.arena_half
    memset(partials_of(run, stage, shard), 0, run.partials_stride * sizeof(double))
    if turns:
        memset(run.sums + shard * run.sums_stride, 0, job.sums_size * sizeof(float))
    for tile in range(first_tile(stage, shard), first_tile(stage, shard + 1)):
        arena = run.tiles + tile * run.tile_stride
        if job.branches:
            gradients = arena + job.arena_half
        if stage.of_step <= cuts:
            stage_forward(run, stage, shard, tile, arena, scratch)
        if turns:
            start_gradient(job, tile, arena + job.output, gradients + job.output, &loss, &right)
            loss_of(run, stage, shard)[0] += loss
            loss_of(run, stage, shard)[1] += right
        if run.backward and stage.of_step >= cuts:
            stage_backward(run, stage, shard, tile, arena, gradients, scratch)


cdef void set_moments(Stages* run, const Stage* stage) noexcept nogil:
    """Mean and variance over the batch of what comes to the next cut, from those of the shards."""
    cdef const Job* job = &stage.job
    cdef const Op* op = cut_of(job, stage.of_step)
    cdef float* statistics = statistics_of(run, job, stage.of_step)
    cdef double[2] total
    cdef const double* more
    cdef double mean, var, place = op.H * op.W, count = place * job.batch
    cdef Py_ssize_t c, shard, first
    for c in range(op.C):
        more = partials_of(run, stage, 0) + 2 * c
        total[0], total[1] = more[0], more[1]
        for shard in range(1, stage.shards):
            first = first_tile(stage, shard) * LANES
            more = partials_of(run, stage, shard) + 2 * c
            merge_moments(total, place * first, more[0], more[1],
                          place * (min(first_tile(stage, shard + 1) * LANES, job.batch) - first))
        mean, var = total[0], total[1] / count
        statistics[MEAN * op.C + c] = <float>mean
        statistics[SCALE * op.C + c] = <float>(1 / sqrt(var + op.eps))
        if run.tracks:
            op.running_mean[c] += op.momentum * (<float>mean - op.running_mean[c])
            var *= count / (count - 1)
            op.running_var[c] += op.momentum * (<float>var - op.running_var[c])
    if run.tracks:
        op.tracked[0] += 1


cdef void set_shares(Stages* run, const Stage* stage) noexcept nogil:
    """Means over the batch of the gradient that comes to a cut, from the sums of the shards."""
    cdef const Job* job = &stage.job
    cdef Py_ssize_t cut = 2 * job.cut_count - stage.of_step - 1
    cdef const Op* op = cut_of(job, cut)
    cdef float* statistics = statistics_of(run, job, cut)
    cdef double total, share, count = <double>(op.H * op.W) * job.batch
    cdef Py_ssize_t c, shard
    for c in range(op.C):
        total = share = 0
        for shard in range(stage.shards):
            total += partials_of(run, stage, shard)[2 * c]
            share += partials_of(run, stage, shard)[2 * c + 1]
        statistics[MEAN_DY * op.C + c] = <float>(total / count)
        statistics[MEAN_SHARE * op.C + c] = <float>(share / count)


cdef inline void move_slice(Stages* run, const Stage* stage, const Slice* part) noexcept nogil:
    """Take the step of the optimizer; one whose loss is not finite moves nothing."""
    if part.size > 0 and isfinite(run.loss[stage.job.step]):
        update_slice(&run.update, stage.job.step, part, stage.job.params, run.grads)


cdef void finish_slice(Stages* run, const Stage* stage, const Slice* part) noexcept nogil:
    """The gradient of a range of parameters, and their update where that is no stage of its own."""
    cdef const float* rows[SHARDS * SHARD_TILES]
    cdef const Job* job = &stage.job
    cdef const TileKernels* kernels = job.kernels
    cdef Py_ssize_t i, first, count
    if part.size == 0:
        return
    if part.linear is NULL:
        for i in range(stage.shards):
            rows[i] = run.sums + i * run.sums_stride + part.sums
        kernels.sum_shards(rows, stage.shards, part.size, False, run.grads + part.start)
    first = 0
    while part.linear is not NULL and first < stage.tiles:
        count = min(<Py_ssize_t>(SHARDS * SHARD_TILES), stage.tiles - first)
        for i in range(count):
            rows[i] = run.saved + (first + i) * job.saved_stride
        kernels.linear_dparams(part.linear, rows, count, part.start, part.size, first > 0,
                               run.grads)
        first += count
    if run.ranks.count == 1:
        move_slice(run, stage, part)


cdef void finish_stage(Stages* run, const Stage* stage) noexcept nogil:
    """Sum the results of the shards, and begin the next stage."""
    cdef Py_ssize_t shard, cuts = stage.job.cut_count, step = stage.job.step
    if stage.of_step < cuts:
        set_moments(run, stage)
    elif run.backward and stage.of_step < 2 * cuts:
        set_shares(run, stage)
    if run.backward and stage.of_step == cuts:
        for shard in range(stage.shards):
            run.loss[step] += loss_of(run, stage, shard)[0]
            run.correct[step] += <Py_ssize_t>loss_of(run, stage, shard)[1]
        if run.update.kernel is not NULL and not isfinite(run.loss[step]):
            atomic_set(end_of(run), (step + 1) * run.of_step)
    atomic_set(units_done_of(run), 0)
    sleep_at(b"before the next stage")
    atomic_set(stage_of(run), stage.number + 1)


cdef inline bint claim_unit(Stages* run, const Stage* stage, Py_ssize_t i) noexcept nogil:
    cdef int64_t seen = atomic_get(run.claims + i)
    sleep_at(b"before claiming")
    return seen < stage.number and atomic_swap_if(run.claims + i, seen, stage.number)


cdef void exchange_stage(Stages* run, const Stage* stage) noexcept with gil:
    """Exchange the results of the shards of all ranks; after the last backward stage, all records."""
    cdef const Ranks* ranks = &run.ranks
    cdef list pieces = [ends_by_shard(ranks, <const float*>partials_of(run, stage, 0),
                                      run.partials_stride * (sizeof(double) // sizeof(float)),
                                      stage.shards)]
    cdef Py_ssize_t rank, at = run.saved - ranks.window
    if stage.of_step == 2 * stage.job.cut_count:
        pieces.append(ends_by_shard(ranks, run.sums, run.sums_stride, stage.shards))
        pieces.append([
            (at + stage.job.saved_stride
             * first_tile(stage, first_shard(ranks, rank, stage.shards))) * <Py_ssize_t>sizeof(float)
            for rank in range(ranks.count + 1)])
    (<object>ranks.given).exchange(pieces)


cdef void work_in_stages(Stages* run, int thread) noexcept nogil:
    """Run one thread, from the first stage to the last."""
    cdef Stage stage
    cdef Py_ssize_t n, i, first, units, every, waited
    cdef Py_ssize_t after        # stages after the last one backward
    cdef int64_t number
    cdef bint shared             # with other ranks: the first thread ends the stage
    cdef float* space = run.scratch + thread * run.scratch_stride
    while True:
        number = atomic_get(stage_of(run))
        if number >= atomic_get(end_of(run)):
            return
        sleep_as(thread, number, stage_of(run), 0)
        describe_stage(run, number, &stage)
        first, units, every, after = stage.first, stage.stop - stage.first, 1, 0
        shared = run.ranks.count > 1
        if stage.of_step > 2 * stage.job.cut_count:
            after = stage.of_step - 2 * stage.job.cut_count
            first, units, every = 0, run.slice_count, 1
            if after == 2:
                shared = False
            else:
                first, every = run.ranks.neighbor, run.ranks.neighbors
                units = own_slices(&run.ranks, run.slice_count)
        for n in range(units):
            i = first + (thread * units // run.threads + n) % units * every
            if not claim_unit(run, &stage, i):
                continue
            sleep_at(b"after claiming")
            if after == 2:
                move_slice(run, &stage, run.slices + i)
            elif after == 1:
                finish_slice(run, &stage, run.slices + i)
            else:
                run_stage_of_shard(run, &stage, i, space)
            sleep_at(b"after a unit")
            if atomic_add(units_done_of(run), 1) == units and not shared:
                finish_stage(run, &stage)
                break
        sleep_as(thread, 0, NULL, 0)
        waited = 0
        while atomic_get(stage_of(run)) == number:
            if shared and thread == 0 and atomic_get(units_done_of(run)) == units:
                if after == 1:
                    barrier(&run.ranks)
                else:
                    exchange_stage(run, &stage)
                finish_stage(run, &stage)
                break
            wait_a_little(&waited)
