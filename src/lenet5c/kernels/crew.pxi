# A crew: the threads of one OpenMP region that take a program through many training steps.
#
# A step is one or more waves. A wave has two phases. First its shards are computed, each into a record. When all are
# there, its slices: a slice is a range of parameters, whose gradient is summed over the records, shard by shard in
# order, and which the optimiser then updates at once. Which thread does what changes no bit: shards and slices are cut
# by the batch and the plan alone.
#
# Nobody waits at a barrier. Shards are drawn by ticket, slices by claim. A thread that finds nothing to draw, while a
# shard is still out with a thread that the system has put to sleep in favour of another process, computes that shard as
# well: the first to finish has its record taken, the other finds the slot closed and keeps its own. So a thread that
# sleeps on a shard holds up a wave for hardly longer than a shard takes; one that sleeps on a slice, until it wakes.
#
# A latecomer may read parameters while others update them. What it makes of them goes into its own record only, and no
# slot will take that: the words by which threads hand over work are tagged with the wave, so it can never mistake one
# wave for another. slices_done needs no tag: only who holds a claim adds to it, and the wave cannot end before.
#   ticket        wave << 16 | shards drawn;  set last when a wave begins
#   claim of slice  the last wave in which it was drawn. A thread begins with its own share of the slices, the same in
#                 each step, so that an optimiser's vectors stay in its cache
#   slices_done   slices of this wave that are done; who does the last one begins the next wave
#   slot of shard wave << 17 | closed << 16 | record;  the record of a closed slot is the shard's, that of an open one
#                 is a spare, which the thread that closes the slot takes in exchange for its own

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
    SPINS = 2000         # pauses before a waiting thread gives its processor away: some 50 microseconds
    PATIENCE = 3         # who has waited for 3 / 2 times as long as a shard takes computes it, too

cdef enum UpdateKind:
    NO_UPDATE
    SGD
    ADAM
    SDLM
    ADAGRAD
    RMSPROP

cdef struct Update:
    UpdateKind kind
    float* first            # velocity, m, squares, or SDLM's 1 / (mu + h)
    float* second           # v, or RMSPROP's velocity
    double momentum, beta1, beta2, eps, weight_decay
    bint nesterov, decoupled
    const double* lr        # of each step
    const double* correction1
    const double* correction2

# A range of parameters: `size` from `start` on with their sums in the records, or `size` outputs of a linear op.
cdef struct Slice:
    const Op* linear        # or NULL
    Py_ssize_t start, size, sums

cdef struct Crew:
    int64_t words[(2 + SHARDS) * WORDS]
    int64_t* claims         # of each slice
    int threads
    const Job* job          # of all samples; a step takes batch_size of them
    Py_ssize_t batch_size, waves_per_step, waves, shard_tiles
    int64_t last_wave       # the one after which to stop, sooner if the loss is not finite
    Record* records         # one for each shard and one for each thread
    float* arenas
    Py_ssize_t arena_stride
    const Slice* slices
    Py_ssize_t slice_count
    Update update
    float* grads
    double* loss            # of each step: the sum over its samples
    Py_ssize_t* correct
    bint speculate

cdef struct Wave:
    int64_t number          # as in the shared words, also where a Py_ssize_t has 32 bits
    Py_ssize_t step
    Job job                 # of the step's batch
    Py_ssize_t first_tile, tiles, shards
    bint begins, ends       # the step's first, the step's last


cdef inline int64_t* ticket_of(Crew* crew) noexcept nogil:
    return crew.words


cdef inline int64_t* slices_done_of(Crew* crew) noexcept nogil:
    return crew.words + WORDS


cdef inline int64_t* slot_of(Crew* crew, Py_ssize_t shard) noexcept nogil:
    return crew.words + (2 + shard) * WORDS


cdef void look_at_wave(const Crew* crew, int64_t number, Wave* wave) noexcept nogil:
    cdef Py_ssize_t tiles, within = number % crew.waves_per_step
    cdef Py_ssize_t most = SHARDS * crew.shard_tiles
    cdef Job* job = &wave.job
    wave.number = number
    wave.step = number // crew.waves_per_step
    wave.begins = within == 0
    wave.ends = within == crew.waves_per_step - 1
    job[0] = crew.job[0]
    choose_batch(job, wave.step * crew.batch_size, crew.batch_size)
    tiles = (job.batch + LANES - 1) // LANES
    wave.first_tile = min(within * most, tiles)
    wave.tiles = min(most, tiles - wave.first_tile)
    wave.shards = min(wave.tiles, <Py_ssize_t>SHARDS)


cdef inline Py_ssize_t shard_start(const Wave* wave, Py_ssize_t shard) noexcept nogil:
    return wave.first_tile + shard * wave.tiles // wave.shards


cdef inline Py_ssize_t tiles_of(const Wave* wave, Py_ssize_t shard) noexcept nogil:
    return shard_start(wave, shard + 1) - shard_start(wave, shard)


cdef inline bint is_over(Crew* crew, const Wave* wave) noexcept nogil:
    return atomic_get(ticket_of(crew)) >> 16 != wave.number


cdef Py_ssize_t draw_shard(Crew* crew, const Wave* wave) noexcept nogil:
    """The next shard, or -1 if there is none left in this wave."""
    cdef int64_t seen
    while True:
        seen = atomic_get(ticket_of(crew))
        if seen >> 16 != wave.number or (seen & 0xffff) >= wave.shards:
            return -1
        if atomic_swap_if(ticket_of(crew), seen, seen + 1):
            return seen & 0xffff


cdef inline bint draw_slice(Crew* crew, const Wave* wave, Py_ssize_t i) noexcept nogil:
    """Whether slice i is this thread's; never once the wave is over, as every slice is claimed by then."""
    return (atomic_get(crew.claims + i) == wave.number - 1
            and atomic_swap_if(crew.claims + i, wave.number - 1, wave.number))


cdef inline void wait_a_little(Py_ssize_t* waited) noexcept nogil:
    waited[0] += 1
    if waited[0] < SPINS:
        cpu_pause()
    else:
        thread_yield()


cdef void compute_shard(Crew* crew, const Wave* wave, Py_ssize_t shard, float* arena, int64_t* record) noexcept nogil:
    """Compute a shard into the thread's own record, and offer that for the shard's slot."""
    cdef int64_t open_slot
    cdef int64_t* slot = slot_of(crew, shard)
    run_shard(&wave.job, shard_start(wave, shard), shard_start(wave, shard + 1), arena, crew.records + record[0])
    open_slot = atomic_get(slot)
    if open_slot >> 16 != wave.number << 1:
        return
    if atomic_swap_if(slot, open_slot, (wave.number << 17) | CLOSED | record[0]):
        record[0] = open_slot & 0xffff


cdef Py_ssize_t open_shard(Crew* crew, const Wave* wave, int thread) noexcept nogil:
    """A shard that is not done, or -1; each thread looks from another one on."""
    cdef Py_ssize_t n, shard
    for n in range(wave.shards):
        shard = (thread + n) % wave.shards
        if not atomic_get(slot_of(crew, shard)) & CLOSED:
            return shard
    return -1


cdef void compute_shards(
    Crew* crew, const Wave* wave, int thread, float* arena, int64_t* record, double* tile_seconds,
) noexcept nogil:
    """Draw shards while there are any, then see to it that all get done."""
    cdef Py_ssize_t shard, waited = 0
    cdef double began
    while True:
        shard = draw_shard(crew, wave)
        if shard < 0:
            break
        began = clock_seconds()
        compute_shard(crew, wave, shard, arena, record)
        tile_seconds[0] = min(tile_seconds[0], (clock_seconds() - began) / tiles_of(wave, shard))
    began = clock_seconds()
    while True:
        shard = open_shard(crew, wave, thread)
        if shard < 0 or is_over(crew, wave):
            break
        if not crew.speculate or tile_seconds[0] > 1:
            wait_a_little(&waited)
            continue
        cpu_pause()
        waited += 1
        if waited % 16 == 0 and 2 * (clock_seconds() - began) > PATIENCE * tile_seconds[0] * tiles_of(wave, shard):
            compute_shard(crew, wave, shard, arena, record)


cdef double wave_loss(Crew* crew, const Wave* wave, Py_ssize_t* correct) noexcept nogil:
    """The sums of losses and of correct answers over the wave's tiles, in order."""
    cdef Py_ssize_t shard, tile
    cdef const Record* record
    cdef double loss = 0
    correct[0] = 0
    for shard in range(wave.shards):
        record = crew.records + (atomic_get(slot_of(crew, shard)) & 0xffff)
        for tile in range(tiles_of(wave, shard)):
            loss += record.loss[tile]
            correct[0] += record.correct[tile]
    return loss


cdef void apply_update(
    const Job* job, const Update* update, Py_ssize_t step, const float* all_grads, Py_ssize_t start, Py_ssize_t size,
) noexcept nogil:
    """The optimiser's step number `step` for a range of parameters."""
    cdef const TileKernels* kernels = job.kernels
    cdef float* params = job.params + start
    cdef const float* grads = all_grads + start
    if update.kind == SGD:
        kernels.sgd(params, grads, update.first + start, size, update.lr[step], update.momentum, update.nesterov,
                    update.weight_decay)
    elif update.kind == ADAM:
        kernels.adam(params, grads, update.first + start, update.second + start, size, update.lr[step], update.beta1,
                     update.beta2, update.eps, update.correction1[step], update.correction2[step],
                     update.weight_decay, update.decoupled)
    elif update.kind == SDLM:
        kernels.sdlm(params, grads, update.first + start, size, update.lr[step])
    elif update.kind == ADAGRAD:
        kernels.adagrad(params, grads, update.first + start, size, update.lr[step], update.eps, update.weight_decay)
    elif update.kind == RMSPROP:
        kernels.rmsprop(params, grads, update.first + start, update.second + start, size, update.lr[step], update.beta2,
                        update.eps, update.momentum, update.weight_decay)


cdef void compute_slice(Crew* crew, const Wave* wave, const Slice* part, bint update) noexcept nogil:
    """The gradient of a range of parameters from all records, and their update."""
    cdef const float* rows[SHARDS * SHARD_TILES]
    cdef const TileKernels* kernels = crew.job.kernels
    cdef const Record* record
    cdef Py_ssize_t shard, tile, tiles = 0
    if part.size == 0:
        return  # a program without parameters, perhaps without arrays for them
    for shard in range(wave.shards):
        record = crew.records + (atomic_get(slot_of(crew, shard)) & 0xffff)
        if part.linear is NULL:
            rows[shard] = record.sums + part.sums
            continue
        for tile in range(tiles_of(wave, shard)):
            rows[tiles] = record.kept + tile * crew.job.kept_stride
            tiles += 1
    if part.linear is NULL:
        kernels.sum_shards(rows, wave.shards, part.size, not wave.begins, crew.grads + part.start)
        if update:
            apply_update(crew.job, &crew.update, wave.step, crew.grads, part.start, part.size)
        return
    kernels.linear_dparams(part.linear, rows, tiles, part.start, part.size, not wave.begins, crew.grads)
    if update:
        apply_update(crew.job, &crew.update, wave.step, crew.grads, part.linear.weight + part.start * part.linear.KW,
                     part.size * part.linear.KW)
        if part.linear.has_bias:
            apply_update(crew.job, &crew.update, wave.step, crew.grads, part.linear.bias + part.start, part.size)


cdef void begin_wave(Crew* crew, int64_t number) noexcept nogil:
    """Open all slots; the ticket is set last, which lets the others in."""
    cdef Py_ssize_t shard
    for shard in range(SHARDS):
        atomic_set(slot_of(crew, shard), (number << 17) | (atomic_get(slot_of(crew, shard)) & 0xffff))
    atomic_set(slices_done_of(crew), 0)
    atomic_set(ticket_of(crew), number << 16)


cdef void finish_wave(Crew* crew, const Wave* wave) noexcept nogil:
    cdef Py_ssize_t correct
    crew.loss[wave.step] += wave_loss(crew, wave, &correct)
    crew.correct[wave.step] += correct
    if wave.ends and not isfinite(crew.loss[wave.step]) and crew.update.kind != NO_UPDATE:
        crew.last_wave = wave.number
    begin_wave(crew, crew.waves if wave.number == crew.last_wave else wave.number + 1)


cdef void compute_slices(Crew* crew, const Wave* wave, int thread) noexcept nogil:
    """Draw slices while there are any, beginning with the thread's share; who does the last one finishes the wave."""
    cdef Py_ssize_t n, i, correct, first = thread * crew.slice_count // crew.threads
    cdef bint looked = False, update = False
    for n in range(crew.slice_count):
        i = (first + n) % crew.slice_count
        if not draw_slice(crew, wave, i):
            continue
        if not looked:
            # A step whose loss is not finite moves nothing.
            update = wave.ends and isfinite(crew.loss[wave.step] + wave_loss(crew, wave, &correct))
            looked = True
        compute_slice(crew, wave, crew.slices + i, update)
        if atomic_add(slices_done_of(crew), 1) == crew.slice_count:
            finish_wave(crew, wave)
            return


cdef void work_in_crew(Crew* crew, int thread) noexcept nogil:
    """What each thread does, from the first wave to the last."""
    cdef Wave wave
    cdef int64_t record = SHARDS + thread
    cdef float* arena = crew.arenas + thread * crew.arena_stride
    cdef double tile_seconds = 1e9  # the least so far; shards differ in their tiles, and those of a last wave are small
    cdef int64_t number
    cdef Py_ssize_t waited
    while True:
        number = atomic_get(ticket_of(crew)) >> 16
        if number >= crew.waves:
            return
        look_at_wave(crew, number, &wave)
        compute_shards(crew, &wave, thread, arena, &record, &tile_seconds)
        compute_slices(crew, &wave, thread)
        waited = 0
        while not is_over(crew, &wave):
            wait_a_little(&waited)
