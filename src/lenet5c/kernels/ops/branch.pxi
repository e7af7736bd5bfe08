# A residual on a tile: x goes through a chain of ops, and beside it through another one, or none;
# y is the sum of both. All values keep their places in the arena until then. `other` is a second
# place, in the arena of gradients but for the addition's input.
#
#   fork   before both chains: nothing forward; dx += what came by the other chain, at `other`
#   turn   between both chains, back to x: nothing forward; puts the dx of the second chain, which
#          the first one will overwrite, aside at `other`
#   add    y = x + other; dx = dy, and with `branches` (a chain ends there) the gradient of other = dy
#
# Without a second chain there is no turn, and what the fork adds is the gradient of y as it lies. An
# addition may overwrite x: then dx is dy already.

cdef void branch_forward(const Op* op, const float* params, float* arena,
                         float* scratch) noexcept nogil:
    pass


cdef void fork_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* other = gradients + op.other
    cdef float* dx = gradients + op.x
    cdef Py_ssize_t i
    if not need_dx:
        return
    for i in range(op.C * op.H * op.W):
        v16_store(dx + i * LANES, v16_add(v16_load(dx + i * LANES), v16_load(other + i * LANES)))


cdef void turn_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    if need_dx:
        memcpy(gradients + op.other, gradients + op.x, op.C * op.H * op.W * LANES * sizeof(float))


cdef void add_forward(const Op* op, const float* params, float* arena,
                      float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef const float* other = arena + op.other
    cdef float* y = arena + op.y
    cdef Py_ssize_t i
    cdef v16 total
    for i in range(op.C * op.H * op.W):
        total = v16_add(v16_load(x + i * LANES), v16_load(other + i * LANES))
        v16_store(y + i * LANES, v16_max(v16_zero(), total) if op.relu else total)


cdef void add_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef float* dy = gradients + op.y
    cdef Py_ssize_t size = op.C * op.H * op.W * LANES * sizeof(float)
    if not need_dx:
        return
    if op.mask:
        mask_gradient(op, arena + op.y, dy)
    if op.x != op.y:
        memcpy(gradients + op.x, dy, size)
    if op.branches:
        memcpy(gradients + op.other, dy, size)


add_op(b"fork", branch_forward, fork_backward)
add_op(b"turn", branch_forward, turn_backward)
add_op(b"add", add_forward, add_backward)
