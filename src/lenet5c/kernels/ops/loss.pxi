# Losses of one tile: outputs z (K, 16) -> the loss of each live lane, and the gradient. Both are
# multiplied by the sample's weight, the gradient by scale as well.
#
#   cross-entropy: log(sum exp(z)) - sum over k of t[k] z[k], with t = (1 - smoothing) onehot(label)
#     + smoothing / K
#                  dz = softmax(z) - t
#     with class weights w or targets q, u[k] = w[k] ((1 - smoothing) q[k] + smoothing / K):
#     sum over k of u[k] (log(sum exp(z)) - z[k])
#                  dz = sum(u) softmax(z) - u
#   squared error: sum over k of (z[k] - t[k])^2       dz = z - t (the factor 2 is in scale)
#
#   maximum likelihood: z[label]                                   dz = onehot(label)
#   negative log-likelihood: -w[label] z[label]                    dz = -w[label] onehot(label)
#   maximum a posteriori: z[label] + log(exp(-j) + sum exp(-z))
#                  dz = onehot(label) - exp(-z) / (exp(-j) + sum exp(-z))
#
# Maximum likelihood and a posteriori, eq. 8 and 9 of LeCun et al. (1998), take penalties: the
# smaller, the likelier the class. Dead lanes, those from `lanes` on, have a zero gradient, and so
# have samples of weight 0, whatever their outputs are; the loss of these is 0.

cdef enum:
    SHARE_CLASSES = 16   # shares computed at a time


cdef inline float weight_of(const Loss* loss, Py_ssize_t sample) noexcept nogil:
    return 1 if loss.sample_weight is NULL else loss.sample_weight[sample]


cdef inline double weigh(float weight, double value) noexcept nogil:
    return weight * value if weight != 0 else 0


cdef inline void scale_gradient(
    const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K, float scale, float* dz,
) noexcept nogil:
    cdef float factors[LANES]
    cdef Py_ssize_t k, lane
    cdef v16 factor, zero = v16_zero()
    for lane in range(LANES):
        factors[lane] = weight_of(loss, first + lane) if lane < lanes else 0
        if factors[lane] != 0:
            factors[lane] *= scale
    factor = v16_load(factors)
    for k in range(K):
        v16_store(dz + k * LANES, v16_where_eq(factor, zero, zero,
                                               v16_mul(v16_load(dz + k * LANES), factor)))


cdef inline v16 shifted_powers(Py_ssize_t K, const float* z, float* powers,
                               float* peak) noexcept nogil:
    """The sum over k of exp(z[k] - peak), where peak is the largest; the powers, if not NULL."""
    cdef v16 highest = v16_load(z)
    cdef v16 total = v16_zero()
    cdef v16 e
    cdef Py_ssize_t k
    for k in range(1, K):
        highest = larger(highest, v16_load(z + k * LANES))
    for k in range(K):
        e = exponential(v16_sub(v16_load(z + k * LANES), highest))
        total = v16_add(total, e)
        if powers is not NULL:
            v16_store(powers + k * LANES, e)
    v16_store(peak, highest)
    return total


cdef void cross_entropy(
    const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K, const float* z, float scale,
    double* losses, float* dz,
) noexcept nogil:
    """With labels, and without class weights."""
    cdef float peak[LANES]
    cdef float total[LANES]
    cdef double logs[LANES]
    cdef double mean[LANES]
    cdef const int* labels = loss.labels + first
    cdef float smoothing = loss.setting
    cdef Py_ssize_t k, lane
    cdef v16 norm = shifted_powers(K, z, dz, peak)
    cdef double fit
    v16_store(total, norm)
    take_logarithms(total, lanes, logs)
    memset(mean, 0, sizeof(mean))
    if smoothing > 0:
        for k in range(K):
            for lane in range(lanes):
                mean[lane] += z[k * LANES + lane]
        for lane in range(lanes):
            mean[lane] /= K
    for lane in range(lanes):
        fit = (1 - <double>smoothing) * z[labels[lane] * LANES + lane] + smoothing * mean[lane]
        losses[lane] = weigh(weight_of(loss, first + lane), logs[lane] + peak[lane] - fit)
    if dz is NULL:
        return
    for k in range(K):
        v16_store(dz + k * LANES, v16_sub(v16_div(v16_load(dz + k * LANES), norm),
                                          v16_set1(smoothing / K)))
    for lane in range(lanes):
        dz[labels[lane] * LANES + lane] -= 1 - smoothing
    scale_gradient(loss, first, lanes, K, scale, dz)


cdef inline void take_logarithms(const float* totals, Py_ssize_t lanes,
                                 double* logs) noexcept nogil:
    cdef Py_ssize_t lane
    for lane in range(lanes):
        logs[lane] = totals[lane]
    logarithms(logs, lanes, logs)


cdef inline void load_shares(const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K,
                             Py_ssize_t k, Py_ssize_t count, float* shares) noexcept nogil:
    """The targets (count, 16) of a tile for the classes from k on; dead lanes are as the first."""
    cdef const float* rows[LANES]
    cdef Py_ssize_t lane, i, at, inner = max(loss.inner, <Py_ssize_t>1)
    if loss.targets is NULL:
        memset(shares, 0, count * LANES * sizeof(float))
        for lane in range(lanes):
            at = loss.labels[first + lane] - k
            if 0 <= at < count:
                shares[at * LANES + lane] = 1
        return
    for lane in range(LANES):
        at = first + (lane if lane < lanes else 0)
        rows[lane] = loss.targets + (at // inner * K + k) * inner + at % inner
    if inner == 1:
        pack_rows(<const void**>rows, count, shares, LANES)
    elif lanes == LANES and rows[LANES - 1] == rows[0] + LANES - 1:
        for i in range(count):
            memcpy(shares + i * LANES, rows[0] + i * inner, LANES * sizeof(float))
    else:
        for lane in range(LANES):
            for i in range(count):
                shares[i * LANES + lane] = rows[lane][i * inner]


cdef inline double share_of(const Loss* loss, Py_ssize_t K, Py_ssize_t k,
                            double share) noexcept nogil:
    """The share u of class k in the cross-entropy of a sample, from that in its target."""
    cdef double smoothing = loss.setting
    cdef double weight = 1 if loss.class_weight is NULL else loss.class_weight[k]
    return weight * ((1 - smoothing) * share + smoothing / K)


cdef void weighted_cross_entropy(
    const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K, const float* z, float scale,
    double* losses, float* dz,
) noexcept nogil:
    """With targets or class weights; the logits are shifted, as u does not add up to 1."""
    cdef float peak[LANES]
    cdef float total[LANES]
    cdef double logs[LANES]
    cdef double whole[LANES]
    cdef double misfit[LANES]
    cdef float shares[SHARE_CLASSES * LANES]
    cdef Py_ssize_t k, i, lane, count, block, first_class
    cdef double share, term
    v16_store(total, shifted_powers(K, z, dz, peak))
    take_logarithms(total, lanes, logs)
    memset(whole, 0, sizeof(whole))
    memset(misfit, 0, sizeof(misfit))
    for block in range((K + SHARE_CLASSES - 1) // SHARE_CLASSES):
        first_class = block * SHARE_CLASSES
        count = min(<Py_ssize_t>SHARE_CLASSES, K - first_class)
        load_shares(loss, first, lanes, K, first_class, count, shares)
        for i in range(count):
            k = first_class + i
            for lane in range(lanes):
                share = share_of(loss, K, k, shares[i * LANES + lane])
                whole[lane] += share
                # A logit of -inf has no part in the loss if its share is 0.
                term = share * (<double>peak[lane] - z[k * LANES + lane])
                misfit[lane] += term if share != 0 else 0
    for lane in range(lanes):
        losses[lane] = weigh(weight_of(loss, first + lane), whole[lane] * logs[lane] + misfit[lane])
    if dz is NULL:
        return
    for lane in range(lanes):
        whole[lane] /= total[lane]
    for block in range((K + SHARE_CLASSES - 1) // SHARE_CLASSES):
        first_class = block * SHARE_CLASSES
        count = min(<Py_ssize_t>SHARE_CLASSES, K - first_class)
        load_shares(loss, first, lanes, K, first_class, count, shares)
        for i in range(count):
            k = first_class + i
            for lane in range(lanes):
                share = share_of(loss, K, k, shares[i * LANES + lane])
                dz[k * LANES + lane] = <float>(whole[lane] * dz[k * LANES + lane] - share)
    scale_gradient(loss, first, lanes, K, scale, dz)


cdef void squared_error(
    const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K, const float* z, float scale,
    double* losses, float* dz,
) noexcept nogil:
    """Compute the loss of each sample separately, for any number of samples in a tile."""
    cdef double total[LANES]
    cdef const float* targets = loss.targets + first * K
    cdef Py_ssize_t k, lane
    cdef float error
    memset(total, 0, sizeof(total))
    for k in range(K):
        for lane in range(LANES):
            error = z[k * LANES + lane] - targets[lane * K + k] if lane < lanes else 0
            total[lane] += <double>error * error
            if dz is not NULL:
                dz[k * LANES + lane] = error
    for lane in range(lanes):
        losses[lane] = weigh(weight_of(loss, first + lane), total[lane])
    if dz is not NULL:
        scale_gradient(loss, first, lanes, K, scale, dz)


cdef void likelihood(
    const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K, const float* z, float scale,
    double* losses, float* dz,
) noexcept nogil:
    """Maximum likelihood, of penalties; negative log-likelihood, of log-probabilities."""
    cdef Py_ssize_t lane, at
    cdef float weight, sign = 1 if loss.kind == MAXIMUM_LIKELIHOOD else -1
    if dz is not NULL:
        memset(dz, 0, K * LANES * sizeof(float))
    for lane in range(lanes):
        at = loss.labels[first + lane]
        weight = sign * weight_of(loss, first + lane)
        if loss.class_weight is not NULL:
            weight *= loss.class_weight[at]
        at = at * LANES + lane
        losses[lane] = weigh(weight, z[at])
        if dz is not NULL and weight != 0:
            dz[at] = weight * scale


cdef void maximum_a_posteriori(
    const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K, const float* z, float scale,
    double* losses, float* dz,
) noexcept nogil:
    """Shifted by the least penalty, that of the rubbish class included: nothing overflows."""
    cdef float least[LANES]
    cdef float total[LANES]
    cdef double logs[LANES]
    cdef const int* labels = loss.labels + first
    cdef Py_ssize_t k, lane
    cdef v16 rubbish = v16_set1(loss.setting)
    cdef v16 lowest = rubbish
    cdef v16 norm, e
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
    take_logarithms(total, lanes, logs)
    for lane in range(lanes):
        losses[lane] = weigh(weight_of(loss, first + lane), <double>z[labels[lane] * LANES + lane]
                             - least[lane] + logs[lane])
    if dz is NULL:
        return
    for k in range(K):
        v16_store(dz + k * LANES, v16_sub(v16_zero(), v16_div(v16_load(dz + k * LANES), norm)))
    for lane in range(lanes):
        dz[labels[lane] * LANES + lane] += 1
    scale_gradient(loss, first, lanes, K, scale, dz)


cdef void tile_loss(
    const Loss* loss, Py_ssize_t first, Py_ssize_t lanes, Py_ssize_t K, const float* z, float scale,
    double* losses, float* dz,
) noexcept nogil:
    if loss.kind == MAXIMUM_LIKELIHOOD or loss.kind == NEGATIVE_LOG_LIKELIHOOD:
        likelihood(loss, first, lanes, K, z, scale, losses, dz)
    elif loss.kind == MAXIMUM_A_POSTERIORI:
        maximum_a_posteriori(loss, first, lanes, K, z, scale, losses, dz)
    elif loss.kind != CROSS_ENTROPY:
        squared_error(loss, first, lanes, K, z, scale, losses, dz)
    elif loss.targets is not NULL or loss.class_weight is not NULL:
        weighted_cross_entropy(loss, first, lanes, K, z, scale, losses, dz)
    else:
        cross_entropy(loss, first, lanes, K, z, scale, losses, dz)
