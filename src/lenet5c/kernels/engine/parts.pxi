# A tile, or a sample outside of tiles, by several threads: inference on fewer of them than there are
# threads.
#
# The ops are cut into segments: a convolution or linear op with the poolings and activations after
# it, whose outputs are shared out, or one other op, which one thread runs (`Plan.segments`,
# `SamplePlan.segments`). A part of an op is the op with fewer outputs, so kernels are the same, and
# so are the bits. All parts of a segment are done before the next one begins. Idle threads take the
# next part: a thread that the system has suspended delays the others by its current part, not by an
# equal share.

cdef enum:
    MOST_PARTS = 8    # of a tile or sample

cdef struct PartsRun:
    const Job* job
    const SampleChain* chain      # of samples; NULL for tiles
    const float* packed           # filters of samples
    const Segment* segments
    Py_ssize_t segment_count, count    # of the segments; of the tiles or samples
    Py_ssize_t most               # parts of a segment, of a tile or sample
    float* arenas                 # of the tiles or samples
    Py_ssize_t stride
    int64_t* words                # of each stage, loading, segments, storing: parts taken, done


cdef inline Py_ssize_t parts_of(const Segment* segment, Py_ssize_t most) noexcept nogil:
    return max(<Py_ssize_t>1, min(most, segment.outputs // segment.least))


cdef inline void take_outputs(Op* op, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Restrict a convolution or linear op to some of its outputs."""
    op.weight += first * op.C * op.KH * op.KW
    op.bias += first
    op.y += first * pooled_plane(op)
    op.argmax += first * pooled_plane(op)
    op.O = count


cdef inline void take_channels(Op* op, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Restrict a pooling or activation to some of its channels."""
    op.x += first * op.H * op.W * LANES
    op.y += first * op.OH * op.OW * LANES
    op.C = op.O = count


cdef inline Op part_of(const Op* whole, const Segment* segment, bint leads, Py_ssize_t part,
                       Py_ssize_t parts) noexcept nogil:
    """Return an op, the first of its segment or not, with the outputs of one of so many parts."""
    cdef Py_ssize_t first = part * segment.outputs // parts
    cdef Py_ssize_t count = (part + 1) * segment.outputs // parts - first
    cdef Op op = whole[0]
    if parts > 1 and leads:
        take_outputs(&op, first, count)
    elif parts > 1:
        take_channels(&op, first, count)
    return op


cdef Py_ssize_t parts_scratch(const Op* ops, const Segment* segment) noexcept nogil:
    """Return the scratch of the largest part: with fewer outputs, strips may be longer and need more."""
    cdef Py_ssize_t i, part, parts, most = 0
    cdef Op op
    for parts in range(1, parts_of(segment, MOST_PARTS) + 1):
        for part in range(parts):
            for i in range(segment.first, segment.stop):
                op = part_of(ops + i, segment, i == segment.first, part, parts)
                most = max(most, scratch_of(&op))
    return most


cdef void run_part(const Job* job, const Segment* segment, Py_ssize_t part, Py_ssize_t parts,
                   float* arena, float* scratch) noexcept nogil:
    """Run one part of a segment."""
    cdef Py_ssize_t i
    cdef Op op
    for i in range(segment.first, segment.stop):
        sleep_at(b"part")
        op = part_of(job.ops + i, segment, i == segment.first, part, parts)
        set_canary(scratch_end(&op, scratch))
        op.kernels.forward(&op, job.params, arena, scratch)
        check_canary(scratch_end(&op, scratch), op.kernels.name, b"scratch of a part")


cdef void run_sample_part(const PartsRun* run, const Segment* segment, Py_ssize_t part,
                          Py_ssize_t parts, float* arena) noexcept nogil:
    """Run one part of a segment of a sample, some blocks of 16 outputs."""
    cdef const Step* step
    cdef Py_ssize_t i, each
    cdef Py_ssize_t first = part * segment.outputs // parts
    cdef Py_ssize_t stop = (part + 1) * segment.outputs // parts
    cdef Op op
    for i in range(segment.first, segment.stop):
        sleep_at(b"part")
        step = run.chain.steps + i
        if parts == 1:
            forward_step(run.job, step, run.packed, arena, 1, 0)
        elif step.kind == STEP_CONV2D:
            sample_conv2d(run.job, step, run.packed + step.packed, arena, first, stop)
        elif step.kind == STEP_LINEAR:
            sample_linear(run.job, &step.op, arena, 1, 0, first * LANES,
                          min(stop * LANES, step.op.O))
        else:
            op = step.op
            each = op.C // segment.outputs
            take_channels(&op, first * each, (stop - first) * each)
            op.kernels.forward(&op, run.job.params, arena, NULL)


cdef void begin_in_parts(const PartsRun* run, Py_ssize_t unit, float* arena,
                         float* scratch) noexcept nogil:
    """Load a tile or sample."""
    if run.chain is NULL:
        set_canary(arena_end(run.job, arena))
        begin_tile(run.job, unit, arena, scratch)
    else:
        set_canary(arena + run.chain.arena_floats - CANARY_FLOATS)
        load_sample(run.job, unit, arena, scratch)


cdef void end_in_parts(const PartsRun* run, Py_ssize_t unit, float* arena) noexcept nogil:
    """Store the outputs of a tile or sample."""
    cdef Py_ssize_t size = run.job.output_size
    if run.chain is NULL:
        check_canary(arena_end(run.job, arena), b"a part", b"arena")
        store_outputs(run.job, unit, arena)
    else:
        check_canary(arena + run.chain.arena_floats - CANARY_FLOATS, b"a part", b"arena of a sample")
        memcpy(run.job.out + unit * size, arena + run.chain.output, size * sizeof(float))


cdef void work_on_parts(PartsRun* run, int thread, float* scratch) noexcept nogil:
    """Take parts, stage by stage, until all are done."""
    cdef Py_ssize_t stage, parts, taken_part, unit, waited, last = run.segment_count + 1
    cdef int64_t* taken
    cdef float* arena
    sleep_as(thread, 0, run.words, 62)
    for stage in range(last + 1):
        taken = run.words + 2 * stage * WORDS
        parts = 1
        if 0 < stage < last:
            parts = parts_of(run.segments + stage - 1, run.most)
        while True:
            taken_part = atomic_add(taken, 1) - 1
            if taken_part >= parts * run.count:
                break
            unit = taken_part // parts
            arena = run.arenas + unit * run.stride
            if stage == 0:
                begin_in_parts(run, unit, arena, scratch)
            elif stage == last:
                end_in_parts(run, unit, arena)
            elif run.chain is NULL:
                run_part(run.job, run.segments + stage - 1, taken_part % parts, parts, arena,
                         scratch)
            else:
                run_sample_part(run, run.segments + stage - 1, taken_part % parts, parts, arena)
            atomic_add(taken + WORDS, 1)
        waited = 0
        while stage < last and atomic_get(taken + WORDS) < parts * run.count:
            wait_a_little(&waited)
    sleep_as(thread, 0, NULL, 0)


cdef inline Py_ssize_t words_floats(Py_ssize_t segment_count) noexcept nogil:
    """Return the size, in floats, of the words of a run with so many segments."""
    return 2 * WORDS * (segment_count + 2) * (sizeof(int64_t) // sizeof(float))


cdef void run_in_parts(PartsRun* run, float* space, Py_ssize_t scratch, int threads) noexcept nogil:
    """Run all parts in a space for the words, the arenas and the scratch of each thread."""
    cdef Py_ssize_t words = words_floats(run.segment_count)
    cdef float* of_threads
    run.words, run.arenas = <int64_t*>space, space + words
    run.most = threads // run.count
    of_threads = run.arenas + run.count * run.stride
    memset(space, 0, words * sizeof(float))
    with parallel(num_threads=threads):
        work_on_parts(run, threadid(), of_threads + threadid() * scratch)


cdef forward_in_parts(Program self, const Job* job, int threads):
    """Run a few tiles, each on several threads."""
    cdef Py_ssize_t scratch = round_up(max(job.scratch_floats, self.parts_scratch))
    cdef PartsRun run
    cdef Workspace space
    run.job, run.chain, run.packed = job, NULL, NULL
    run.segments, run.segment_count = self.segments, self.segment_count
    run.count, run.stride = (job.batch + LANES - 1) // LANES, job.arena_half
    space = self.workspace(words_floats(run.segment_count) + run.count * run.stride
                           + threads * scratch)
    with nogil:
        run_in_parts(&run, space.start, scratch, threads)
    self.give_back(space)
