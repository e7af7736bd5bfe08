# Convolution with 3 x 3 filters in fewer multiplications (Winograd, 1980; Lavin and Gray, 2016): a
# square of 2 x 2 outputs takes 16 products where the definition takes 36.
#
#   d = a patch of 4 x 4 inputs      V = T d T^T     T = 1  0 -1  0     S = 1  1  1  0
#   g = the taps of a filter         U = G g G^T         0  1  1  0         0  1 -1  1
#   y = S (U * V) S^T                                    0 -1  1  0
#                                    G = 1    0    0     0 -1  0  1
#                                        1/2  1/2  1/2
#                                        1/2 -1/2  1/2
#                                        0    0    1
#
# The sum over input channels is taken of the products, so each of the 16 terms is a matrix product:
# M[t] = U[t] V[t]. Squares are taken a strip at a time, so that what a strip is made of stays in a
# core's caches. The gradients, in winograd3x3_gradients.pxi, are the transposed maps.
#
# Where squares are the windows of a pooling, outputs are pooled before they are stored.
#
# Layouts: V (16, squares of a strip, C, 16 lanes), M (16, squares, O, 16 lanes), U (16, O, C rounded
# up to whole vectors). Each of the 16 planes is longer by a vector, so that equal places of them do
# not compete for the same lines of a cache. Strides and dilation are 1. A square at the right or
# lower edge of an odd image reads zeros beyond it.

cdef enum:
    SQUARE_TERMS = 16
    SQUARE_TAPS = 9
    SQUARE_CHANNELS = 8      # that make the transforms worth it, on either side
    STRIP_CHANNELS = 256     # of all squares of a strip: 16 KB for each term


cdef inline bint suits_squares(const Op* op) noexcept nogil:
    return (op.KH == 3 and op.KW == 3 and op.SH == 1 and op.SW == 1 and op.DH == 1 and op.DW == 1
            and not op.definition and op.C // op.groups >= SQUARE_CHANNELS
            and op.O // op.groups >= SQUARE_CHANNELS)


cdef inline Py_ssize_t count_squares(const Op* op) noexcept nogil:
    return (op.OH + 1) // 2 * ((op.OW + 1) // 2)


cdef inline Py_ssize_t strip_squares(const Op* op) noexcept nogil:
    """Squares of a strip; the same for every instruction set, as weight gradients depend on it."""
    cdef Py_ssize_t most = STRIP_CHANNELS // max(op.C // op.groups, op.O // op.groups)
    return min(count_squares(op), max(<Py_ssize_t>4, most))


cdef inline Py_ssize_t term_plane(const Op* op, Py_ssize_t channels) noexcept nogil:
    """Floats from one of the 16 terms of a strip to the next."""
    return (strip_squares(op) * channels + 1) * LANES


cdef inline Py_ssize_t square_filters(const Op* op) noexcept nogil:
    """Floats of U, and of the sums of the weight gradient."""
    return SQUARE_TERMS * (op.O // op.groups) * round_up(op.C // op.groups)


cdef Py_ssize_t squares_scratch(const Op* op) noexcept nogil:
    """One group, forward and backward: U, V or the terms of dx, M or E; then what only the weight
    gradient takes: x with channels side by side, sums, a map of dy."""
    cdef Py_ssize_t channels = round_up(op.C // op.groups)
    return (2 * square_filters(op) + SQUARE_TERMS * term_plane(op, channels)
            + SQUARE_TERMS * term_plane(op, op.O // op.groups)
            + channels * op.H * op.W * LANES + op.OH * op.OW * LANES)


cdef void transform_squares_filters(const Op* op, const float* weight, float* U) noexcept nogil:
    """U = G g G^T of one group, 16 input channels side by side."""
    cdef float taps[LANES * SQUARE_TAPS + LANES]
    cdef v16 g[LANES]
    cdef v16 u[12]
    cdef v16 half = v16_set1(0.5)
    cdef v16 ends
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef Py_ssize_t o, c, plane = outputs * round_up(channels)
    cdef int i
    memset(taps, 0, sizeof(taps))
    for o in range(outputs):
        c = 0
        while c < channels:
            memcpy(taps, weight, min(<Py_ssize_t>LANES, channels - c) * SQUARE_TAPS * sizeof(float))
            for i in range(LANES):
                g[i] = v16_load(taps + i * SQUARE_TAPS)
            v16_transpose(g)
            for i in range(3):
                ends = v16_add(g[i], g[6 + i])
                u[i] = g[i]
                u[3 + i] = v16_mul(half, v16_add(ends, g[3 + i]))
                u[6 + i] = v16_mul(half, v16_sub(ends, g[3 + i]))
                u[9 + i] = g[6 + i]
            for i in range(4):
                ends = v16_add(u[3 * i], u[3 * i + 2])
                v16_store(U + 4 * i * plane, u[3 * i])
                v16_store(U + (4 * i + 1) * plane, v16_mul(half, v16_add(ends, u[3 * i + 1])))
                v16_store(U + (4 * i + 2) * plane, v16_mul(half, v16_sub(ends, u[3 * i + 1])))
                v16_store(U + (4 * i + 3) * plane, u[3 * i + 2])
            weight += min(<Py_ssize_t>LANES, channels - c) * SQUARE_TAPS
            U += LANES
            c += LANES


cdef inline void transform_patch(const float* d, Py_ssize_t row, float* V,
                                 Py_ssize_t plane) noexcept nogil:
    """V = T d T^T of one patch."""
    cdef v16 a[4]
    cdef v16 v[16]
    cdef int i, j
    for j in range(4):
        for i in range(4):
            a[i] = v16_load(d + i * row + j * LANES)
        v[j] = v16_sub(a[0], a[2])
        v[4 + j] = v16_add(a[1], a[2])
        v[8 + j] = v16_sub(a[2], a[1])
        v[12 + j] = v16_sub(a[3], a[1])
    for i in range(4):
        v16_store(V + 4 * i * plane, v16_sub(v[4 * i], v[4 * i + 2]))
        v16_store(V + (4 * i + 1) * plane, v16_add(v[4 * i + 1], v[4 * i + 2]))
        v16_store(V + (4 * i + 2) * plane, v16_sub(v[4 * i + 2], v[4 * i + 1]))
        v16_store(V + (4 * i + 3) * plane, v16_sub(v[4 * i + 3], v[4 * i + 1]))


cdef void transform_patches(const Op* op, const float* x, Py_ssize_t planes, Py_ssize_t first,
                            Py_ssize_t count, float* V) noexcept nogil:
    """V of the squares from `first` on, from `planes` planes (H, W, 16)."""
    cdef float border[16 * LANES]
    cdef Py_ssize_t columns = (op.OW + 1) // 2, row = op.W * LANES
    cdef Py_ssize_t plane = term_plane(op, planes)
    cdef Py_ssize_t c, p, h, w, i
    cdef const float* d
    for c in range(planes):
        h, w = first // columns * 2, first % columns * 2
        for p in range(count):
            d = x + (h * op.W + w) * LANES
            if h + 4 <= op.H and w + 4 <= op.W:
                transform_patch(d, row, V + p * planes * LANES, plane)
            else:
                memset(border, 0, sizeof(border))
                for i in range(min(<Py_ssize_t>4, op.H - h)):
                    memcpy(border + 4 * i * LANES, d + i * row,
                           min(<Py_ssize_t>4, op.W - w) * LANES * sizeof(float))
                transform_patch(border, 4 * LANES, V + p * planes * LANES, plane)
            w += 2
            if w >= op.OW:
                h, w = h + 2, 0
        x += op.H * row
        V += LANES


# Matrix products


cdef struct Product:
    # y[o, j] = sum over runs r and inputs k of u[r, o, k] * x[r, k, j], j one of some neighboring
    # vectors of 16 lanes. Strides in floats.
    Py_ssize_t runs, run_u, run_x
    Py_ssize_t inputs, outputs
    Py_ssize_t next_u           # to the next output of u, or to the next input if it is transposed
    Py_ssize_t next_x, next_y   # to the next vector
    Py_ssize_t row_y            # to the next output of y


cdef inline void product_block(
    const Product* product, const float* u, const float* x, float* y, bint transposed, bint add,
    int TO, int TN,
) noexcept nogil:
    """TO outputs x TN native vectors; with `add`, the sum is added to y."""
    cdef nv acc[32]
    cdef nv v[16]
    cdef nv w
    cdef int i, j
    cdef Py_ssize_t run, k
    cdef float* to
    for i in range(TO * TN):
        acc[i] = nv_set1(0)
    for run in range(product.runs):
        for k in range(product.inputs):
            for j in range(TN):
                v[j] = nv_load(x + k * LANES + j // V16_PARTS * product.next_x
                               + j % V16_PARTS * NV_LANES)
                nv_keep(v[j])
            for i in range(TO):
                w = nv_set1(u[k * product.next_u + i] if transposed else u[i * product.next_u + k])
                for j in range(TN):
                    acc[i * TN + j] = nv_fma(v[j], w, acc[i * TN + j])
        u += product.run_u
        x += product.run_x
    for i in range(TO):
        for j in range(TN):
            to = (y + i * product.row_y + j // V16_PARTS * product.next_y
                  + j % V16_PARTS * NV_LANES)
            nv_store(to, nv_add(nv_load(to), acc[i * TN + j]) if add else acc[i * TN + j])


cdef inline void product_outputs(
    const Product* product, const float* u, const float* x, float* y, bint transposed, bint add,
    int TN,
) noexcept nogil:
    """All outputs, in blocks of nearly equal size."""
    cdef Py_ssize_t most = 6 if V16_PARTS <= 2 or NV_REGISTERS == 32 else 2
    cdef Py_ssize_t blocks = (product.outputs + most - 1) // most
    cdef Py_ssize_t small = product.outputs // blocks, large = product.outputs % blocks
    cdef Py_ssize_t b, size, next_block = 1 if transposed else product.next_u
    for b in range(blocks):
        size = small + (b < large)
        if V16_PARTS <= 2 or NV_REGISTERS == 32:
            if size == 6:
                product_block(product, u, x, y, transposed, add, 6, TN)
            elif size == 5:
                product_block(product, u, x, y, transposed, add, 5, TN)
            elif size == 4:
                product_block(product, u, x, y, transposed, add, 4, TN)
            elif size == 3:
                product_block(product, u, x, y, transposed, add, 3, TN)
        if size == 2:
            product_block(product, u, x, y, transposed, add, 2, TN)
        elif size == 1:
            product_block(product, u, x, y, transposed, add, 1, TN)
        u += size * next_block
        y += size * product.row_y


cdef inline void product_vectors(
    const Product* product, const float* u, const float* x, float* y, Py_ssize_t vectors,
    bint transposed, bint add,
) noexcept nogil:
    """All vectors of 16 lanes: four at a time where one fills a register."""
    cdef Py_ssize_t j = 0
    while j < vectors:
        if V16_PARTS == 1 and j + 4 <= vectors:
            product_outputs(product, u, x + j * product.next_x, y + j * product.next_y, transposed,
                            add, 4)
            j += 4
        else:
            product_outputs(product, u, x + j * product.next_x, y + j * product.next_y, transposed,
                            add, V16_PARTS)
            j += 1


# The result


cdef void multiply_patches(const Op* op, const float* U, const float* V, Py_ssize_t count,
                           float* M) noexcept nogil:
    """M = U V of a strip, term by term."""
    cdef Product product
    cdef Py_ssize_t channels = op.C // op.groups, outputs = op.O // op.groups
    cdef int t
    product.runs, product.run_u, product.run_x = 1, 0, 0
    product.inputs, product.outputs = channels, outputs
    product.next_u, product.next_x = round_up(channels), channels * LANES
    product.next_y, product.row_y = outputs * LANES, LANES
    for t in range(SQUARE_TERMS):
        product_vectors(&product, U + t * outputs * product.next_u,
                        V + t * term_plane(op, channels), M + t * term_plane(op, outputs), count,
                        False, False)


cdef inline void store_square(const Op* op, const v16* y, Py_ssize_t h, Py_ssize_t w,
                              float* to) noexcept nogil:
    """A square's outputs, those that there are, in the plane `to` (OH, OW, 16)."""
    to += (h * op.OW + w) * LANES
    v16_store(to, y[0])
    if w + 1 < op.OW:
        v16_store(to + LANES, y[1])
    if h + 1 < op.OH:
        v16_store(to + op.OW * LANES, y[2])
        if w + 1 < op.OW:
            v16_store(to + (op.OW + 1) * LANES, y[3])


cdef void collect_squares(
    const Op* op, const float* M, const float* bias, Py_ssize_t first, Py_ssize_t count, float* y,
    float* argmax,
) noexcept nogil:
    """y = S M S^T of the squares from `first` on, rectified and pooled as the op says."""
    cdef v16 m[4]
    cdef v16 s[8]
    cdef v16 out[4]
    cdef v16 start
    cdef Py_ssize_t outputs = op.O // op.groups, columns = (op.OW + 1) // 2
    cdef Py_ssize_t plane = term_plane(op, outputs), y_plane = pooled_plane(op)
    cdef Py_ssize_t o, p, h, w, at
    cdef int i, j
    for o in range(outputs):
        start = v16_set1(bias[o] if op.has_bias else 0)
        h, w = first // columns * 2, first % columns * 2
        for p in range(count):
            for j in range(4):
                for i in range(4):
                    m[i] = v16_load(M + (4 * i + j) * plane + (p * outputs + o) * LANES)
                s[j] = v16_add(v16_add(m[0], m[1]), m[2])
                s[4 + j] = v16_add(v16_sub(m[1], m[2]), m[3])
            for i in range(2):
                out[2 * i] = v16_add(v16_add(s[4 * i], s[4 * i + 1]), s[4 * i + 2])
                out[2 * i + 1] = v16_add(v16_sub(s[4 * i + 1], s[4 * i + 2]), s[4 * i + 3])
            for i in range(4):
                out[i] = v16_add(out[i], start)
            if op.pool:
                at = o * y_plane + (h // 2 * columns + w // 2) * LANES
                pool_window(op, out, y + at, argmax + at)
            else:
                for i in range(4):
                    out[i] = rectified(op, out[i])
                store_square(op, out, h, w, y + o * y_plane)
            w += 2
            if w >= op.OW:
                h, w = h + 2, 0


cdef void squares_forward(
    const Op* op, const float* x, const float* weight, const float* bias, float* y, float* argmax,
    float* scratch,
) noexcept nogil:
    """One group."""
    cdef Py_ssize_t channels = op.C // op.groups
    cdef Py_ssize_t first = 0, count, squares = count_squares(op)
    cdef float* V = scratch + square_filters(op)
    cdef float* M = V + SQUARE_TERMS * term_plane(op, channels)
    transform_squares_filters(op, weight, scratch)
    while first < squares:
        count = min(strip_squares(op), squares - first)
        transform_patches(op, x, channels, first, count, V)
        multiply_patches(op, scratch, V, count, M)
        collect_squares(op, M, bias, first, count, y, argmax)
        first += count
