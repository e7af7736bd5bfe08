"""The shards of a batch, which depend on its size alone: gradients are sums over them, in order."""

cdef enum:
    SHARDS = 16          # at most this many shards at once, so at most this many threads in
                         # training
    SHARD_TILES = 4      # tiles a shard takes at most; larger batches take several batches of
                         # shards
