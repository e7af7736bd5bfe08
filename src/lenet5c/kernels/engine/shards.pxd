"""How a batch is cut, by its size alone: gradients of parameters are sums over shards, in order."""

cdef enum:
    SHARDS = 16          # at most this many shards at once, so at most this many threads in
                         # training
    SHARD_TILES = 4      # tiles a shard takes at most; larger batches take several batches of
                         # shards
