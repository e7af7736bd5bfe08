# A line of windows: `count` side by side, at most BLOCK. They are neighbors in a row of the output
# if an image has one channel, else one window in neighboring channels. One place of the window
# after another, in row-major order, is taken for all of them.

ctypedef fused real:
    float
    double

cdef enum Job:
    LARGEST   # from x to values
    FIND      # the same, and the places of the first of the largest
    SUM       # from x to values
    SPREAD    # from values to x

cdef enum:
    PACKED_ROWS = 4
    PACKED = 2 * BLOCK + 2

cdef struct Line:
    Py_ssize_t image, oh, ow, channel, count
    Py_ssize_t start   # of the image in x
    Py_ssize_t out     # of the line in the output


cdef inline Py_ssize_t places_up_to(Py_ssize_t start, Py_ssize_t step, Py_ssize_t end,
                                    Py_ssize_t most) noexcept nogil:
    """The number of the first `most` that are less than the end; at least one is."""
    return most if start + (most - 1) * step < end else quotient(end - 1 - start, step) + 1


cdef inline Line part_line(const Windows* w, Py_ssize_t part) noexcept nogil:
    """A line of this part, yet without its window."""
    cdef Line line
    cdef Py_ssize_t blocks = (w.C + BLOCK - 1) // BLOCK
    line.image, line.channel = part // blocks, part % blocks * BLOCK
    line.start = line.image * w.H * w.W * w.C
    line.oh = line.ow = line.count = line.out = 0
    return line


cdef inline void start_row(const Windows* w, Line* line, Py_ssize_t oh) noexcept nogil:
    """The line that ends where the row begins: `next_line` goes to the first."""
    line.oh, line.ow, line.count = oh, 0 if w.C == 1 else -1, 0
    line.out = (line.image * w.OH + oh) * w.OW * w.C + line.channel - (0 if w.C == 1 else w.C)


cdef inline Py_ssize_t whole_vectors(Py_ssize_t count) noexcept nogil:
    return (count + 15) // 16 * 16


cdef inline bint next_line(const Windows* w, Line* line) noexcept nogil:
    """The next line of the row, which does not cross w.halving; false at the end."""
    if w.C > 1:
        line.ow += 1
        line.out += w.C
        line.count = min(<Py_ssize_t>BLOCK, w.C - line.channel)
    else:
        line.ow += line.count
        line.out += line.count
        line.count = min(<Py_ssize_t>BLOCK,
                         (w.halving if line.ow < w.halving else w.OW) - line.ow)
    return line.ow < w.OW


# Compilers vectorize these functions: conditions are used once, and there are no branches.

cdef inline real larger(real best, real a) noexcept nogil:
    """The larger of both, the first of equals, and not-a-number if either is."""
    cdef real either = a if a > best else best
    return a if a != a else either


cdef inline bint is_best(real a, real best) noexcept nogil:
    """True if a is the maximum of the window that it is in."""
    return (a == best) | (a != a)


cdef inline bint exceeds(real a, real best) noexcept nogil:
    """True if a is the maximum of both, and comes after the other one."""
    return (a > best) | ((a != a) & (best == best))


cdef inline real mean_of(real total, real count) noexcept nogil:
    """Return a term of the sum; float32 like the op of compiled nets, float64 rounded once."""
    if real is float:
        return total * (<real>1 / count)
    else:
        return total / count


cdef inline void take(int job, real* x, Py_ssize_t step, Py_ssize_t begin, Py_ssize_t end,
                      int place, int place_step, real* values, int* places) noexcept nogil:
    """One place of the windows from `begin` up to `end`; x is that of the first, place its number
    in the image."""
    cdef Py_ssize_t i
    cdef bint found
    for i in range(begin, end):
        if job == LARGEST:
            values[i] = larger(values[i], x[i * step])
        elif job == FIND:
            found = exceeds(x[i * step], values[i])
            values[i] = x[i * step] if found else values[i]
            places[i] = place + <int>i * place_step if found else places[i]
        elif job == SUM:
            values[i] += x[i * step]
        else:
            x[i * step] += values[i]


cdef inline void take_three(int job, const real* a, const real* b, const real* c,
                            Py_ssize_t count, int place, int place_step, int apart, real* values,
                            int* places) noexcept nogil:
    """Three places of the windows, `apart`, in packed rows, as `take` does with one."""
    cdef Py_ssize_t i
    cdef real value, second, third
    cdef int at, place_of
    cdef bint found, found_b, found_c
    for i in range(count):
        value = values[i]
        if job == LARGEST:
            value = larger(larger(larger(value, a[i]), b[i]), c[i])
        elif job == SUM:
            value = value + a[i] + b[i] + c[i]
        else:
            at = place + <int>i * place_step
            place_of = places[i]
            found = exceeds(a[i], value)
            second = larger(value, a[i])
            found_b = exceeds(b[i], second)
            third = larger(second, b[i])
            found_c = exceeds(c[i], third)
            place_of = at if found else place_of
            place_of = at + apart if found_b else place_of
            places[i] = at + 2 * apart if found_c else place_of
            value = c[i] if found_c else third
        values[i] = value


cdef inline const real* packed_place(const Windows* w, const real* even, const real* odd,
                                     Py_ssize_t kw) noexcept nogil:
    """The values of a place of all windows in a packed row."""
    return (odd if kw * w.DW % w.SW != 0 else even) + kw * w.DW // w.SW


cdef inline void pack_row(const real* row, Py_ssize_t left, Py_ssize_t W, Py_ssize_t step,
                          Py_ssize_t length, real outside, real* even, real* odd) noexcept nogil:
    """With a step of 1 the columns left, left + 1, ... of a row to `even`; with 2 the columns left,
    left + 2, ... there, and left + 1, left + 3, ... to `odd`: so many, whose like there need not
    be."""
    cdef Py_ssize_t i, begin = min(length, places_before(left, step))
    cdef Py_ssize_t end = max(begin, min(length, (W - left) // step))
    for i in range(begin):
        even[i] = odd[i] = outside
    if step == 1:
        copy(row + left + begin, even + begin, end - begin)
    else:
        for i in range(begin, end):
            even[i] = row[left + 2 * i]
            odd[i] = row[left + 2 * i + 1]
    for i in range(end, length):
        even[i] = odd[i] = outside
    if step == 2 and begin > 0 and left + 2 * begin == 1:
        odd[begin - 1] = row[0]
    if step == 2 and end < length and left + 2 * end == W - 1:
        even[end] = row[W - 1]


cdef inline void visit(const Windows* w, int job, real* x, const Line* line, real* values,
                       int* places) noexcept nogil:
    """Do the job with all places of the line's windows in the image x: in row-major order, but from
    the last on to add gradients in the order of the windows."""
    cdef Py_ssize_t top = line.oh * w.SH - w.PT, left = line.ow * w.SW - w.PL
    cdef Py_ssize_t width = (line.count - 1) * w.SW if w.C == 1 else 0   # to the last window
    cdef Py_ssize_t kh_begin = places_before(top, w.DH)
    cdef Py_ssize_t kh_end = places_up_to(top, w.DH, w.H, w.KH)
    cdef Py_ssize_t kw_begin = places_before(left + width, w.DW)
    cdef Py_ssize_t kw_end = places_up_to(left, w.DW, w.W, w.KW)
    # Packed rows have values for whole vectors of windows, outside the image too: a window that
    # began later than others would make vectors overlap in part, which stalls the processor.
    cdef bint packs = (job != SPREAD and w.C == 1 and w.SW <= 2 and line.count > 2
                       and (w.KW - 1) * w.DW <= BLOCK)
    cdef Py_ssize_t lanes = whole_vectors(line.count)
    cdef int place_step = <int>w.SW if w.C == 1 else 0
    cdef real[PACKED_ROWS * PACKED] even, odd
    cdef Py_ssize_t h, k, kh, kw, at, place, begin, end, packed
    cdef real* start
    cdef const real* even_row
    cdef const real* odd_row
    for h in range(kh_begin, kh_end):
        kh = kh_begin + kh_end - 1 - h if job == SPREAD else h
        # Some rows in advance: to read at once what was just written, other vectors, stalls too.
        if packs and (h - kh_begin) % PACKED_ROWS == 0:
            for packed in range(min(<Py_ssize_t>PACKED_ROWS, kh_end - h)):
                pack_row(x + (top + (kh + packed) * w.DH) * w.W, left, w.W, w.SW,
                         lanes + (w.KW - 1) * w.DW // w.SW + 1,
                         <real>0 if job == SUM else -<real>INFINITY, even + packed * PACKED,
                         odd + packed * PACKED)
        even_row = even + (h - kh_begin) % PACKED_ROWS * PACKED
        odd_row = odd + (h - kh_begin) % PACKED_ROWS * PACKED
        if packs and kw_begin == 0 and kw_end == 3:
            take_three(job, even_row, packed_place(w, even_row, odd_row, 1),
                       packed_place(w, even_row, odd_row, 2), lanes,
                       <int>((top + kh * w.DH) * w.W + left), place_step, <int>w.DW, values, places)
            continue
        for k in range(kw_begin, kw_end):
            kw = kw_begin + kw_end - 1 - k if job == SPREAD else k
            at = left + kw * w.DW
            place = (top + kh * w.DH) * w.W + at
            if packs:
                start = <real*>packed_place(w, even_row, odd_row, kw)
                take(job, start, 1, 0, lanes, <int>place, place_step, values,
                     places)
                continue
            begin, end, start = 0, line.count, x + place * w.C + line.channel
            if w.C == 1:
                begin = places_before(at, w.SW)
                end = places_up_to(at, w.SW, w.W, line.count)
            if w.C > 1 or w.SW == 1:
                take(job, start, 1, begin, end, <int>place, place_step, values, places)
            else:
                take(job, start, w.SW, begin, end, <int>place, place_step, values, places)


cdef inline void find_places(const Windows* w, real* x, const Line* line, real* values,
                             int* places) noexcept nogil:
    """The maxima, and the places of the first of them; the values are minus infinity before."""
    cdef Py_ssize_t i, top = line.oh * w.SH - w.PT, left = line.ow * w.SW - w.PL
    cdef int empty = 0
    visit(w, FIND, x, line, values, places)
    # Where all is minus infinity, as outside the image: the first place in it.
    for i in range(line.count):
        empty |= values[i] == -<real>INFINITY
    if empty:
        top += places_before(top, w.DH) * w.DH
        for i in range(line.count):
            if values[i] == -<real>INFINITY:
                places[i] = <int>(top * w.W + left + places_before(left, w.DW) * w.DW)
            left += w.SW if w.C == 1 else 0


cdef inline void fill(real* values, real value, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        values[i] = value


cdef inline void copy(const real* values, real* to, Py_ssize_t count) noexcept nogil:
    memcpy(to, values, count * sizeof(real))


cdef inline void clear_part(const Windows* w, real* x, const Line* line,
                            bint halves) noexcept nogil:
    """Zeros for a part of x, unless halving writes all of it."""
    cdef Py_ssize_t i, size = w.H * w.W, width = min(<Py_ssize_t>BLOCK, w.C - line.channel)
    x += line.start
    if (halves and w.halving == 0 and w.PT == w.PL == 0 and w.W == 2 * w.halving_end
            and w.H == 2 * w.OH):
        return
    if width == w.C:
        memset(x, 0, size * w.C * sizeof(real))
        return
    x += line.channel
    for i in range(size):
        memset(x + i * w.C, 0, width * sizeof(real))
