# Losses of one tile: logits (K, 16) -> the sum over live lanes of a sample's loss, and the gradient
# times scale.
#
#   cross-entropy: log(sum exp(z)) - sum over k of t[k] z[k], with t = (1 - smoothing) onehot(label)
#     + smoothing / K
#                  dz = softmax(z) - t
#   squared error: sum over k of (z[k] - t[k])^2       dz = z - t (the factor 2 is in scale)
#
#   maximum likelihood: z[label]                                   dz = onehot(label)
#   maximum a posteriori: z[label] + log(exp(-j) + sum exp(-z))
#                  dz = onehot(label) - exp(-z) / (exp(-j) + sum exp(-z))
#
# The last two, eq. 8 and 9 of LeCun et al. (1998), take penalties: the smaller, the likelier the
# class. Dead lanes, those from `lanes` on, have no loss and a zero gradient.

cdef double cross_entropy(
    Py_ssize_t K, Py_ssize_t lanes, const float* z, const int* labels, float smoothing, float scale,
    float* dz,
) noexcept nogil:
    cdef float peak[LANES]
    cdef float total[LANES]
    cdef Py_ssize_t k, lane
    cdef v16 highest = v16_load(z)
    cdef v16 norm = v16_zero()
    cdef v16 e
    cdef double loss = 0, fit, mean
    for k in range(1, K):
        highest = larger(highest, v16_load(z + k * LANES))
    for k in range(K):
        e = exponential(v16_sub(v16_load(z + k * LANES), highest))
        norm = v16_add(norm, e)
        if dz is not NULL:
            v16_store(dz + k * LANES, e)
    v16_store(peak, highest)
    v16_store(total, norm)
    for lane in range(lanes):
        mean = 0
        if smoothing > 0:
            for k in range(K):
                mean += z[k * LANES + lane]
            mean /= K
        fit = (1 - <double>smoothing) * z[labels[lane] * LANES + lane] + smoothing * mean
        loss += logarithm(total[lane]) + peak[lane] - fit
    if dz is NULL:
        return loss
    for k in range(K):
        e = v16_sub(v16_div(v16_load(dz + k * LANES), norm), v16_set1(smoothing / K))
        v16_store(dz + k * LANES, e)
    for lane in range(lanes):
        dz[labels[lane] * LANES + lane] -= 1 - smoothing
    for k in range(K):
        v16_store(dz + k * LANES, v16_mul(v16_load(dz + k * LANES), v16_set1(scale)))
        for lane in range(lanes, LANES):
            dz[k * LANES + lane] = 0
    return loss


cdef double squared_error(
    Py_ssize_t K, Py_ssize_t lanes, const float* z, const float* targets, float scale, float* dz,
) noexcept nogil:
    """targets (lanes, K); each sample has its own sum, however many a tile has."""
    cdef double total[LANES]
    cdef Py_ssize_t k, lane
    cdef double loss = 0
    cdef float error
    memset(total, 0, sizeof(total))
    for k in range(K):
        for lane in range(LANES):
            error = z[k * LANES + lane] - targets[lane * K + k] if lane < lanes else 0
            total[lane] += <double>error * error
            if dz is not NULL:
                dz[k * LANES + lane] = error * scale
    for lane in range(lanes):
        loss += total[lane]
    return loss


cdef double maximum_likelihood(
    Py_ssize_t K, Py_ssize_t lanes, const float* z, const int* labels, float scale, float* dz,
) noexcept nogil:
    cdef Py_ssize_t lane
    cdef double loss = 0
    if dz is not NULL:
        memset(dz, 0, K * LANES * sizeof(float))
    for lane in range(lanes):
        loss += z[labels[lane] * LANES + lane]
        if dz is not NULL:
            dz[labels[lane] * LANES + lane] = scale
    return loss


cdef double maximum_a_posteriori(
    Py_ssize_t K, Py_ssize_t lanes, const float* z, const int* labels, float j, float scale,
    float* dz,
) noexcept nogil:
    """Shifted by the least penalty, that of the rubbish class included: nothing overflows."""
    cdef float least[LANES]
    cdef float total[LANES]
    cdef Py_ssize_t k, lane
    cdef v16 rubbish = v16_set1(j)
    cdef v16 lowest = rubbish
    cdef v16 norm, e
    cdef double loss = 0
    for k in range(K):
        e = v16_load(z + k * LANES)
        lowest = v16_where_lt(e, lowest, e, lowest)
    norm = exponential(v16_sub(lowest, rubbish))
    for k in range(K):
        e = exponential(v16_sub(lowest, v16_load(z + k * LANES)))
        norm = v16_add(norm, e)
        if dz is not NULL:
            v16_store(dz + k * LANES, e)
    v16_store(least, lowest)
    v16_store(total, norm)
    for lane in range(lanes):
        loss += <double>z[labels[lane] * LANES + lane] - least[lane] + logarithm(total[lane])
    if dz is NULL:
        return loss
    for k in range(K):
        v16_store(dz + k * LANES, v16_sub(v16_zero(), v16_div(v16_load(dz + k * LANES), norm)))
    for lane in range(lanes):
        dz[labels[lane] * LANES + lane] += 1
    for k in range(K):
        v16_store(dz + k * LANES, v16_mul(v16_load(dz + k * LANES), v16_set1(scale)))
        for lane in range(lanes, LANES):
            dz[k * LANES + lane] = 0
    return loss


cdef double tile_loss(
    LossKind kind, Py_ssize_t K, Py_ssize_t lanes, const float* z, const int* labels,
    const float* targets, float setting, float scale, float* dz,
) noexcept nogil:
    if kind == CROSS_ENTROPY:
        return cross_entropy(K, lanes, z, labels, setting, scale, dz)
    if kind == MAXIMUM_LIKELIHOOD:
        return maximum_likelihood(K, lanes, z, labels, scale, dz)
    if kind == MAXIMUM_A_POSTERIORI:
        return maximum_a_posteriori(K, lanes, z, labels, setting, scale, dz)
    return squared_error(K, lanes, z, targets, scale, dz)
