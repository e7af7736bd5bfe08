# One window as large as the image, of one channel: planes are read from one end to the other.

cdef enum:
    CHAINS = 8   # sums of this many images at a time, to hide the latency of additions


cdef inline real largest_of(const real* x, Py_ssize_t size) noexcept nogil:
    """The maximum, by the largest of each 16th value."""
    cdef real[16] best
    cdef Py_ssize_t i, k
    for k in range(16):
        best[k] = -<real>INFINITY
    for i in range(0, size - 15, 16):
        for k in range(16):
            best[k] = larger(best[k], x[i + k])
    for i in range(size // 16 * 16, size):
        best[0] = larger(best[0], x[i])
    for k in range(1, 16):
        best[0] = larger(best[0], best[k])
    return best[0]


cdef inline Py_ssize_t first_place(const real* x, Py_ssize_t size, real best) noexcept nogil:
    """The place of the maximum."""
    cdef Py_ssize_t i
    for i in range(size):
        if is_best(x[i], best):
            return i
    return 0


cdef inline Py_ssize_t whole_count(const Windows* w) noexcept nogil:
    return w.divisor if w.divisor > 0 else w.H * w.W


cdef inline void whole_means(const Windows* w, const real* x, real* y, Py_ssize_t first,
                             Py_ssize_t last) noexcept nogil:
    """Compute means; sums are doubles, because float sums of many values are inaccurate."""
    cdef double[CHAINS] totals
    cdef Py_ssize_t i, k, image = first, chains, size = w.H * w.W
    while image < last:
        chains = min(<Py_ssize_t>CHAINS, last - image)
        for k in range(CHAINS):
            totals[k] = 0
        if chains == CHAINS:
            for i in range(size):
                for k in range(CHAINS):
                    totals[k] += x[(image + k) * size + i]
        else:
            for k in range(chains):
                for i in range(size):
                    totals[k] += x[(image + k) * size + i]
        for k in range(chains):
            y[image + k] = <real>(totals[k] / whole_count(w))
        image += chains


cdef inline void whole_means_last(const Windows* w, const real* x, real* y, Py_ssize_t first,
                                  Py_ssize_t last) noexcept nogil:
    """The same with the channels last, of some channels of an image at a time."""
    cdef double[BLOCK] totals
    cdef Py_ssize_t part, pixel, c, count
    cdef const real* values
    cdef Line line
    for part in range(first, last):
        line = part_line(w, part)
        count = min(<Py_ssize_t>BLOCK, w.C - line.channel)
        for c in range(count):
            totals[c] = 0
        for pixel in range(w.H * w.W):
            values = x + line.start + pixel * w.C + line.channel
            for c in range(count):
                totals[c] += values[c]
        for c in range(count):
            y[line.image * w.C + line.channel + c] = <real>(totals[c] / whole_count(w))
