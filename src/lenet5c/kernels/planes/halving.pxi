# Adjacent 2 x 2 windows, as in LeNet: two rows of 2 n values to one of n, and back.
# Blocks of 16, 8 or 4 windows, or with the channels last (`last`) as many channels of one window, a
# constant number to the compiler; the last block overlaps the one before it, as they only read the
# one array and write the other. Fewer than 4 are not taken.
#
#     a b      the maximum is the first of equals, the mean (((a + b) + c) + d) / 4
#     c d

cdef enum HalvingJob:
    TO_MAXIMUM     # x -> y
    TO_PLACES      # x -> y, indices
    TO_MEAN        # x -> y
    FROM_MAXIMUM   # y (the gradient), x -> dx
    FROM_PLACES    # y, indices -> dx
    FROM_MEAN      # y -> dx


cdef inline real added(bint last, real gradient) noexcept nogil:
    """With the channels last, a gradient is added to 0, which removes the sign of a zero."""
    return <real>0 + gradient if last else gradient


cdef inline void halve_block(int job, int lanes, bint last, const Windows* w, const real* x,
                             real* y, int64_t* indices, Py_ssize_t place,
                             real* dx) noexcept nogil:
    """The windows or channels from these on; what the job does not need may be NULL. `place` is that
    of the first in the image."""
    cdef int i, place_of, below = <int>w.W
    cdef Py_ssize_t right = w.C if last else 1, W = w.W * w.C if last else w.W
    cdef int step = 1 if last else 2, beside = 16 if last else 1   # in x; in upper and lower
    cdef real a = 0, b = 0, c = 0, d = 0, best, g
    cdef real[16] values
    cdef real[32] upper, lower
    cdef int[16] places
    for i in range(lanes):
        if job <= FROM_MAXIMUM:
            a, b = x[step * i], x[step * i + right]
            c, d = x[W + step * i], x[W + step * i + right]
        if job == TO_MEAN:
            values[i] = mean_of(<real>0 + a + b + c + d, <real>4)
        elif job == FROM_MEAN:
            upper[step * i] = upper[step * i + beside] = added(last, mean_of(y[i], <real>4))
        else:
            best = larger(larger(larger(a, b), c), d)
            values[i] = best
            if job == TO_PLACES:
                place_of = below if is_best(c, best) else below + 1
                place_of = 1 if is_best(b, best) else place_of
                places[i] = (0 if last else 2 * i) + (0 if is_best(a, best) else place_of)
            elif job == FROM_MAXIMUM:
                g = added(last, y[i])
                upper[step * i] = g if is_best(a, best) else <real>0
                g = <real>0 if is_best(a, best) else g
                upper[step * i + beside] = g if is_best(b, best) else <real>0
                g = <real>0 if is_best(b, best) else g
                lower[step * i] = g if is_best(c, best) else <real>0
                lower[step * i + beside] = <real>0 if is_best(c, best) else g
    if job <= TO_MEAN:
        for i in range(lanes):
            y[i] = values[i]
    elif last:
        for i in range(lanes):
            dx[i] = upper[i]
        for i in range(lanes):
            dx[right + i] = upper[16 + i]
        for i in range(lanes):
            dx[W + i] = upper[i] if job == FROM_MEAN else lower[i]
        for i in range(lanes):
            dx[W + right + i] = upper[16 + i] if job == FROM_MEAN else lower[16 + i]
    else:
        # By halves: what was stored as two vectors is slow to load as one.
        for i in range(lanes):
            dx[i] = upper[i]
        for i in range(lanes, 2 * lanes):
            dx[i] = upper[i]
        for i in range(lanes):
            dx[W + i] = upper[i] if job == FROM_MEAN else lower[i]
        for i in range(lanes, 2 * lanes):
            dx[W + i] = upper[i] if job == FROM_MEAN else lower[i]
    if job == TO_PLACES:
        for i in range(lanes):
            indices[i] = place + places[i]


cdef inline void halve_by(int job, int lanes, const Windows* w, Py_ssize_t rows, Py_ssize_t n,
                          const real* x, real* y, int64_t* indices, Py_ssize_t place,
                          real* dx) noexcept nogil:
    cdef Py_ssize_t row, at
    for row in range(rows):
        at = 0
        while True:
            halve_block(
                job, lanes, False, w, x + (2 * at if job <= FROM_MAXIMUM else 0), y + at,
                indices + (at if job == TO_PLACES else 0), place + 2 * at,
                dx + (2 * at if job >= FROM_MAXIMUM else 0))
            at += lanes
            if at >= n:
                break
            at = min(at, n - lanes)
        if job <= FROM_MAXIMUM:
            x += 2 * w.W
        if job == TO_PLACES:
            indices += w.OW
        if job >= FROM_MAXIMUM:
            dx += 2 * w.W
        y += w.OW
        place += 2 * w.W


cdef inline void halve_channels_by(int job, int lanes, const Windows* w, Py_ssize_t n,
                                   Py_ssize_t channels, const real* x, real* y, int64_t* indices,
                                   Py_ssize_t place, real* dx) noexcept nogil:
    """n windows of so many channels."""
    cdef Py_ssize_t window, at
    for window in range(n):
        at = 0
        while True:
            halve_block(
                job, lanes, True, w, x + (at if job <= FROM_MAXIMUM else 0), y + at,
                indices + (at if job == TO_PLACES else 0), place,
                dx + (at if job >= FROM_MAXIMUM else 0))
            at += lanes
            if at >= channels:
                break
            at = min(at, channels - lanes)
        if job <= FROM_MAXIMUM:
            x += 2 * w.C
        if job == TO_PLACES:
            indices += w.C
        if job >= FROM_MAXIMUM:
            dx += 2 * w.C
        y += w.C
        place += 2


cdef inline void halve(int job, const Windows* w, const Line* line, Py_ssize_t rows,
                       const real* x, real* y, int64_t* indices, real* dx) noexcept nogil:
    """So many rows of windows, from the line's on; the images x and dx, the whole of y and indices.
    """
    cdef Py_ssize_t place = (2 * line.oh - w.PT) * w.W + 2 * line.ow - w.PL
    cdef Py_ssize_t n = w.halving_end - w.halving, channels = line.count
    y += line.out
    if job <= FROM_MAXIMUM:
        x += place * w.C + line.channel
    if job == TO_PLACES:
        indices += line.out
    if job >= FROM_MAXIMUM:
        dx += place * w.C + line.channel
    if w.C > 1:
        if channels >= 16:
            halve_channels_by(job, 16, w, n, channels, x, y, indices, place, dx)
        elif channels >= 8:
            halve_channels_by(job, 8, w, n, channels, x, y, indices, place, dx)
        else:
            halve_channels_by(job, 4, w, n, channels, x, y, indices, place, dx)
    elif n >= 16:
        halve_by(job, 16, w, rows, n, x, y, indices, place, dx)
    elif n >= 8:
        halve_by(job, 8, w, rows, n, x, y, indices, place, dx)
    else:
        halve_by(job, 4, w, rows, n, x, y, indices, place, dx)


cdef inline Py_ssize_t halved_rows(const Windows* w, const Line* line,
                                   Py_ssize_t end) noexcept nogil:
    """The number of rows, from the line's up to the end, whose windows are all halved."""
    if w.C > 1 or w.halving != 0 or w.halving_end != w.OW or 2 * line.oh < w.PT:
        return 0
    return max(<Py_ssize_t>0, min(end, (w.H + w.PT) // 2) - line.oh)


cdef inline bint has_halves(const Windows* w, const Line* line) noexcept nogil:
    """True if the line begins where windows can be halved, and both their rows are in the image."""
    return (line.ow == w.halving and line.oh * 2 >= w.PT and line.oh * 2 - w.PT + 1 < w.H)


cdef inline void skip_halves(const Windows* w, Line* line) noexcept nogil:
    """Go to the last of the windows that were halved, as `next_line` expects."""
    cdef Py_ssize_t n = w.halving_end - w.halving
    if w.C == 1:
        line.count = n
    else:
        line.ow += n - 1
        line.out += (n - 1) * w.C
