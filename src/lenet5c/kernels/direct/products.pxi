# Products of a matrix with a few rows, float or double, for a fully connected layer and few
# samples. Each weight is read once for three samples, in place, without packing.
#
#   dot    y[n, m] = bias[m] + sum over k of x[n, k] * matrix[m, k]
#   add    y[n, m] = bias[m] + sum over k of x[n, k] * matrix[k, m]
#   outer  matrix[m, k] = sum over n of y[n, m] * x[n, k]
#
# Each for m from `first` to `stop`. Terms are added in an order that neither the range nor the
# number of rows changes: those of dot in LANES sums, one for each lane, and then in the tree of
# vec_reduce.

cdef inline vec load_first(const real* a, Py_ssize_t count, Py_ssize_t readable) noexcept nogil:
    """The first `count` values of a vector, and zeros: without a copy if all of it may be read."""
    if readable >= LANES:
        return vec_where_lt(vec_load(VEC_NUMBERS), vec_set1(<real>count), vec_load(a), vec_zero())
    return load_some(a, count)


cdef inline void dot_block(const RowProduct* p, const real* x, const real* matrix, Py_ssize_t left,
                           const real* bias, real* y, int TN, int TM) noexcept nogil:
    """TN rows by TM rows of the matrix, of which `left` values are left; the pointers are those of the
    first."""
    cdef vec acc[6]
    cdef vec values[3]
    cdef vec weights
    cdef Py_ssize_t k = 0, rest = p.K % LANES
    cdef int n, m
    for m in range(TN * TM):
        acc[m] = vec_zero()
    while k < p.K - rest:
        for n in range(TN):
            values[n] = vec_load(x + n * p.x_row + k)
        for m in range(TM):
            weights = vec_load(matrix + m * p.K + k)
            for n in range(TN):
                acc[m * TN + n] = vec_fma(values[n], weights, acc[m * TN + n])
        k += LANES
    if rest > 0:
        for n in range(TN):
            values[n] = load_some(x + n * p.x_row + k, rest)
        for m in range(TM):
            weights = load_first(matrix + m * p.K + k, rest, left - m * p.K - k)
            for n in range(TN):
                acc[m * TN + n] = vec_fma(values[n], weights, acc[m * TN + n])
    for m in range(TM):
        for n in range(TN):
            y[n * p.y_row + m] = vec_reduce(acc[m * TN + n]) + (bias[m] if bias is not NULL else 0)


cdef inline void dot_some(const RowProduct* p, const real* x, const real* matrix, const real* bias,
                          Py_ssize_t first, Py_ssize_t stop, real* y, int TN, int TM) noexcept nogil:
    cdef Py_ssize_t m = first, left
    cdef const real* w
    cdef const real* b
    while m < stop:
        w, b = matrix + m * p.K, bias + m if bias is not NULL else NULL
        left = (p.M - m) * p.K
        if m + TM <= stop:
            dot_block(p, x, w, left, b, y + m, TN, TM)
            m += TM
        elif TM > 4 and m + 4 <= stop:
            dot_block(p, x, w, left, b, y + m, TN, 4)
            m += 4
        else:
            dot_block(p, x, w, left, b, y + m, TN, 1)
            m += 1


cdef void dot_rows(const RowProduct* p, const void* rows, const void* matrix, const void* bias,
                   Py_ssize_t first, Py_ssize_t stop, void* result) noexcept nogil:
    cdef const real* x = <const real*>rows
    cdef const real* w = <const real*>matrix
    cdef const real* b = <const real*>bias
    cdef real* y = <real*>result
    cdef Py_ssize_t n = 0
    while n < p.N:
        if n + 3 <= p.N:
            dot_some(p, x + n * p.x_row, w, b, first, stop, y + n * p.y_row, 3, 2)
            n += 3
        elif n + 2 <= p.N:
            dot_some(p, x + n * p.x_row, w, b, first, stop, y + n * p.y_row, 2, 3)
            n += 2
        else:
            dot_some(p, x + n * p.x_row, w, b, first, stop, y + n * p.y_row, 1, 6)
            n += 1


cdef inline void add_block(const RowProduct* p, const real* x, const real* matrix, const real* bias,
                           real* y, int TN, int TM) noexcept nogil:
    """TN rows by TM vectors of columns; the pointers are those of the first."""
    cdef vec acc[8]
    cdef vec weights[8]
    cdef vec factor
    cdef Py_ssize_t k
    cdef int n, m
    for m in range(TM):
        for n in range(TN):
            acc[m * TN + n] = vec_load(bias + m * LANES) if bias is not NULL else vec_zero()
    for k in range(p.K):
        for m in range(TM):
            weights[m] = vec_load(matrix + k * p.M + m * LANES)
        for n in range(TN):
            factor = vec_set1(x[n * p.x_row + k])
            for m in range(TM):
                acc[m * TN + n] = vec_fma(weights[m], factor, acc[m * TN + n])
    for m in range(TM):
        for n in range(TN):
            vec_store(y + n * p.y_row + m * LANES, acc[m * TN + n])


cdef void add_last(const RowProduct* p, const real* x, const real* matrix, const real* bias,
                   Py_ssize_t count, real* y) noexcept nogil:
    """One row by fewer columns than a vector has lanes."""
    cdef vec total = load_some(bias, count) if bias is not NULL else vec_zero()
    cdef Py_ssize_t k
    for k in range(p.K):
        total = vec_fma(load_some(matrix + k * p.M, count), vec_set1(x[k]), total)
    store_some(y, count, total)


cdef inline void add_some(const RowProduct* p, const real* x, const real* matrix, const real* bias,
                          Py_ssize_t first, Py_ssize_t stop, real* y, int TN, int TM) noexcept nogil:
    cdef Py_ssize_t m = first
    cdef const real* b
    cdef int n
    while m < stop:
        b = bias + m if bias is not NULL else NULL
        if m + TM * LANES <= stop:
            add_block(p, x, matrix + m, b, y + m, TN, TM)
            m += TM * LANES
        elif m + 2 * LANES <= stop and TM > 2:
            add_block(p, x, matrix + m, b, y + m, TN, 2)
            m += 2 * LANES
        elif m + LANES <= stop:
            add_block(p, x, matrix + m, b, y + m, TN, 1)
            m += LANES
        else:
            for n in range(TN):
                add_last(p, x + n * p.x_row, matrix + m, b, stop - m, y + n * p.y_row + m)
            m = stop


cdef void add_rows(const RowProduct* p, const void* rows, const void* matrix, const void* bias,
                   Py_ssize_t first, Py_ssize_t stop, void* result) noexcept nogil:
    cdef const real* x = <const real*>rows
    cdef const real* w = <const real*>matrix
    cdef const real* b = <const real*>bias
    cdef real* y = <real*>result
    cdef Py_ssize_t n = 0
    while n < p.N:
        if n + 3 <= p.N:
            add_some(p, x + n * p.x_row, w, b, first, stop, y + n * p.y_row, 3,
                     2 if VEC_REGISTERS >= 16 else 1)
            n += 3
        elif n + 2 <= p.N:
            add_some(p, x + n * p.x_row, w, b, first, stop, y + n * p.y_row, 2,
                     4 if VEC_REGISTERS >= 16 else 1)
            n += 2
        else:
            add_some(p, x + n * p.x_row, w, b, first, stop, y + n * p.y_row, 1,
                     8 if VEC_REGISTERS >= 16 else 2)
            n += 1


cdef void outer_rows(const RowProduct* p, const void* rows, const void* others, Py_ssize_t first,
                     Py_ssize_t stop, void* matrix) noexcept nogil:
    cdef const real* x = <const real*>rows
    cdef const real* y = <const real*>others
    cdef real* to
    cdef vec total
    cdef Py_ssize_t m, n, k, rest = p.K % LANES
    for m in range(first, stop):
        to = <real*>matrix + m * p.K
        if p.N == 0:
            memset(to, 0, p.K * sizeof(real))
            continue
        k = 0
        while k < p.K - rest:
            total = vec_mul(vec_load(x + k), vec_set1(y[m]))
            for n in range(1, p.N):
                total = vec_fma(vec_load(x + n * p.x_row + k), vec_set1(y[n * p.y_row + m]), total)
            vec_store(to + k, total)
            k += LANES
        if rest > 0:
            total = vec_mul(load_some(x + k, rest), vec_set1(y[m]))
            for n in range(1, p.N):
                total = vec_fma(load_some(x + n * p.x_row + k, rest),
                                vec_set1(y[n * p.y_row + m]), total)
            store_some(to + k, rest, total)


cdef void set_products(DirectKernels* kernels):
    """Fill in the table."""
    kernels.dot, kernels.add, kernels.outer = dot_rows, add_rows, outer_rows
