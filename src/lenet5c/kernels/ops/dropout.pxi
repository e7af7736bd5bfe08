# Dropout on a tile: y = mask * x, dx = mask * dy, of C H W elements. The mask is 0 with probability
# p, else 1 / (1 - p), by the hash of an element's number and of its sample's key: two halves of 64
# bits, which the engine has put into the arena, (2, 16). So masks are not stored for the backward
# pass or for other threads.

cdef enum:
    DRAWN = 16  # elements of a tile whose masks are drawn at a time


cdef inline uint32_t mix(uint32_t z) noexcept nogil:
    """Return a bijective hash of z, 32 bits (Wellons' lowbias32)."""
    z = (z ^ (z >> 16)) * <uint32_t>0x7feb352d
    z = (z ^ (z >> 15)) * <uint32_t>0x846ca68b
    return z ^ (z >> 16)


cdef void apply_mask(const Op* op, const uint32_t* keys, const float* x, float* y) noexcept nogil:
    cdef uint32_t low[DRAWN * LANES]
    cdef uint32_t high[DRAWN * LANES]
    cdef float mask[DRAWN * LANES]
    cdef Py_ssize_t start, i, count, size = op.C * op.H * op.W
    cdef uint32_t first, z, threshold = op.threshold
    cdef float factor = op.constants[0]
    for i in range(DRAWN * LANES):
        low[i] = keys[i % LANES] + <uint32_t>(i // LANES) * <uint32_t>0x9e3779b9
        high[i] = keys[LANES + i % LANES]
    start = 0
    while start < size:
        count = min(<Py_ssize_t>DRAWN, size - start)
        first = <uint32_t>start * <uint32_t>0x9e3779b9
        for i in range(count * LANES):
            z = mix(mix(low[i] + first) ^ high[i])
            mask[i] = factor if z >= threshold else 0
        for i in range(count):
            v16_store(y + i * LANES, v16_mul(v16_load(x + i * LANES), v16_load(mask + i * LANES)))
        start, x, y = start + DRAWN, x + DRAWN * LANES, y + DRAWN * LANES


cdef void dropout_forward(const Op* op, const float* params, float* arena,
                          float* scratch) noexcept nogil:
    apply_mask(op, <const uint32_t*>(arena + op.given), arena + op.x, arena + op.y)


cdef void dropout_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    if need_dx:
        apply_mask(op, <const uint32_t*>(arena + op.given), gradients + op.y, gradients + op.x)


add_op(b"dropout", dropout_forward, dropout_backward)
