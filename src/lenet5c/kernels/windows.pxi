# im2col and col2im of one image plane, for float32 and float64.
#
#   rows[(kh KW + kw), oh OW + ow] = image[oh SH + kh DH - PH, ow SW + kw DW - PW], or 0 outside
#
# The outputs at which a tap falls within the image are a span, found once for each tap: what is in
# it is copied or added in one run, without a test for each element.
from libc.string cimport memcpy

ctypedef fused real:
    float
    double


cdef struct Window:
    Py_ssize_t H, W, OH, OW
    Py_ssize_t KH, KW, SH, SW, PH, PW, DH, DW


cdef struct Span:
    # The steps first ... end - 1 are inside; step i is at i stride + offset.
    Py_ssize_t first, end


cdef inline Span inside(Py_ssize_t offset, Py_ssize_t stride, Py_ssize_t steps,
                        Py_ssize_t size) noexcept nogil:
    """The steps of which 0 <= step stride + offset < size."""
    cdef Span span
    span.first = min((stride - 1 - offset) // stride, steps) if offset < 0 else 0
    span.end = min((size - 1 - offset) // stride + 1, steps) if offset < size else 0
    span.end = max(span.first, span.end)
    return span


cdef inline void clear_run(real* target, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        target[i] = 0


cdef enum:
    VECTOR_BYTES = 16
    SHORT_BYTES = 256


cdef inline void copy_run(real* target, const real* source, Py_ssize_t count,
                          Py_ssize_t step) noexcept nogil:
    """target[i] = source[i step]; a short run of neighbors without the call of a function."""
    cdef Py_ssize_t i, lanes = VECTOR_BYTES // sizeof(real)
    if step == 2:
        for i in range(count):
            target[i] = source[2 * i]
    elif step != 1:
        for i in range(count):
            target[i] = source[i * step]
    elif count < lanes:
        for i in range(count):
            target[i] = source[i]
    elif count * <Py_ssize_t>sizeof(real) > SHORT_BYTES:
        memcpy(target, source, count * sizeof(real))
    else:
        for i in range((count - 1) // lanes):
            memcpy(target + i * lanes, source + i * lanes, VECTOR_BYTES)
        memcpy(target + count - lanes, source + count - lanes, VECTOR_BYTES)


cdef inline void add_run(real* target, const real* source, Py_ssize_t count,
                         Py_ssize_t step) noexcept nogil:
    """target[i step] += source[i]."""
    cdef Py_ssize_t i
    if step == 1:
        for i in range(count):
            target[i] += source[i]
    else:
        for i in range(count):
            target[i * step] += source[i]


# Columns: the values of one tap at all outputs side by side. An image has `pixel` elements at each
# place: 1, or its channels where they come last, which have rows of their own.


cdef inline void unfold_tap(const real* image, const Window* win, Py_ssize_t pixel, Py_ssize_t kh,
                            Py_ssize_t kw, real* rows) noexcept nogil:
    """One tap at all outputs, (pixel, OH, OW)."""
    cdef Py_ssize_t oh, h, c, offset = kw * win.DW - win.PW, size = win.OH * win.OW
    cdef Span s = inside(offset, win.SW, win.OW, win.W)
    cdef real* row
    for oh in range(win.OH):
        h = oh * win.SH + kh * win.DH - win.PH
        for c in range(pixel):
            row = rows + c * size + oh * win.OW
            if h < 0 or h >= win.H or s.first == s.end:
                clear_run(row, win.OW)
                continue
            clear_run(row, s.first)
            copy_run(row + s.first, image + (h * win.W + s.first * win.SW + offset) * pixel + c,
                     s.end - s.first, win.SW * pixel)
            clear_run(row + s.end, win.OW - s.end)


cdef inline void fold_tap(const real* rows, const Window* win, Py_ssize_t pixel, Py_ssize_t kh,
                          Py_ssize_t kw, Py_ssize_t top, Py_ssize_t bottom,
                          real* image) noexcept nogil:
    """Add one tap at all outputs, (pixel, OH, OW), onto the image's rows top ... bottom - 1."""
    cdef Py_ssize_t oh, h, c, offset = kw * win.DW - win.PW, size = win.OH * win.OW
    cdef Py_ssize_t start = kh * win.DH - win.PH
    cdef Span s = inside(offset, win.SW, win.OW, win.W)
    cdef Span t = inside(start - top, win.SH, win.OH, bottom - top)
    if s.first == s.end:
        return
    for oh in range(t.first, t.end):
        h = oh * win.SH + start
        for c in range(pixel):
            add_run(image + (h * win.W + s.first * win.SW + offset) * pixel + c,
                    rows + c * size + oh * win.OW + s.first, s.end - s.first, win.SW * pixel)


cdef void unfold(const real* image, const Window* win, real* rows) noexcept nogil:
    """The KH KW rows of one image plane."""
    cdef Py_ssize_t tap
    for tap in range(win.KH * win.KW):
        unfold_tap(image, win, 1, tap // win.KW, tap % win.KW,
                   rows + tap * win.OH * win.OW)


cdef void fold(const real* rows, const Window* win, real* image) noexcept nogil:
    """Add the KH KW rows onto one image plane."""
    cdef Py_ssize_t tap
    for tap in range(win.KH * win.KW):
        fold_tap(rows + tap * win.OH * win.OW, win, 1, tap // win.KW, tap % win.KW, 0, win.H, image)


# Rows: the values of one window side by side, (planes, KH, KW, pixel). An image has `planes` planes
# of `pixel` elements at each place: C and 1, or 1 and C. Of a window, the taps of the spans `t`
# (down) and `s` (across) are inside; windows wholly inside go a block at a time, tap row by tap
# row.

cdef enum:
    BLOCK = 16


cdef inline Py_ssize_t windows_alike(const Window* win, Py_ssize_t ow) noexcept nogil:
    """How many windows from `ow` on are wholly inside, sideways, no more than a block; else 1."""
    cdef Span left = inside(-win.PW, win.SW, win.OW, win.W)
    cdef Span right = inside((win.KW - 1) * win.DW - win.PW, win.SW, win.OW, win.W)
    if ow < left.first or ow >= right.end:
        return 1
    return min(<Py_ssize_t>BLOCK, right.end - ow)


cdef inline void unfold_windows(const real* image, const Window* win, Py_ssize_t planes,
                                Py_ssize_t pixel, Py_ssize_t oh,
                                real* rows) noexcept nogil:
    """The OW windows of one output row."""
    cdef Py_ssize_t width = win.KW * pixel, line = win.W * pixel, size = planes * win.KH * width
    cdef Py_ssize_t ow = 0, count, b, plane, kh, kw, offset, top = oh * win.SH - win.PH
    cdef const real* source
    cdef real* row
    cdef Span s, t = inside(top, win.DH, win.KH, win.H)
    while ow < win.OW:
        count = windows_alike(win, ow)
        offset = ow * win.SW - win.PW
        s = inside(offset, win.DW, win.KW, win.W)
        if s.end - s.first < win.KW or t.end - t.first < win.KH:
            clear_run(rows, count * size)
        for plane in range(planes if s.first < s.end else 0):
            source = image + (plane * win.H + top + t.first * win.DH) * line
            source += (offset + s.first * win.DW) * pixel
            row = rows + (plane * win.KH + t.first) * width + s.first * pixel
            for kh in range(t.end - t.first):
                if win.DW == 1:
                    for b in range(count):
                        copy_run(row + b * size, source + b * win.SW * pixel,
                                 (s.end - s.first) * pixel, 1)
                else:
                    for b in range(count):
                        for kw in range(s.end - s.first):
                            copy_run(row + b * size + kw * pixel,
                                     source + (b * win.SW + kw * win.DW) * pixel, pixel, 1)
                source += win.DH * line
                row += width
        rows += count * size
        ow += count


cdef inline void fold_windows(const real* rows, const Window* win, Py_ssize_t planes,
                              Py_ssize_t pixel, Py_ssize_t oh, Py_ssize_t top, Py_ssize_t bottom,
                              real* image) noexcept nogil:
    """Add the OW windows of one output row onto the image's rows top ... bottom - 1."""
    cdef Py_ssize_t width = win.KW * pixel, line = win.W * pixel, size = planes * win.KH * width
    cdef Py_ssize_t ow = 0, count, b, plane, kh, kw, offset, start = oh * win.SH - win.PH
    cdef const real* row
    cdef real* target
    cdef Span s, t = inside(start - top, win.DH, win.KH, bottom - top)
    if t.first == t.end:
        return
    while ow < win.OW:
        count = windows_alike(win, ow)
        offset = ow * win.SW - win.PW
        s = inside(offset, win.DW, win.KW, win.W)
        for plane in range(planes if s.first < s.end else 0):
            target = image + (plane * win.H + start + t.first * win.DH) * line
            target += (offset + s.first * win.DW) * pixel
            row = rows + (plane * win.KH + t.first) * width + s.first * pixel
            for kh in range(t.end - t.first):
                # Tap by tap, because consecutive additions to the same pixel would wait for each
                # other.
                for kw in range(s.end - s.first):
                    if pixel == 1:
                        for b in range(count):
                            target[b * win.SW + kw * win.DW] += row[b * size + kw]
                    else:
                        for b in range(count):
                            add_run(target + (b * win.SW + kw * win.DW) * pixel,
                                    row + b * size + kw * pixel, pixel, 1)
                target += win.DH * line
                row += width
        rows += count * size
        ow += count
