# A team: the threads of one OpenMP region that take a program through many training steps.
#
# A step is one or more batches of shards, each in two phases. First its shards are computed, each
# into a record. When all are there, its slices: a slice is a range of parameters, whose gradient is
# summed over the records, shard by shard in order, and which the optimizer then updates at once.
# The assignment to threads changes no bit: shards and slices are cut by the batch and the plan
# alone.
#
# There are no barriers. Shards are drawn from a counter, slices claimed. A thread that finds
# nothing to draw, while a shard is still out with a thread that the system has put to sleep in
# favor of another process, computes that shard as well: the first to finish has its record taken,
# the other finds the slot closed and keeps its own. So a thread that sleeps on a shard delays the
# others for hardly longer than a shard takes; one that sleeps on a slice, until it wakes.
#
# A late thread writes only to its own record, which no slot accepts: the words by
# which threads hand over work are tagged with the number of the batch of shards, so it can never
# mistake one for another. slices_done needs no tag: only the holder of a claim adds to it, and the
# batch of shards cannot end before.
#
# Parameters that a late thread still reads are not overwritten. A thread that is about to read
# announces it, and then checks that the shard is still open; a thread that updates has seen all
# shards closed, and then checks for readers. As all of this is sequentially consistent, one of the
# two sees the other. The update is made in place unless there is a reader, else into another buffer
# without readers, which is the current one from the next batch of shards on. With as many buffers
# as threads there always is one: of the others, at most all read, and at least one of them the
# current one. The first buffer is the model's own vector, which gets the result at the end.
#   next shard      number << 24 | current buffer << 16 | shards drawn;  set last when a batch of
#                   shards begins
#   claim of slice  number of the last batch of shards in which it was drawn. A thread begins with
#                   its own share of the slices, the same in each step, so that an optimizer's
#                   vectors stay in its cache
#   slices_done     slices of this batch of shards that are done; the thread that does the last one
#                   begins the next
#   slot of shard   number << 17 | closed << 16 | record;  the record of a closed slot is the
#                   shard's, that of an open one is a spare, which the thread that closes the slot
#                   takes in exchange for its own
#   update          number << 8 | buffer; where the parameters of this batch of shards are updated,
#                   as the first to hold a slice proposes
#   reading         of each thread, the buffer that it reads or is about to, or NOTHING
#   summed          of ranks: number of the last batch of shards of which all have summed their slices
#   updates_done    of ranks: slices of this batch of shards that are updated

cdef extern from "atomic.h" nogil:
    int64_t atomic_get(int64_t* a)
    void atomic_set(int64_t* a, int64_t to)
    int64_t atomic_add(int64_t* a, int64_t b)
    bint atomic_swap_if(int64_t* a, int64_t expected, int64_t to)
    void cpu_pause()
    void thread_yield()
    double clock_seconds()

cdef enum:
    WORDS = 8            # of a cache line, which each shared word has for itself
    CLOSED = 1 << 16
    NUMBER_SHIFT = 24    # of the number of the batch of shards in the next shard
    NOTHING = -1
    SPINS = 2000         # pauses before a waiting thread gives its processor away: some 50
                         # microseconds
    PATIENCE = 3         # a thread that has waited 3 / 2 times as long as a shard takes computes it

# A range of parameters: `size` from `start` on with their sums in the records, or `size` outputs of
# a linear op.
cdef struct Slice:
    const Op* linear        # or NULL
    Py_ssize_t start, size, sums

cdef struct Team:
    int64_t words[(5 + 2 * SHARDS) * WORDS]
    int64_t* claims         # of each slice; and, of ranks, of the update of each
    float* params[SHARDS]   # the buffers; no more threads than shards have a use for one
    int threads
    const Job* job          # of all samples; a step takes batch_size of them
    Py_ssize_t batch_size, batches_per_step, shard_batches, shard_tiles
    int64_t last_batch       # the one after which to stop, sooner if the loss is not finite
    Record* records         # one for each shard and one for each thread
    float* arenas
    Py_ssize_t arena_stride
    const Slice* slices
    Py_ssize_t slice_count
    UpdateSteps update
    float* grads
    double* loss            # of each step: the sum over its samples
    Py_ssize_t* correct
    bint speculate
    Ranks ranks             # which take shards each, and have no latecomers

cdef struct ShardBatch:
    int64_t number          # as in the shared words, also where a Py_ssize_t has 32 bits
    int64_t buffer          # of the parameters
    Py_ssize_t step
    Job job                 # of the step's batch
    Py_ssize_t first_tile, tiles, shards
    Py_ssize_t first, stop  # of the shards, those of this process
    bint begins, ends       # the step's first, the step's last


cdef inline int64_t* next_shard_of(Team* team) noexcept nogil:
    return team.words


cdef inline int64_t* slices_done_of(Team* team) noexcept nogil:
    return team.words + WORDS


cdef inline int64_t* update_of(Team* team) noexcept nogil:
    return team.words + 2 * WORDS


cdef inline int64_t* summed_of(Team* team) noexcept nogil:
    return team.words + (3 + 2 * SHARDS) * WORDS


cdef inline int64_t* updates_done_of(Team* team) noexcept nogil:
    return team.words + (4 + 2 * SHARDS) * WORDS


cdef inline int64_t* slot_of(Team* team, Py_ssize_t shard) noexcept nogil:
    return team.words + (3 + shard) * WORDS


cdef inline int64_t* reading_of(Team* team, int thread) noexcept nogil:
    return team.words + (3 + SHARDS + thread) * WORDS


cdef void describe_shard_batch(const Team* team, int64_t next_shard,
                               ShardBatch* batch) noexcept nogil:
    cdef int64_t number = next_shard >> NUMBER_SHIFT
    cdef Py_ssize_t tiles, within = number % team.batches_per_step
    cdef Py_ssize_t most = SHARDS * team.shard_tiles
    cdef Job* job = &batch.job
    batch.number = number
    batch.buffer = next_shard >> 16 & 0xff
    batch.step = number // team.batches_per_step
    batch.begins = within == 0
    batch.ends = within == team.batches_per_step - 1
    job[0] = team.job[0]
    job.params = team.params[batch.buffer]
    choose_batch(job, batch.step * team.batch_size, team.batch_size)
    tiles = (job.batch + LANES - 1) // LANES
    batch.first_tile = min(within * most, tiles)
    batch.tiles = min(most, tiles - batch.first_tile)
    batch.shards = min(batch.tiles, <Py_ssize_t>SHARDS)
    batch.first = first_shard(&team.ranks, team.ranks.rank, batch.shards)
    batch.stop = first_shard(&team.ranks, team.ranks.rank + 1, batch.shards)


cdef inline Py_ssize_t shard_start(const ShardBatch* batch, Py_ssize_t shard) noexcept nogil:
    return batch.first_tile + shard * batch.tiles // batch.shards


cdef inline Py_ssize_t tiles_of(const ShardBatch* batch, Py_ssize_t shard) noexcept nogil:
    return shard_start(batch, shard + 1) - shard_start(batch, shard)


cdef inline bint is_over(Team* team, const ShardBatch* batch) noexcept nogil:
    return atomic_get(next_shard_of(team)) >> NUMBER_SHIFT != batch.number


cdef inline bint is_open(const ShardBatch* batch, int64_t slot) noexcept nogil:
    return slot >> 16 == batch.number << 1


cdef Py_ssize_t draw_shard(Team* team, const ShardBatch* batch) noexcept nogil:
    """The next shard, or -1 if there is none left in this batch of shards."""
    cdef int64_t seen
    while True:
        seen = atomic_get(next_shard_of(team))
        if seen >> NUMBER_SHIFT != batch.number or (seen & 0xffff) >= batch.stop - batch.first:
            return -1
        sleep_at(b"before drawing")
        if atomic_swap_if(next_shard_of(team), seen, seen + 1):
            return batch.first + (seen & 0xffff)


cdef inline bint draw_slice(Team* team, const ShardBatch* batch, Py_ssize_t i) noexcept nogil:
    """Claim slice i; fails if all are claimed and the batch of shards is over."""
    return (atomic_get(team.claims + i) == batch.number - 1
            and atomic_swap_if(team.claims + i, batch.number - 1, batch.number))


cdef inline void wait_a_little(Py_ssize_t* waited) noexcept nogil:
    waited[0] += 1
    if waited[0] < SPINS:
        cpu_pause()
    else:
        thread_yield()


cdef bint compute_shard(Team* team, const ShardBatch* batch, Py_ssize_t shard, int thread,
                        float* arena, int64_t* record) noexcept nogil:
    """Compute a shard into the thread's own record, and offer that for the shard's slot; False if
    it is closed already."""
    cdef int64_t seen
    cdef int64_t* slot = slot_of(team, shard)
    cdef bint wanted
    atomic_set(reading_of(team, thread), batch.buffer)
    sleep_at(b"before looking")
    wanted = is_open(batch, atomic_get(slot))
    sleep_at(b"after looking")
    if wanted:
        run_shard(&batch.job, shard_start(batch, shard), shard_start(batch, shard + 1), arena,
                  team.records + record[0])
        sleep_at(b"after a shard")
    # before the slot is closed, after which others look for readers
    atomic_set(reading_of(team, thread), NOTHING)
    sleep_at(b"after reading")
    seen = atomic_get(slot)
    if wanted and is_open(batch, seen):
        sleep_at(b"before closing")
        if atomic_swap_if(slot, seen, (batch.number << 17) | CLOSED | record[0]):
            record[0] = seen & 0xffff
    return wanted


cdef Py_ssize_t open_shard(Team* team, const ShardBatch* batch, Py_ssize_t first,
                           Py_ssize_t stop, int thread) noexcept nogil:
    """A shard of a range that is not done, or -1, also if all is over; each thread looks from another
    one on."""
    cdef Py_ssize_t n, shard
    for n in range(stop - first):
        shard = first + (thread + n) % (stop - first)
        if is_open(batch, atomic_get(slot_of(team, shard))):
            return shard
    return -1


cdef inline void compute_shards(
    Team* team, const ShardBatch* batch, int thread, float* arena, int64_t* record,
    double* tile_seconds,
) noexcept nogil:
    """Draw shards while there are any, then make sure that all are finished."""
    cdef Py_ssize_t shard, waited = 0
    cdef double began
    while True:
        shard = draw_shard(team, batch)
        if shard < 0:
            break
        sleep_at(b"after drawing")
        began = clock_seconds()
        if team.ranks.count > 1:
            record[0] = record_in_window(batch, shard)
        if compute_shard(team, batch, shard, thread, arena, record):
            tile_seconds[0] = min(tile_seconds[0],
                                  (clock_seconds() - began) / tiles_of(batch, shard))
    if team.ranks.count > 1 and thread == 0:
        while open_shard(team, batch, batch.first, batch.stop, 0) >= 0:
            wait_a_little(&waited)
        exchange_records(team, batch)
    began, waited = clock_seconds(), 0
    while True:
        shard = open_shard(team, batch, 0, batch.shards, thread)
        sleep_at(b"while waiting")
        if shard < 0:
            break
        if not team.speculate:
            wait_a_little(&waited)
            continue
        cpu_pause()
        waited += 1
        if waited % 16 == 0 and 2 * (clock_seconds()
                                     - began) > PATIENCE * tile_seconds[0] * tiles_of(batch, shard):
            compute_shard(team, batch, shard, thread, arena, record)


cdef double shard_batch_loss(Team* team, const ShardBatch* batch,
                             int64_t* correct) noexcept nogil:
    """The sums of losses and of correct answers over the tiles of a batch of shards, in order."""
    cdef Py_ssize_t shard, tile
    cdef const Record* record
    cdef double loss = 0
    correct[0] = 0
    for shard in range(batch.shards):
        record = team.records + (atomic_get(slot_of(team, shard)) & 0xffff)
        for tile in range(tiles_of(batch, shard)):
            loss += record.loss[tile]
            correct[0] += record.correct[tile]
    return loss


cdef Py_ssize_t unread_buffer(Team* team, const ShardBatch* batch) noexcept nogil:
    """Return the current buffer of parameters, or one without readers if it still has a reader."""
    cdef int64_t read = 0, buffer
    cdef Py_ssize_t i
    for i in range(team.threads):
        buffer = atomic_get(reading_of(team, i))
        if buffer != NOTHING:
            read |= 1 << buffer
    buffer = batch.buffer
    while read >> buffer & 1:
        buffer = (buffer + 1) % team.threads
    return buffer


cdef Py_ssize_t choose_buffer(Team* team, const ShardBatch* batch) noexcept nogil:
    """Return the buffer of the updated parameters, the same for all threads that hold a slice."""
    cdef Py_ssize_t buffer
    cdef int64_t seen = atomic_get(update_of(team))
    if seen >> 8 != batch.number:
        buffer = unread_buffer(team, batch)
        sleep_at(b"before choosing")
        atomic_swap_if(update_of(team), seen, batch.number << 8 | buffer)
    return atomic_get(update_of(team)) & 0xff


cdef void copy_params(const Slice* part, const float* params, float* to) noexcept nogil:
    cdef Py_ssize_t at
    if part.linear is NULL:
        memcpy(to + part.start, params + part.start, part.size * sizeof(float))
        return
    at = part.linear.weight + part.start * part.linear.KW
    memcpy(to + at, params + at, part.size * part.linear.KW * sizeof(float))
    if part.linear.has_bias:
        at = part.linear.bias + part.start
        memcpy(to + at, params + at, part.size * sizeof(float))


cdef inline void update_slice(const UpdateSteps* update, Py_ssize_t step, const Slice* part,
                              float* params, const float* grads) noexcept nogil:
    """Take a step of the optimizer for a range of parameters."""
    if part.linear is NULL:
        apply_update(update, step, params, grads, part.start, part.size)
        return
    apply_update(update, step, params, grads, part.linear.weight + part.start * part.linear.KW,
                 part.size * part.linear.KW)
    if part.linear.has_bias:
        apply_update(update, step, params, grads, part.linear.bias + part.start, part.size)


cdef void compute_slice(Team* team, const ShardBatch* batch, const Slice* part,
                        float* updated) noexcept nogil:
    """The gradient of a range of parameters from all records; their update, if `updated` is not
    NULL."""
    cdef const float* rows[SHARDS * SHARD_TILES]
    cdef const TileKernels* kernels = team.job.kernels
    cdef const Record* record
    cdef Py_ssize_t shard, tile, tiles = 0
    if part.size == 0:
        return  # a program without parameters, perhaps without arrays for them
    if updated is not NULL and updated is not batch.job.params:
        copy_params(part, batch.job.params, updated)
        sleep_at(b"after copying")
    for shard in range(batch.shards):
        record = team.records + (atomic_get(slot_of(team, shard)) & 0xffff)
        if part.linear is NULL:
            rows[shard] = record.sums + part.sums
            continue
        for tile in range(tiles_of(batch, shard)):
            rows[tiles] = record.saved + tile * team.job.saved_stride
            tiles += 1
    if part.linear is NULL:
        kernels.sum_shards(rows, batch.shards, part.size, not batch.begins, team.grads + part.start)
    else:
        kernels.linear_dparams(part.linear, rows, tiles, part.start, part.size, not batch.begins,
                               team.grads)
    if updated is not NULL:
        update_slice(&team.update, batch.step, part, updated, team.grads)


cdef void begin_shard_batch(Team* team, int64_t number, int64_t buffer) noexcept nogil:
    """Open all slots; the next shard is set last, which lets the others in."""
    cdef Py_ssize_t shard
    for shard in range(SHARDS):
        atomic_set(slot_of(team, shard),
                   (number << 17) | (atomic_get(slot_of(team, shard)) & 0xffff))
        sleep_at(b"while opening")
    atomic_set(slices_done_of(team), 0)
    atomic_set(updates_done_of(team), 0)
    sleep_at(b"before beginning")
    atomic_set(next_shard_of(team), number << NUMBER_SHIFT | buffer << 16)


cdef void finish_shard_batch(Team* team, const ShardBatch* batch, int64_t buffer) noexcept nogil:
    cdef int64_t correct
    team.loss[batch.step] += shard_batch_loss(team, batch, &correct)
    team.correct[batch.step] += correct
    if batch.ends and not isfinite(team.loss[batch.step]) and team.update.kernel is not NULL:
        team.last_batch = batch.number
    begin_shard_batch(team, team.shard_batches if batch.number == team.last_batch else batch.number
                      + 1, buffer)


cdef void compute_slices(Team* team, const ShardBatch* batch, int thread) noexcept nogil:
    """Draw slices, own share first; the thread that does the last one ends the batch."""
    cdef int64_t correct
    cdef Py_ssize_t n, i, first = thread * team.slice_count // team.threads
    cdef bint looked = False
    cdef Py_ssize_t buffer = batch.buffer
    cdef float* updated = NULL
    for n in range(team.slice_count):
        i = (first + n) % team.slice_count
        if not draw_slice(team, batch, i):
            continue
        sleep_at(b"after a claim")
        if not looked:
            # A step whose loss is not finite moves nothing.
            if (batch.ends and team.update.kernel is not NULL
                    and isfinite(team.loss[batch.step] + shard_batch_loss(team, batch, &correct))):
                buffer = choose_buffer(team, batch)
                updated = team.params[buffer]
            looked = True
        compute_slice(team, batch, team.slices + i, updated)
        sleep_at(b"after a slice")
        if atomic_add(slices_done_of(team), 1) == team.slice_count:
            sleep_at(b"before finishing")
            finish_shard_batch(team, batch, buffer)
            return


cdef void work_in_team(Team* team, int thread) noexcept nogil:
    """Run one thread, from the first batch of shards to the last."""
    cdef ShardBatch batch
    cdef int64_t record = SHARDS + thread
    cdef float* arena = team.arenas + thread * team.arena_stride
    # the least so far, a second if there is none; shards differ in their tiles, and those of a last
    # batch of shards are small
    cdef double tile_seconds = 1
    cdef int64_t next_shard
    cdef Py_ssize_t waited
    while True:
        next_shard = atomic_get(next_shard_of(team))
        sleep_as(thread, next_shard >> NUMBER_SHIFT, next_shard_of(team), NUMBER_SHIFT)
        sleep_at(b"at the start")
        if next_shard >> NUMBER_SHIFT >= team.shard_batches:
            sleep_as(thread, 0, NULL, 0)
            return
        describe_shard_batch(team, next_shard, &batch)
        compute_shards(team, &batch, thread, arena, &record, &tile_seconds)
        sleep_at(b"before slices")
        if team.ranks.count > 1:
            share_slices(team, &batch, thread)
        else:
            compute_slices(team, &batch, thread)
        sleep_at(b"at the end")
        waited = 0
        while not is_over(team, &batch):
            wait_a_little(&waited)
