# Teams of several ranks: records lie in the window, and slices are shared out among neighbors.

cdef inline int64_t record_in_window(const ShardBatch* batch, Py_ssize_t shard) noexcept nogil:
    """The record of a shard where ranks share them: batches of shards use two places in turn."""
    return (batch.number & 1) * SHARDS + shard


cdef void exchange_records(Team* team, const ShardBatch* batch) noexcept with gil:
    """Exchange the records of all ranks, and close the slots of the others' shards."""
    cdef Py_ssize_t shard
    cdef const Record* records = team.records + record_in_window(batch, 0)
    (<object>team.ranks.given).exchange(
        [ends_by_shard(&team.ranks, <const float*>records.loss, records[1].sums - records.sums,
                       batch.shards)])
    for shard in range(batch.shards):
        atomic_set(slot_of(team, shard),
                   (batch.number << 17) | CLOSED | record_in_window(batch, shard))


cdef void share_slices(Team* team, const ShardBatch* batch, int thread) noexcept nogil:
    """Sum the gradient of this rank's slices, wait for the other ranks, and update all slices."""
    cdef int64_t correct
    cdef Py_ssize_t n, i, waited = 0
    cdef Py_ssize_t count = own_slices(&team.ranks, team.slice_count)
    cdef bint moves = batch.ends and isfinite(
        team.loss[batch.step] + shard_batch_loss(team, batch, &correct))
    for n in range(count):
        i = team.ranks.neighbor + team.ranks.neighbors * n
        if draw_slice(team, batch, i):
            compute_slice(team, batch, team.slices + i, NULL)
            atomic_add(slices_done_of(team), 1)
    if thread == 0:
        while atomic_get(slices_done_of(team)) < count:
            wait_a_little(&waited)
        if batch.ends:
            barrier(&team.ranks)
        atomic_set(summed_of(team), batch.number)
    while atomic_get(summed_of(team)) < batch.number:
        wait_a_little(&waited)
    for n in range(team.slice_count):
        i = (thread * team.slice_count // team.threads + n) % team.slice_count
        if not draw_slice(team, batch, team.slice_count + i):
            continue
        if moves and team.slices[i].size > 0:
            update_slice(&team.update, batch.step, team.slices + i, batch.job.params, team.grads)
        if atomic_add(updates_done_of(team), 1) == team.slice_count:
            finish_shard_batch(team, batch, batch.buffer)
            return
