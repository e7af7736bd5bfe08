# Max pooling: y = the largest of the window, not-a-number if there is one; its place in the image,
# h W + w, is that of the first such element in row-major order, and its gradient goes there.

cdef inline void maximum_of_line(const Windows* w, const real* x, const Line* line, real* values,
                                 int* places) noexcept nogil:
    """Of an image x; the places too, unless NULL."""
    cdef Py_ssize_t place
    if w.whole:
        place = first_maximum(x, w.H * w.W)
        values[0] = x[place]
        if places is not NULL:
            places[0] = <int>place
        return
    fill(values, -<real>INFINITY, whole_vectors(line.count))
    visit(w, LARGEST, <real*>x, line, values, places)
    if places is not NULL:
        find_places(w, <real*>x, line, values, places)


cdef inline void maximum_items(const Windows* w, const real* x, real* y, int64_t* indices,
                               Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Line line
    cdef Py_ssize_t oh, end
    while first < last:
        line = part_line(w, first // w.OH)
        oh = first % w.OH
        end = min(w.OH, oh + last - first)
        first += end - oh
        if indices is NULL:
            maximum_rows(w, TO_MAXIMUM, x + line.start, y, indices, line, oh, end)
        else:
            maximum_rows(w, TO_PLACES, x + line.start, y, indices, line, oh, end)


cdef inline void maximum_rows(const Windows* w, int job, const real* x, real* y, int64_t* indices,
                              Line line, Py_ssize_t oh, Py_ssize_t end) noexcept nogil:
    """The rows of a part, x being its image."""
    cdef real[BLOCK] values
    cdef int[BLOCK] places
    cdef Py_ssize_t rows, i
    while oh < end:
        start_row(w, &line, oh)
        rows = halved_rows(w, &line, end)
        if rows > 0:
            halve(job, w, &line, rows, x, y, indices, <real*>NULL)
            oh += rows
            continue
        while next_line(w, &line):
            if has_halves(w, &line):
                halve(job, w, &line, 1, x, y, indices, <real*>NULL)
                line.count = w.halving_end - w.halving
                continue
            maximum_of_line(w, x, &line, values, NULL if job == TO_MAXIMUM else places)
            copy(values, y + line.out, line.count)
            if job == TO_PLACES:
                for i in range(line.count):
                    indices[line.out + i] = places[i]
        oh += 1


cdef inline bint read_places(const Windows* w, const int64_t* indices, const Line* line,
                             int* places) noexcept nogil:
    """The places that a line of indices names; false if one is not in the image."""
    cdef Py_ssize_t i
    cdef bint fits = True
    for i in range(line.count):
        places[i] = <int>indices[line.out + i]
        fits &= <uint64_t>indices[line.out + i] < <uint64_t>(w.H * w.W)
    return fits


cdef inline bint maximum_part(const Windows* w, const real* dy, const real* x,
                              const int64_t* indices, real* dx, Line line,
                              bint halves) noexcept nogil:
    """The gradient of a part, with the rows that can be halved done so, or not."""
    cdef real[BLOCK] values
    cdef int[BLOCK] places
    cdef Py_ssize_t oh = 0, rows, i
    clear_part(w, dx, &line, halves)
    dx += line.start
    if x is not NULL:
        x += line.start
    while oh < w.OH:
        start_row(w, &line, oh)
        rows = halved_rows(w, &line, w.OH) if halves else 0
        if rows > 0:
            if not halve_back(w, &line, rows, x, dy, indices, dx):
                return False
            oh += rows
            continue
        while next_line(w, &line):
            if halves and has_halves(w, &line):
                if not halve_back(w, &line, 1, x, dy, indices, dx):
                    return False
                line.count = w.halving_end - w.halving
                continue
            if indices is NULL:
                maximum_of_line(w, x, &line, values, places)
            elif not read_places(w, indices, &line, places):
                return False
            if w.C == 1:
                for i in range(line.count):
                    dx[places[i]] += dy[line.out + i]
            else:
                for i in range(line.count):
                    dx[places[i] * w.C + line.channel + i] += dy[line.out + i]
        oh += 1
    return True


cdef inline bint halve_back(const Windows* w, const Line* line, Py_ssize_t rows, const real* x,
                            const real* dy, const int64_t* indices, real* dx) noexcept nogil:
    if indices is NULL:
        return halve(FROM_MAXIMUM, w, line, rows, x, <real*>dy, NULL, dx)
    return halve(FROM_PLACES, w, line, rows, x, <real*>dy, <int64_t*>indices, dx)


cdef inline bint maximum_parts(const Windows* w, const real* dy, const real* x,
                               const int64_t* indices, real* dx, Py_ssize_t first,
                               Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t part
    for part in range(first, last):
        # Indices of another window do not fit where windows are halved: elsewhere they do.
        if not (maximum_part(w, dy, x, indices, dx, part_line(w, part), True)
                or maximum_part(w, dy, x, indices, dx, part_line(w, part), False)):
            return False
    return True
