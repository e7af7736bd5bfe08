# Pooling on a tile: x (C, H, W, 16) -> y (C, OH, OW, 16). A window is clipped to the image: padding
# never wins a maximum, and adds nothing to a mean (whose divisor counts it if count_pad is set).
#
#   max: y = the largest of the window; its gradient goes to the first such element in row-major
#     order
#   avg: y = sum of the window / divisor; its gradient, over the divisor, goes to every element; no
#     dilation
from libc.math cimport INFINITY

# A window's elements in the image: every DH-th row from top on, before bottom, columns likewise.
cdef struct Window:
    Py_ssize_t top, bottom, left, right


cdef inline Py_ssize_t first_inside(Py_ssize_t start, Py_ssize_t step) noexcept nogil:
    """The first of start, start + step, ... that is not negative."""
    return start if start >= 0 else (step - -start % step) % step


cdef inline Window window_at(const Op* op, Py_ssize_t oh, Py_ssize_t ow) noexcept nogil:
    cdef Py_ssize_t top = oh * op.SH - op.PH, left = ow * op.SW - op.PW
    cdef Window w
    w.top, w.left = first_inside(top, op.DH), first_inside(left, op.DW)
    w.bottom = min(top + (op.KH - 1) * op.DH + 1, op.H)
    w.right = min(left + (op.KW - 1) * op.DW + 1, op.W)
    return w


cdef inline bint pool_is_halving(const Op* op) noexcept nogil:
    """2 x 2 windows that cover the image exactly once: LeNet's pooling."""
    return (op.KH == 2 and op.KW == 2 and op.SH == 2 and op.SW == 2 and op.PH == 0 and op.PW == 0
            and op.DH == 1 and op.DW == 1 and op.H == 2 * op.OH and op.W == 2 * op.OW)


cdef void max_pool2d_forward(const Op* op, const float* params, float* arena,
                             float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef float* y = arena + op.y
    cdef Py_ssize_t c, oh, ow, h, w, row = op.W * LANES
    cdef Window win
    cdef v16 best
    cdef const float* p
    for c in range(op.C):
        for oh in range(op.OH):
            if pool_is_halving(op):
                p = x + (c * op.H + 2 * oh) * row
                for ow in range(op.OW):
                    best = larger(v16_load(p), v16_load(p + LANES))
                    best = larger(larger(best, v16_load(p + row)), v16_load(p + row + LANES))
                    v16_store(y, best)
                    y += LANES
                    p += 2 * LANES
                continue
            for ow in range(op.OW):
                win = window_at(op, oh, ow)
                best = v16_set1(-INFINITY)
                h = win.top
                while h < win.bottom:
                    w = win.left
                    while w < win.right:
                        best = larger(best, v16_load(x + ((c * op.H + h) * op.W + w) * LANES))
                        w += op.DW
                    h += op.DH
                v16_store(y, best)
                y += LANES


cdef inline v16 take_first(float* dx, v16 a, v16 best, v16 gradient, bint add) noexcept nogil:
    """Add the gradient to this element if it is the maximum; return the rest."""
    cdef v16 share = v16_where_le(a, a, v16_where_le(best, a, gradient, v16_zero()), gradient)
    cdef v16 rest = v16_where_le(a, a, v16_where_le(best, a, v16_zero(), gradient), v16_zero())
    if add:
        v16_store(dx, v16_add(v16_load(dx), share))
    else:
        v16_store(dx, share)
    return rest


cdef void max_pool2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef const float* y = arena + op.y
    cdef const float* dy = gradients + op.y
    cdef float* dx = gradients + op.x
    cdef Py_ssize_t c, oh, ow, h, w, at, row = op.W * LANES
    cdef Window win
    cdef v16 best, g
    if not need_dx:
        return
    if not pool_is_halving(op):
        memset(dx, 0, op.C * op.H * op.W * LANES * sizeof(float))
    for c in range(op.C):
        for oh in range(op.OH):
            for ow in range(op.OW):
                best = v16_load(y)
                g = v16_load(dy)
                if op.mask:
                    g = where_positive(best, g)
                if pool_is_halving(op):
                    at = (c * op.H + 2 * oh) * row + 2 * ow * LANES
                    g = take_first(dx + at, v16_load(x + at), best, g, False)
                    g = take_first(dx + at + LANES, v16_load(x + at + LANES), best, g, False)
                    g = take_first(dx + at + row, v16_load(x + at + row), best, g, False)
                    take_first(dx + at + row + LANES, v16_load(x + at + row + LANES), best, g,
                               False)
                else:
                    win = window_at(op, oh, ow)
                    h = win.top
                    while h < win.bottom:
                        w = win.left
                        while w < win.right:
                            at = ((c * op.H + h) * op.W + w) * LANES
                            g = take_first(dx + at, v16_load(x + at), best, g, True)
                            w += op.DW
                        h += op.DH
                y += LANES
                dy += LANES


cdef inline float one_over_count(const Op* op, Window win, Py_ssize_t oh,
                                 Py_ssize_t ow) noexcept nogil:
    cdef Py_ssize_t rows, columns
    if op.count_pad:
        rows = min(op.KH, op.EH - (oh * op.SH - op.PH))
        columns = min(op.KW, op.EW - (ow * op.SW - op.PW))
    else:
        rows, columns = win.bottom - win.top, win.right - win.left
    return 1 / <float>(rows * columns)


cdef void avg_pool2d_forward(const Op* op, const float* params, float* arena,
                             float* scratch) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef float* y = arena + op.y
    cdef Py_ssize_t c, oh, ow, h, w
    cdef Window win
    cdef v16 total
    cdef const float* p
    for c in range(op.C):
        for oh in range(op.OH):
            if pool_is_halving(op):
                p = x + (c * op.H + 2 * oh) * op.W * LANES
                for ow in range(op.OW):
                    total = v16_add(v16_add(v16_zero(), v16_load(p)), v16_load(p + LANES))
                    total = v16_add(v16_add(total, v16_load(p + op.W * LANES)),
                                    v16_load(p + op.W * LANES + LANES))
                    v16_store(y, v16_mul(total, v16_set1(0.25)))
                    y += LANES
                    p += 2 * LANES
                continue
            for ow in range(op.OW):
                win = window_at(op, oh, ow)
                total = v16_zero()
                for h in range(win.top, win.bottom):
                    for w in range(win.left, win.right):
                        total = v16_add(total, v16_load(x + ((c * op.H + h) * op.W + w) * LANES))
                v16_store(y, v16_mul(total, v16_set1(one_over_count(op, win, oh, ow))))
                y += LANES


cdef inline v16 masked(const Op* op, const float* x, v16 gradient) noexcept nogil:
    """Return the gradient where the rectified x is positive."""
    return where_positive(v16_load(x), gradient) if op.mask else gradient


cdef void avg_pool2d_backward(
    const Op* op, const float* params, const float* arena, float* gradients, bint need_dx,
    float* sums, float* saved, float* scratch,
) noexcept nogil:
    cdef const float* x = arena + op.x
    cdef const float* dy = gradients + op.y
    cdef float* dx = gradients + op.x
    cdef Py_ssize_t c, oh, ow, h, w, at
    cdef Window win
    cdef v16 share
    if not need_dx:
        return
    if not pool_is_halving(op):
        memset(dx, 0, op.C * op.H * op.W * LANES * sizeof(float))
    for c in range(op.C):
        for oh in range(op.OH):
            for ow in range(op.OW):
                if pool_is_halving(op):
                    share = v16_mul(v16_load(dy), v16_set1(0.25))
                    at = ((c * op.H + 2 * oh) * op.W + 2 * ow) * LANES
                    v16_store(dx + at, masked(op, x + at, share))
                    v16_store(dx + at + LANES, masked(op, x + at + LANES, share))
                    at += op.W * LANES
                    v16_store(dx + at, masked(op, x + at, share))
                    v16_store(dx + at + LANES, masked(op, x + at + LANES, share))
                    dy += LANES
                    continue
                win = window_at(op, oh, ow)
                share = v16_mul(v16_load(dy), v16_set1(one_over_count(op, win, oh, ow)))
                for h in range(win.top, win.bottom):
                    for w in range(win.left, win.right):
                        at = ((c * op.H + h) * op.W + w) * LANES
                        v16_store(dx + at, v16_add(v16_load(dx + at), masked(op, x + at, share)))
                dy += LANES


cdef OpKernels* max_pool2d = add_op(b"max_pool2d", max_pool2d_forward, max_pool2d_backward)
max_pool2d.reads_x = max_pool2d.reads_y = True
add_op(b"avg_pool2d", avg_pool2d_forward, avg_pool2d_backward)
