# Average pooling: y = sum of the window / count, the padding being zeros; the count is that of the
# window's places in the counted rows and columns, or the divisor. The gradient, over the count,
# goes to every element.

cdef inline Py_ssize_t counted(Py_ssize_t start, Py_ssize_t size, Py_ssize_t step, Py_ssize_t begin,
                               Py_ssize_t end) noexcept nogil:
    """The number of `size` places from `start` on in [begin, end); at least one is."""
    return places_up_to(start, step, end, size) - places_before(start - begin, step)


cdef inline void divide(const Windows* w, const Line* line, real* values) noexcept nogil:
    """Divide the values of a line by its windows' counts."""
    cdef Py_ssize_t left = line.ow * w.SW - w.PL, step = w.SW if w.C == 1 else 0
    cdef Py_ssize_t i, rows, whole, whole_end = line.count
    if w.divisor > 0:
        divide_some(values, 0, line.count, w.divisor)
        return
    rows = counted(line.oh * w.SH - w.PT, w.KH, w.DH, w.top, w.bottom)
    if w.C > 1:
        divide_some(values, 0, line.count, rows * counted(left, w.KW, w.DW, w.left, w.right))
        return
    whole = min(line.count, places_before(left - w.left, w.SW))
    while whole_end > whole and left + (whole_end - 1) * w.SW + (w.KW - 1) * w.DW >= w.right:
        whole_end -= 1
    divide_some(values, whole, whole_end, rows * w.KW)
    for i in range(line.count):
        if not whole <= i < whole_end:
            values[i] = mean_of(values[i], <real>(
                rows * counted(left + i * w.SW, w.KW, w.DW, w.left, w.right)))


cdef inline void divide_some(real* values, Py_ssize_t begin, Py_ssize_t end,
                             Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(begin, end):
        values[i] = mean_of(values[i], <real>count)


cdef inline void mean_items(const Windows* w, const real* x, real* y, Py_ssize_t first,
                            Py_ssize_t last) noexcept nogil:
    cdef real[BLOCK] values
    cdef Line line
    cdef real* image
    cdef Py_ssize_t oh, end, rows
    cdef bint halves = w.divisor == 0
    if w.whole:
        if w.C == 1:
            whole_means(w, x, y, first, last)
        else:
            whole_means_last(w, x, y, first, last)
        return
    while first < last:
        line = part_line(w, first // w.OH)
        image = <real*>x + line.start
        oh = first % w.OH
        end = min(w.OH, oh + last - first)
        first += end - oh
        while oh < end:
            start_row(w, &line, oh)
            rows = halved_rows(w, &line, end) if halves else 0
            if rows > 0:
                halve(TO_MEAN, w, &line, rows, image, y, NULL, <real*>NULL)
                oh += rows
                continue
            while next_line(w, &line):
                if halves and has_halves(w, &line):
                    halve(TO_MEAN, w, &line, 1, image, y, NULL, <real*>NULL)
                    skip_halves(w, &line)
                    continue
                fill(values, <real>0, whole_vectors(line.count))
                visit(w, SUM, image, &line, values, NULL)
                divide(w, &line, values)
                copy(values, y + line.out, line.count)
            oh += 1


cdef inline void mean_parts(const Windows* w, const real* dy, real* dx, Py_ssize_t first,
                            Py_ssize_t last) noexcept nogil:
    cdef real[BLOCK] values
    cdef Line line
    cdef real* image
    cdef Py_ssize_t part, oh, rows
    cdef bint halves = w.divisor == 0
    for part in range(first, last):
        line = part_line(w, part)
        image = dx + line.start
        if w.whole and w.C == 1:
            fill(image, <real>0 + mean_of(dy[part], <real>whole_count(w)), w.H * w.W)
            continue
        clear_part(w, dx, &line, halves)
        oh = 0
        while oh < w.OH:
            start_row(w, &line, oh)
            rows = halved_rows(w, &line, w.OH) if halves else 0
            if rows > 0:
                halve(FROM_MEAN, w, &line, rows, <const real*>NULL, <real*>dy, NULL, image)
                oh += rows
                continue
            while next_line(w, &line):
                if halves and has_halves(w, &line):
                    halve(FROM_MEAN, w, &line, 1, <const real*>NULL, <real*>dy, NULL, image)
                    skip_halves(w, &line)
                    continue
                copy(dy + line.out, values, line.count)
                divide(w, &line, values)
                visit(w, SPREAD, image, &line, values, NULL)
            oh += 1
