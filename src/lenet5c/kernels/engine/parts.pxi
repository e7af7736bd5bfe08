# A tile by several threads: inference on fewer tiles than there are threads.
#
# The ops are cut into segments: a convolution or linear op with the poolings and activations after
# it, whose outputs are shared out, or one other op, which one thread runs (`Plan.segments`). A part
# of an op is the op with fewer outputs, so kernels are the same, and so are the bits. All parts of
# a segment are done before the next one begins. Idle threads take the next part: a thread that the
# system has suspended delays the others by its current part, not by an equal share.

cdef enum:
    MOST_PARTS = 8    # of a tile

cdef struct Segment:
    Py_ssize_t first, stop        # ops
    Py_ssize_t outputs, least     # outputs to be shared out, and how many a part has at least

cdef struct PartsRun:
    const Job* job
    const Segment* segments
    Py_ssize_t segment_count, tiles
    Py_ssize_t most               # parts of a segment, of a tile
    float* arenas                 # of the tiles, arena_half apart
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


cdef void work_on_parts(PartsRun* run, int thread, float* scratch) noexcept nogil:
    """Take parts, stage by stage, until all are done."""
    cdef const Job* job = run.job
    cdef Py_ssize_t stage, parts, unit, tile, waited, last = run.segment_count + 1
    cdef int64_t* taken
    cdef float* arena
    sleep_as(thread, 0, run.words, 62)
    for stage in range(last + 1):
        taken = run.words + 2 * stage * WORDS
        parts = 1
        if 0 < stage < last:
            parts = parts_of(run.segments + stage - 1, run.most)
        while True:
            unit = atomic_add(taken, 1) - 1
            if unit >= parts * run.tiles:
                break
            tile = unit // parts
            arena = run.arenas + tile * job.arena_half
            if stage == 0:
                set_canary(arena_end(job, arena))
                begin_tile(job, tile, arena, scratch)
            elif stage < last:
                run_part(job, run.segments + stage - 1, unit % parts, parts, arena, scratch)
            else:
                check_canary(arena_end(job, arena), b"a part", b"arena")
                store_outputs(job, tile, arena)
            atomic_add(taken + WORDS, 1)
        waited = 0
        while stage < last and atomic_get(taken + WORDS) < parts * run.tiles:
            wait_a_little(&waited)
    sleep_as(thread, 0, NULL, 0)


cdef forward_in_parts(Program self, const Job* job, int threads):
    """Run a few tiles, each on several threads."""
    cdef Py_ssize_t i, tiles = (job.batch + LANES - 1) // LANES, words
    cdef Py_ssize_t scratch = round_up(max(job.scratch_floats, self.parts_scratch))
    cdef PartsRun run
    cdef Workspace space
    run.job, run.segments, run.segment_count = job, self.segments, self.segment_count
    run.tiles, run.most = tiles, threads // tiles
    words = 2 * WORDS * (run.segment_count + 2)
    space = self.workspace(words * (sizeof(int64_t) // sizeof(float)) + tiles * job.arena_half
                           + threads * scratch)
    run.words = <int64_t*>space.start
    run.arenas = space.start + words * (sizeof(int64_t) // sizeof(float))
    memset(run.words, 0, words * sizeof(int64_t))
    with nogil, parallel(num_threads=threads):
        work_on_parts(&run, threadid(), run.arenas + tiles * job.arena_half + threadid() * scratch)
    self.give_back(space)
