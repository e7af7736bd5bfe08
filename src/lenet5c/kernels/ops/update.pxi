# Optimizer updates of a range of parameters, from their gradients.
#
# The arithmetic of an optimizer is a kernel and an `add_update` with its name, the
# names of the vectors that it reads and writes (each as long as the parameters), and the names of
# its settings, numbers that may differ from step to step. The kernel is given both in the order of
# their names. Each element is independent and no multiply-add is fused: the same bits on every
# machine.

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
    const double* settings, float** vectors, float* params, const float* grads, Py_ssize_t size,
) noexcept nogil:
    """v = momentum v + g; p -= lr (g + momentum v if nesterov else v).

    g = grad + weight_decay p.
    """
    cdef float lr = settings[0], momentum = settings[1], weight_decay = settings[3]
    cdef bint nesterov = settings[2] != 0
    cdef float* velocity = vectors[0]
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

add_update(b"sgd", b"velocity", b"lr momentum nesterov weight_decay", sgd)


cdef void lion(
    const double* settings, float** vectors, float* params, const float* grads, Py_ssize_t size,
) noexcept nogil:
    """p -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay p); m = beta2 m + (1 - beta2) g."""
    cdef double beta1 = settings[1], beta2 = settings[2]
    cdef float lr = settings[0], keep = 1 - settings[0] * settings[3]
    cdef float keep1 = beta1, gain1 = 1 - beta1
    cdef float keep2 = beta2, gain2 = 1 - beta2
    cdef float* m = vectors[0]
    cdef Py_ssize_t i
    cdef float mixed, step
    for i in range(size):
        mixed = keep1 * m[i] + gain1 * grads[i]
        # A gradient that is not a number has no sign; it is passed on.
        step = lr if mixed > 0 else -lr if mixed < 0 else lr * mixed
        m[i] = keep2 * m[i] + gain2 * grads[i]
        params[i] = keep * params[i] - step

add_update(b"lion", b"m", b"lr beta1 beta2 weight_decay", lion)


cdef void sdlm(
    const double* settings, float** vectors, float* params, const float* grads, Py_ssize_t size,
) noexcept nogil:
    """p -= lr inverse g, with inverse = 1 / (mu + h): a product in place of a quotient."""
    cdef float lr = settings[0]
    cdef const float* inverse = vectors[0]
    cdef Py_ssize_t i
    for i in range(size):
        params[i] -= (lr * inverse[i]) * grads[i]

add_update(b"sdlm", b"inverse", b"lr", sdlm)


cdef void adam(
    const double* settings, float** vectors, float* params, const float* grads, Py_ssize_t size,
) noexcept nogil:
    """p -= lr / correction1 m / (sqrt(v) / correction2 + eps), with the means m of g, v of g^2."""
    cdef double lr = settings[0], beta1 = settings[1], beta2 = settings[2]
    cdef float eps = settings[3]
    cdef double weight_decay = settings[6]
    cdef bint decoupled = settings[7] != 0
    # 1 - beta is rounded once, from doubles: with beta rounded first, the early means would be off
    # by up to 1e-3.
    cdef float keep1 = beta1, gain1 = 1 - beta1
    cdef float keep2 = beta2, gain2 = 1 - beta2
    cdef float step = lr / settings[4]
    cdef float scale = 1 / settings[5]
    cdef float keep = 1 - lr * weight_decay if decoupled else 1
    cdef float decay = 0 if decoupled else weight_decay
    cdef float* m = vectors[0]
    cdef float* v = vectors[1]
    cdef Py_ssize_t i
    cdef float g
    for i in range(size):
        g = grads[i] + decay * params[i]
        m[i] = keep1 * m[i] + gain1 * g
        v[i] = keep2 * v[i] + gain2 * (g * g)
        params[i] = keep * params[i] - step * m[i] / (scale * sqrtf(v[i]) + eps)

add_update(
    b"adam", b"m v", b"lr beta1 beta2 eps correction1 correction2 weight_decay decoupled", adam)


cdef void nadam(
    const double* settings, float** vectors, float* params, const float* grads, Py_ssize_t size,
) noexcept nogil:
    """p -= lr (now g + ahead m) / (sqrt(v) / correction2 + eps), with the means of adam."""
    cdef double lr = settings[0], beta1 = settings[1], beta2 = settings[2]
    cdef float eps = settings[3]
    cdef double weight_decay = settings[5]
    cdef bint decoupled = settings[6] != 0
    cdef float keep1 = beta1, gain1 = 1 - beta1
    cdef float keep2 = beta2, gain2 = 1 - beta2
    cdef float scale = 1 / settings[4]
    cdef float keep = 1 - lr * weight_decay if decoupled else 1
    cdef float decay = 0 if decoupled else weight_decay
    cdef float now = lr * settings[7], ahead = lr * settings[8]
    cdef float* m = vectors[0]
    cdef float* v = vectors[1]
    cdef Py_ssize_t i
    cdef float g
    for i in range(size):
        g = grads[i] + decay * params[i]
        m[i] = keep1 * m[i] + gain1 * g
        v[i] = keep2 * v[i] + gain2 * (g * g)
        params[i] = keep * params[i] - (now * g + ahead * m[i]) / (scale * sqrtf(v[i]) + eps)

add_update(
    b"nadam", b"m v", b"lr beta1 beta2 eps correction2 weight_decay decoupled now ahead", nadam)


cdef void adagrad(
    const double* settings, float** vectors, float* params, const float* grads, Py_ssize_t size,
) noexcept nogil:
    """s += g^2; p -= lr g / (sqrt(s) + eps), with g = grad + weight_decay p."""
    cdef float lr = settings[0], eps = settings[1], weight_decay = settings[2]
    cdef float* squares = vectors[0]
    cdef Py_ssize_t i
    cdef float g
    for i in range(size):
        g = grads[i] + weight_decay * params[i]
        squares[i] = squares[i] + g * g
        params[i] -= lr * g / (sqrtf(squares[i]) + eps)

add_update(b"adagrad", b"squares", b"lr eps weight_decay", adagrad)


cdef void rmsprop(
    const double* settings, float** vectors, float* params, const float* grads, Py_ssize_t size,
) noexcept nogil:
    """v = momentum v + g / (sqrt(s) + eps); p -= lr v, with the mean s of g^2.

    g = grad + weight_decay p.
    """
    cdef double alpha = settings[1]
    cdef float lr = settings[0], eps = settings[2], momentum = settings[3]
    cdef float weight_decay = settings[4]
    cdef float keep = alpha, gain = 1 - alpha
    cdef float* squares = vectors[0]
    cdef float* velocity = vectors[1]
    cdef Py_ssize_t i
    cdef float g
    for i in range(size):
        g = grads[i] + weight_decay * params[i]
        squares[i] = keep * squares[i] + gain * (g * g)
        velocity[i] = momentum * velocity[i] + g / (sqrtf(squares[i]) + eps)
        params[i] -= lr * velocity[i]

add_update(b"rmsprop", b"squares velocity", b"lr alpha eps momentum weight_decay", rmsprop)
