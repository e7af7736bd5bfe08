"""The kernels for `cimport`; cykernels.pxd is the documentation. Here is nothing to call from
Python.

Convolutions run on the strips of _strips.pyx, poolings on tiles of 16 planes, as those of
`lenet5c.kernels` do.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memset

from lenet5c.kernels.direct._strips cimport (
    DATA_GRADIENT, RESULT, WEIGHT_GRADIENT, Geometry, Purpose, Totals, Units, best_way,
    convolve_all, convolve_floats, gradient_floats, most_elements, offset_count, plan_phase,
    plan_result, plan_totals, times, weight_gradient_all, write_offsets)
from lenet5c.kernels.simd.tiles cimport LANES, Op, OpKernels, TileKernels, find_op, round_up

from lenet5c.kernels.simd import dispatch

include "windows.pxi"

cdef object capsule = dispatch.tiles  # keeps the table in memory
cdef const TileKernels* kernels = <const TileKernels*>PyCapsule_GetPointer(
    capsule, b"lenet5c.TileKernels")
cdef const OpKernels* max_pool2d = find_op(kernels, b"max_pool2d")
cdef const OpKernels* avg_pool2d = find_op(kernels, b"avg_pool2d")

cdef enum:
    ALIGNMENT = 64
    MOST_SETTING = 2147483647  # of a kernel size, stride, padding or dilation


cdef int abi_version() noexcept nogil:
    return ABI_VERSION


cdef const char* instruction_set() noexcept nogil:
    return kernels.isa


cdef const char* status_message(Py_ssize_t status) noexcept nogil:
    if status >= 0:
        return "success"
    if status == INVALID_SIZE:
        return "a size, stride or dilation is below 1, or a batch or padding below 0"
    if status == INVALID_GROUPS:
        return "groups do not divide both the input and the output channels"
    if status == WINDOW_TOO_LARGE:
        return "a window is larger than the padded image"
    if status == PADDING_TOO_LARGE:
        return "the padding of a pooling is more than half of its window"
    if status == TOO_LARGE:
        return "an array or the scratch would be too large to address"
    if status == NULL_POINTER:
        return "an array that is needed is NULL"
    return "unknown status"


# Sizes


cdef Py_ssize_t output_extent(Py_ssize_t extent, Py_ssize_t kernel, Py_ssize_t stride,
                              Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    cdef Py_ssize_t padded, reach
    if extent < 1 or kernel < 1 or stride < 1 or padding < 0 or dilation < 1:
        return INVALID_SIZE
    if (extent > most_elements() or max(max(kernel, stride), max(padding, dilation)) > MOST_SETTING
            or padding > most_elements()):
        return TOO_LARGE
    padded, reach = extent + 2 * padding, times(dilation, kernel - 1)
    return (padded - reach - 1) // stride + 1 if reach < padded else <Py_ssize_t>WINDOW_TOO_LARGE


cdef bint within(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t d) noexcept nogil:
    """True if an array of this shape can be addressed."""
    return times(times(a, b), times(c, d)) <= most_elements()


cdef int set_window(Window* w, Py_ssize_t N, Py_ssize_t C, Py_ssize_t H, Py_ssize_t W,
                    Py_ssize_t KH, Py_ssize_t KW, Py_ssize_t SH, Py_ssize_t SW, Py_ssize_t PH,
                    Py_ssize_t PW, Py_ssize_t DH, Py_ssize_t DW) noexcept nogil:
    """The window that all ops have, checked, with the size of its output."""
    w.H, w.W, w.KH, w.KW, w.SH, w.SW, w.PH, w.PW, w.DH, w.DW = H, W, KH, KW, SH, SW, PH, PW, DH, DW
    if N < 0 or C < 1:
        return INVALID_SIZE
    w.OH, w.OW = output_extent(H, KH, SH, PH, DH), output_extent(W, KW, SW, PW, DW)
    if w.OH < 0 or w.OW < 0:
        return <int>(w.OH if w.OH < 0 else w.OW)
    if not within(N, C, H, W) or not within(1, 1, H + 2 * PH, W + 2 * PW) or not within(1, C, H, W):
        return TOO_LARGE
    return OK


# Memory. The floats come first, then the offsets of a plan.


cdef Py_ssize_t scratch_bytes(Py_ssize_t floats, Py_ssize_t offsets) noexcept nogil:
    """With what the alignment may take, or a Status."""
    if floats > most_elements() or offsets > most_elements():
        return TOO_LARGE
    return (ALIGNMENT + round_up(floats) * <Py_ssize_t>sizeof(float)
            + offsets * <Py_ssize_t>sizeof(Py_ssize_t))


cdef float* aligned(void* memory) noexcept nogil:
    return <float*>((<size_t>memory + ALIGNMENT - 1) & ~<size_t>(ALIGNMENT - 1))


# Convolution


cdef int set_units(Units* u, const Conv2dSizes* s) noexcept nogil:
    """The settings, checked; which way goes side by side is still open."""
    cdef Window w
    cdef int status
    if s is NULL:
        return NULL_POINTER
    status = set_window(&w, s.N, s.C, s.H, s.W, s.KH, s.KW, s.stride_h, s.stride_w, s.padding_h,
                        s.padding_w, s.dilation_h, s.dilation_w)
    if status != OK:
        return status
    if s.O < 1 or s.groups < 1:
        return INVALID_SIZE
    if s.C % s.groups != 0 or s.O % s.groups != 0:
        return INVALID_GROUPS
    if (not within(s.N, s.O, w.OH, w.OW) or not within(1, s.O, w.OH, w.OW)
            or not within(s.O, s.C // s.groups, s.KH, s.KW)):
        return TOO_LARGE
    u.groups, u.count, u.threads = s.groups, s.N * s.groups, 1
    u.channels_last = u.filters_last = False
    u.D, u.H, u.W, u.L, u.OH, u.OW = s.C // s.groups, w.H, w.W, s.O // s.groups, w.OH, w.OW
    u.KH, u.KW, u.SH, u.SW, u.PH, u.PW, u.DH, u.DW = w.KH, w.KW, w.SH, w.SW, w.PH, w.PW, w.DH, w.DW
    return OK


cdef int plan_forward(Geometry* g, Units* u, Purpose purpose) noexcept nogil:
    """Of the result, or of the weight gradient."""
    u.purpose = purpose
    u.way = best_way(&kernels.direct, u)
    return OK if plan_result(g, &kernels.direct, u) else TOO_LARGE


cdef Py_ssize_t conv2d_scratch(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    cdef Geometry g
    cdef int status = set_units(&u, sizes)
    if status == OK:
        status = plan_forward(&g, &u, RESULT)
    return scratch_bytes(convolve_floats(&g, 1), offset_count(&g)) if status == OK else status


cdef int conv2d_f32(const Conv2dSizes* sizes, const float* x, const float* weight,
                    const float* bias, float* y, void* scratch) noexcept nogil:
    cdef Units u
    cdef Geometry g
    cdef int status = set_units(&u, sizes)
    if status == OK:
        status = plan_forward(&g, &u, RESULT)
    if status != OK or u.count == 0:
        return status
    if x is NULL or weight is NULL or y is NULL or scratch is NULL:
        return NULL_POINTER
    write_offsets(&g, <Py_ssize_t*>(aligned(scratch) + round_up(convolve_floats(&g, 1))))
    convolve_all(&g, x, weight, bias, y, aligned(scratch))
    return OK


cdef Py_ssize_t data_gradient_scratch(Units* u) noexcept nogil:
    """The most that a phase of the stride takes, or a Status."""
    cdef Geometry g
    cdef Py_ssize_t a, b, bytes, most = 0
    u.purpose = DATA_GRADIENT
    u.way = best_way(&kernels.direct, u)
    for a in range(min(u.SH, u.H)):
        for b in range(min(u.SW, u.W)):
            if not plan_phase(&g, &kernels.direct, u, a, b):
                return TOO_LARGE
            bytes = scratch_bytes(convolve_floats(&g, 1), offset_count(&g))
            if bytes < 0:
                return bytes
            most = max(most, bytes)
    return most


cdef Py_ssize_t weight_gradient_scratch(Units* u) noexcept nogil:
    cdef Geometry g
    cdef Totals t
    if plan_forward(&g, u, WEIGHT_GRADIENT) != OK:
        return TOO_LARGE
    t = plan_totals(&g, 1, False)
    return scratch_bytes(gradient_floats(&g, &t, 1), offset_count(&g))


cdef Py_ssize_t conv2d_backward_scratch(const Conv2dSizes* sizes) noexcept nogil:
    cdef Units u
    cdef Py_ssize_t dx, dweight
    cdef int status = set_units(&u, sizes)
    if status != OK:
        return status
    dx, dweight = data_gradient_scratch(&u), weight_gradient_scratch(&u)
    return min(dx, dweight) if min(dx, dweight) < 0 else max(dx, dweight)


cdef int conv2d_backward_f32(const Conv2dSizes* sizes, const float* dy, const float* x,
                             const float* weight, float* dx, float* dweight, float* dbias,
                             void* scratch) noexcept nogil:
    cdef Units u
    cdef Py_ssize_t bytes = conv2d_backward_scratch(sizes)
    if bytes < 0:
        return <int>bytes
    set_units(&u, sizes)
    if scratch is NULL or (u.count > 0 and (
            dy is NULL or (dweight is not NULL and x is NULL)
            or (dx is not NULL and weight is NULL))):
        return NULL_POINTER
    if dx is not NULL and u.count > 0:
        data_gradient(&u, dy, weight, dx, aligned(scratch))
    if dweight is not NULL or dbias is not NULL:
        weight_gradient(&u, dy, x, dweight, dbias, aligned(scratch))
    return OK


cdef void data_gradient(Units* u, const float* dy, const float* weight, float* dx,
                        float* memory) noexcept nogil:
    cdef Geometry g
    cdef Py_ssize_t a, b
    u.purpose = DATA_GRADIENT
    u.way = best_way(&kernels.direct, u)
    for a in range(min(u.SH, u.H)):
        for b in range(min(u.SW, u.W)):
            plan_phase(&g, &kernels.direct, u, a, b)
            write_offsets(&g, <Py_ssize_t*>(memory + round_up(convolve_floats(&g, 1))))
            convolve_all(&g, dy, weight, <const float*>NULL, dx, memory)


cdef void weight_gradient(Units* u, const float* dy, const float* x, float* dweight, float* dbias,
                          float* memory) noexcept nogil:
    cdef Geometry g
    cdef Totals t
    plan_forward(&g, u, WEIGHT_GRADIENT)
    t = plan_totals(&g, 1, False)
    write_offsets(&g, <Py_ssize_t*>(memory + round_up(gradient_floats(&g, &t, 1))))
    weight_gradient_all(&g, x, dy, dweight, dbias, memory)


# Pooling: planes know nothing of each other, so 16 of them go side by side, whatever samples they
# are of. The arena has the input, then the output; after it lies another one for the gradients.


cdef int set_pool(Op* op, const Pool2dSizes* s, const OpKernels* op_kernels) noexcept nogil:
    """The op on a plane, checked."""
    cdef Window w
    cdef int status
    if s is NULL:
        return NULL_POINTER
    status = set_window(&w, s.N, s.C, s.H, s.W, s.KH, s.KW, s.stride_h, s.stride_w, s.padding_h,
                        s.padding_w, 1, 1)
    if status != OK:
        return status
    if 2 * s.padding_h > s.KH or 2 * s.padding_w > s.KW:
        return PADDING_TOO_LARGE
    if (not within(s.N, s.C, w.OH, w.OW) or not within(2, LANES, w.H, w.W)
            or not within(2, LANES, w.OH, w.OW)):
        return TOO_LARGE
    memset(op, 0, sizeof(Op))
    op.kernels, op.count_pad, op.groups = op_kernels, s.count_include_pad != 0, 1
    op.C, op.H, op.W, op.O, op.OH, op.OW = 1, w.H, w.W, 1, w.OH, w.OW
    op.KH, op.KW, op.SH, op.SW = w.KH, w.KW, w.SH, w.SW
    op.PH, op.PW, op.DH, op.DW = w.PH, w.PW, 1, 1
    op.y = w.H * w.W * LANES
    return OK


cdef Py_ssize_t arena_floats(const Op* op) noexcept nogil:
    return (op.H * op.W + op.OH * op.OW) * LANES


cdef void load_planes(const float* planes, Py_ssize_t count, Py_ssize_t size,
                      float* tile) noexcept nogil:
    """The first of `count` planes, up to 16; lanes that are left repeat the first one."""
    cdef const float* lanes[LANES]
    cdef Py_ssize_t lane
    for lane in range(LANES):
        lanes[lane] = planes + (lane * size if lane < count else 0)
    kernels.pack_floats(lanes, size, tile)


cdef Py_ssize_t pool2d_scratch(const Pool2dSizes* sizes) noexcept nogil:
    cdef Op op
    cdef int status = set_pool(&op, sizes, max_pool2d)
    return scratch_bytes(2 * arena_floats(&op), 0) if status == OK else status


cdef int pool_forward(const OpKernels* op_kernels, const Pool2dSizes* sizes, const float* x,
                      float* y, void* scratch) noexcept nogil:
    cdef Op op
    cdef Py_ssize_t tile, plane, planes, size, out
    cdef float* arena = aligned(scratch)
    cdef int status = set_pool(&op, sizes, op_kernels)
    if status != OK:
        return status
    planes, size, out = sizes.N * sizes.C, op.H * op.W, op.OH * op.OW
    if planes > 0 and (x is NULL or y is NULL or scratch is NULL):
        return NULL_POINTER
    for tile in range((planes + LANES - 1) // LANES):
        plane = tile * LANES
        load_planes(x + plane * size, planes - plane, size, arena)
        op.kernels.forward(&op, NULL, arena, NULL)
        kernels.unpack(arena + op.y, out, min(<Py_ssize_t>LANES, planes - plane), y + plane * out)
    return OK


cdef int pool_backward(const OpKernels* op_kernels, const Pool2dSizes* sizes, const float* dy,
                       const float* x, float* dx, void* scratch) noexcept nogil:
    """x is looked at only where the gradient depends on it."""
    cdef Op op
    cdef Py_ssize_t tile, plane, planes, size, out
    cdef float* arena = aligned(scratch)
    cdef float* gradients
    cdef int status = set_pool(&op, sizes, op_kernels)
    if status != OK:
        return status
    gradients = arena + arena_floats(&op)
    planes, size, out = sizes.N * sizes.C, op.H * op.W, op.OH * op.OW
    if planes > 0 and (dy is NULL or dx is NULL or scratch is NULL
                       or (x is NULL and op_kernels.reads_x)):
        return NULL_POINTER
    for tile in range((planes + LANES - 1) // LANES):
        plane = tile * LANES
        if op_kernels.reads_x:
            load_planes(x + plane * size, planes - plane, size, arena)
            op.kernels.forward(&op, NULL, arena, NULL)
        load_planes(dy + plane * out, planes - plane, out, gradients + op.y)
        op.kernels.backward(&op, NULL, arena, gradients, True, NULL, NULL, NULL)
        kernels.unpack(gradients, size, min(<Py_ssize_t>LANES, planes - plane), dx + plane * size)
    return OK


cdef int max_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil:
    return pool_forward(max_pool2d, sizes, x, y, scratch)


cdef int max_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, const float* x,
                                 float* dx, void* scratch) noexcept nogil:
    return pool_backward(max_pool2d, sizes, dy, x, dx, scratch)


cdef int avg_pool2d_f32(const Pool2dSizes* sizes, const float* x, float* y,
                        void* scratch) noexcept nogil:
    return pool_forward(avg_pool2d, sizes, x, y, scratch)


cdef int avg_pool2d_backward_f32(const Pool2dSizes* sizes, const float* dy, float* dx,
                                 void* scratch) noexcept nogil:
    return pool_backward(avg_pool2d, sizes, dy, NULL, dx, scratch)


# im2col and col2im


cdef int set_columns(Window* w, const Im2colSizes* s) noexcept nogil:
    cdef int status
    if s is NULL:
        return NULL_POINTER
    status = set_window(w, s.N, s.C, s.H, s.W, s.KH, s.KW, s.stride_h, s.stride_w, s.padding_h,
                        s.padding_w, s.dilation_h, s.dilation_w)
    if status == OK and not within(times(s.N, s.C), times(s.KH, s.KW), w.OH, w.OW):
        return TOO_LARGE
    return status


cdef Py_ssize_t im2col_scratch(const Im2colSizes* sizes) noexcept nogil:
    cdef Window w
    return set_columns(&w, sizes)


cdef int planes_to_columns(const Im2colSizes* sizes, const real* x, real* col) noexcept nogil:
    cdef Window w
    cdef Py_ssize_t plane
    cdef int status = set_columns(&w, sizes)
    if status != OK or sizes.N == 0:
        return status
    if x is NULL or col is NULL:
        return NULL_POINTER
    for plane in range(sizes.N * sizes.C):
        unfold(x + plane * w.H * w.W, &w, <real>0, col + plane * w.KH * w.KW * w.OH * w.OW)
    return OK


cdef int columns_to_planes(const Im2colSizes* sizes, const real* col, real* x) noexcept nogil:
    cdef Window w
    cdef Py_ssize_t plane
    cdef int status = set_columns(&w, sizes)
    if status != OK or sizes.N == 0:
        return status
    if x is NULL or col is NULL:
        return NULL_POINTER
    memset(x, 0, sizes.N * sizes.C * w.H * w.W * sizeof(real))
    for plane in range(sizes.N * sizes.C):
        fold(col + plane * w.KH * w.KW * w.OH * w.OW, &w, x + plane * w.H * w.W)
    return OK


cdef int im2col_f32(const Im2colSizes* sizes, const float* x, float* col) noexcept nogil:
    return planes_to_columns(sizes, x, col)


cdef int im2col_f64(const Im2colSizes* sizes, const double* x, double* col) noexcept nogil:
    return planes_to_columns(sizes, x, col)


cdef int col2im_f32(const Im2colSizes* sizes, const float* col, float* x) noexcept nogil:
    return columns_to_planes(sizes, col, x)


cdef int col2im_f64(const Im2colSizes* sizes, const double* col, double* x) noexcept nogil:
    return columns_to_planes(sizes, col, x)
