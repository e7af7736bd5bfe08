# Max pooling: y = the largest of the window, not-a-number if there is one; its place in the image,
# h W + w, is that of the first such element in row-major order, and its gradient goes there.

cdef inline void maximum_of_line(const Windows* w, const real* x, const Line* line, real* values,
                                 int* places) noexcept nogil:
    """Of an image x; the places too, unless NULL."""
    cdef Py_ssize_t place
    if w.whole and w.C == 1:
        values[0] = largest_of(x, w.H * w.W)
        # Zeros have signs, and not-a-numbers payloads.
        if places is not NULL or values[0] == 0 or values[0] != values[0]:
            place = first_place(x, w.H * w.W, values[0])
            values[0] = x[place]
            if places is not NULL:
                places[0] = <int>place
        return
    fill(values, -<real>INFINITY, whole_vectors(line.count))
    if places is NULL:
        visit(w, LARGEST, <real*>x, line, values, places)
    else:
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
                skip_halves(w, &line)
                continue
            maximum_of_line(w, x, &line, values, NULL if job == TO_MAXIMUM else places)
            copy(values, y + line.out, line.count)
            if job == TO_PLACES:
                for i in range(line.count):
                    indices[line.out + i] = places[i]
        oh += 1


cdef inline void gradient_of_part(const Windows* w, const real* dy, const real* x, real* dx,
                                  Line line) noexcept nogil:
    """The gradient of a part from x, in which the maxima are found again."""
    cdef real[BLOCK] values
    cdef int[BLOCK] places
    cdef Py_ssize_t oh = 0, rows, i
    clear_part(w, dx, &line, True)
    x += line.start
    dx += line.start
    while oh < w.OH:
        start_row(w, &line, oh)
        rows = halved_rows(w, &line, w.OH)
        if rows > 0:
            halve(FROM_MAXIMUM, w, &line, rows, x, <real*>dy, NULL, dx)
            oh += rows
            continue
        while next_line(w, &line):
            if has_halves(w, &line):
                halve(FROM_MAXIMUM, w, &line, 1, x, <real*>dy, NULL, dx)
                skip_halves(w, &line)
                continue
            maximum_of_line(w, x, &line, values, places)
            for i in range(line.count):
                if w.C == 1:
                    dx[places[i]] += dy[line.out + i]
                else:
                    dx[places[i] * w.C + line.channel + i] += dy[line.out + i]
        oh += 1


cdef inline bint scatter_part(const Windows* w, const real* dy, const int64_t* indices, real* dx,
                              Line line) noexcept nogil:
    """The gradient of a part from the indices; false if one is no place of the image."""
    cdef uint64_t at, size = w.H * w.W
    cdef Py_ssize_t i, o, outputs = w.OH * w.OW
    cdef Py_ssize_t channels = min(<Py_ssize_t>BLOCK, w.C - line.channel)
    clear_part(w, dx, &line, False)
    dx += line.start + line.channel
    dy += line.image * outputs * w.C + line.channel
    indices += line.image * outputs * w.C + line.channel
    if w.C == 1:
        for i in range(outputs):
            at = <uint64_t>indices[i]
            if at >= size:
                return False
            dx[at] += dy[i]
        return True
    for o in range(outputs):
        for i in range(channels):
            at = <uint64_t>indices[o * w.C + i]
            if at >= size:
                return False
            dx[<Py_ssize_t>at * w.C + i] += dy[o * w.C + i]
    return True


cdef inline bint gradient_of_parts(const Windows* w, const real* dy, const real* x,
                                   const int64_t* indices, real* dx, Py_ssize_t first,
                                   Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t part
    for part in range(first, last):
        if indices is NULL:
            gradient_of_part(w, dy, x, dx, part_line(w, part))
        elif not scatter_part(w, dy, indices, dx, part_line(w, part)):
            return False
    return True
