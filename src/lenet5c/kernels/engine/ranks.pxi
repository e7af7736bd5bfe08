# Ranks: processes that divide the shards of each batch, each on its own threads.
#
# Each has the model, the optimizer and the list of samples, and takes every step. Of the shards of
# a batch it computes a run of neighboring ones, cut by their number and that of the ranks; what
# they add to the gradient it writes to a window, at the place of the shard. When all ranks have
# exchanged what they wrote, the gradient is summed in the order of the shards, as a process alone
# does it, so the number of ranks changes no bit. Ranks of one machine, whose window is in the
# memory that they share, sum some of the slices each. Then each updates all parameters.
#
# Only the first thread of a rank communicates with others, by methods of
# `lenet5c.training.parallel.Ranks`, which return when all data has arrived. What one batch of
# shards or stage has written may still be read by another rank while this one goes on to the next,
# but not beyond that: so two places are used in turn.

cdef struct Ranks:
    Py_ssize_t rank, count
    Py_ssize_t neighbor, neighbors  # the number of this one among those of its machine
    void* given              # the `Ranks` of Python, NULL if alone
    float* window


cdef set_ranks(Ranks* ranks, given, Py_ssize_t floats):
    """Set up ranks, or this process alone, with a window of `floats` floats.

    Returns the objects that ranks points into; the caller must keep references.
    """
    cdef float[::1] window
    ranks.rank, ranks.count, ranks.neighbor, ranks.neighbors = 0, 1, 0, 1
    ranks.given, ranks.window = NULL, NULL
    if given is None or given.size == 1:
        return None
    window = given.window(floats)
    ranks.rank, ranks.count = given.rank, given.size
    ranks.neighbor, ranks.neighbors = given.neighbor, given.neighbors
    ranks.given, ranks.window = <void*>given, &window[0]
    return window


cdef void barrier(const Ranks* ranks) noexcept with gil:
    (<object>ranks.given).barrier()


cdef inline Py_ssize_t own_slices(const Ranks* ranks, Py_ssize_t slices) noexcept nogil:
    """Return the number of slices whose gradient this rank sums."""
    return (slices - ranks.neighbor + ranks.neighbors - 1) // ranks.neighbors


cdef inline Py_ssize_t first_shard(const Ranks* ranks, Py_ssize_t rank, Py_ssize_t shards) noexcept nogil:
    """Return the first shard of a rank; its shards end before those of the next rank."""
    return rank * shards // ranks.count


cdef list ends_by_shard(const Ranks* ranks, const float* start, Py_ssize_t size,
                        Py_ssize_t shards):
    """Bytes of the window at which each rank's part begins, and the last ends: so many floats a
    shard."""
    cdef Py_ssize_t rank, at = start - ranks.window
    return [(at + size * first_shard(ranks, rank, shards)) * <Py_ssize_t>sizeof(float)
            for rank in range(ranks.count + 1)]


def local_samples(Program program not None, Py_ssize_t count, Py_ssize_t batch_size,
                Py_ssize_t rank, Py_ssize_t ranks):
    """Return which of the samples of some steps a rank reads, an array of bool (count,).

    Those of its shards, and the one after each run of them, with which the last may be mixed; of
    steps that go sample by sample, all.
    """
    cdef Py_ssize_t step, start, batch, tiles, first, stop, shards, least, most
    cdef Ranks of
    of.rank, of.count = rank, ranks
    own = np.zeros(count, bool)
    most = max(count, <Py_ssize_t>1)  # in stages, the shards are of all tiles at once
    if program.template.cut_count == 0:
        most = SHARDS * shard_tiles_of(&program.template)
    for start in range(0, count, batch_size):
        batch = min(batch_size, count - start)
        if program.by_sample and batch <= FEW_SAMPLES_:
            own[start : start + batch] = True
            continue
        tiles = (batch + LANES - 1) // LANES
        for first in range(0, tiles, most):
            stop = min(tiles - first, most)
            shards = min(stop, <Py_ssize_t>SHARDS)
            least = first + first_shard(&of, rank, shards) * stop // shards
            stop = first + first_shard(&of, rank + 1, shards) * stop // shards
            if least < stop:
                own[start + least * LANES : min(start + stop * LANES, start + batch)] = True
                own[start + (stop * LANES if stop * LANES < batch else 0)] = True
    return own
