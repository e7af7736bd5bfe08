# Whole-vector updates. Each element is independent and no multiply-add is fused: the same bits on
# every machine.

cdef extern from "<math.h>" nogil:
    float sqrtf(float x)


cdef void sum_shards(
    const float** shards, Py_ssize_t count, Py_ssize_t size, bint add, float* total,
) noexcept nogil:
    """total = total, if `add`, + shard 0 + shard 1 + ..., in that order."""
    cdef Py_ssize_t i, s
    cdef const float* shard
    if not add and size > 0:
        memset(total, 0, size * sizeof(float))
    for s in range(count):
        shard = shards[s]
        for i in range(size):
            total[i] += shard[i]


cdef void sgd(
    float* params, const float* grads, float* velocity, Py_ssize_t size, float lr, float momentum,
    bint nesterov, float weight_decay,
) noexcept nogil:
    """v = momentum v + g; p -= lr (g + momentum v if nesterov else v), with g = grad + weight_decay
    p."""
    cdef Py_ssize_t i
    cdef float g
    for i in range(size):
        g = grads[i] + weight_decay * params[i]
        velocity[i] = momentum * velocity[i] + g
        if nesterov:
            g = g + momentum * velocity[i]
        else:
            g = velocity[i]
        params[i] -= lr * g


cdef void sdlm(float* params, const float* grads, const float* inverse, Py_ssize_t size,
               float lr) noexcept nogil:
    """p -= lr * inverse * g, with inverse = 1 / (mu + h): a product in place of a quotient for each
    parameter."""
    cdef Py_ssize_t i
    for i in range(size):
        params[i] -= (lr * inverse[i]) * grads[i]


cdef void adam(
    float* params, const float* grads, float* m, float* v, Py_ssize_t size, double lr, double beta1,
    double beta2, float eps, double correction1, double correction2, double weight_decay,
    bint decoupled,
) noexcept nogil:
    """p -= lr / correction1 * m / (sqrt(v) / correction2 + eps), with the running means m of g and
    v of g^2."""
    cdef Py_ssize_t i
    cdef float g
    # 1 - beta is rounded once, from doubles: with beta rounded first, the early means would be off
    # by up to 1e-3.
    cdef float keep1 = beta1, gain1 = 1 - beta1
    cdef float keep2 = beta2, gain2 = 1 - beta2
    cdef float step = lr / correction1
    cdef float scale = 1 / correction2
    cdef float keep = 1 - lr * weight_decay if decoupled else 1
    cdef float decay = 0 if decoupled else weight_decay
    for i in range(size):
        g = grads[i] + decay * params[i]
        m[i] = keep1 * m[i] + gain1 * g
        v[i] = keep2 * v[i] + gain2 * (g * g)
        params[i] = keep * params[i] - step * m[i] / (scale * sqrtf(v[i]) + eps)


cdef void adagrad(
    float* params, const float* grads, float* squares, Py_ssize_t size, float lr, float eps,
    float weight_decay,
) noexcept nogil:
    """s += g^2; p -= lr g / (sqrt(s) + eps), with g = grad + weight_decay p."""
    cdef Py_ssize_t i
    cdef float g
    for i in range(size):
        g = grads[i] + weight_decay * params[i]
        squares[i] = squares[i] + g * g
        params[i] -= lr * g / (sqrtf(squares[i]) + eps)


cdef void rmsprop(
    float* params, const float* grads, float* squares, float* velocity, Py_ssize_t size, float lr,
    double alpha, float eps, float momentum, float weight_decay,
) noexcept nogil:
    """v = momentum v + g / (sqrt(s) + eps); p -= lr v, with the running mean s of g^2, g = grad +
    weight_decay p."""
    cdef Py_ssize_t i
    cdef float g, keep = alpha, gain = 1 - alpha
    for i in range(size):
        g = grads[i] + weight_decay * params[i]
        squares[i] = keep * squares[i] + gain * (g * g)
        velocity[i] = momentum * velocity[i] + g / (sqrtf(squares[i]) + eps)
        params[i] -= lr * velocity[i]
