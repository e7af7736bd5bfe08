"""Convolution of plain arrays, strip by strip, and its gradients, in one OpenMP region each.

The strips are those of _strips.pyx; this module has their plans as Python objects, the memory and
the threads.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from lenet5c.kernels.direct._strips cimport (
    CHANNELS, DATA_GRADIENT, ITEMS_PER_THREAD, PIXELS, RESULT, STRIP_FLOATS, UNITS, WEIGHT_GRADIENT,
    Geometry, Purpose, Totals, Units, choose_axis, check_totals, check_weights, convolve_all,
    convolve_floats, convolve_strip, deliver_totals, gradient_floats, most_elements, offset_count,
    pack_weights, packs, place_totals, place_weights, plan_phase, plan_result, plan_totals,
    raise_overrun, real, sum_range, weight_gradient_all, write_offsets)
from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport DirectKernels, useful_threads

from math import prod

from lenet5c.kernels.shapes import MAX_ELEMENTS

include "lenet5c/kernels/buffers.pxi"

cdef extern from "../engine/atomic.h" nogil:
    int64_t atomic_get(int64_t* a)
    int64_t atomic_add(int64_t* a, int64_t b)
    void cpu_pause()
    void thread_yield()

cdef enum:
    IDLE_FLOATS = 16777216     # 64 MiB: larger workspaces are not kept for the next call
    SUM_CHAINS = 8             # sums computed at a time
    SUM_CHANNELS = 64          # channels that a thread sums up at a time
    SPINS = 2000               # pauses before a waiting thread gives its processor away

PURPOSES = {"y": RESULT, "dx": DATA_GRADIENT, "dweight": WEIGHT_GRADIENT}
# (arrays, weights) have channels last
LAYOUTS = {"NCHW": (False, False), "NHWC": (True, True), "rows": (True, False)}
AXES = {"channels": CHANNELS, "units": UNITS, "pixels": PIXELS}

cdef list idle_workspaces = []

strip_floats = STRIP_FLOATS


# Progress of the threads of a region. A prange has a barrier at its end, and its region another
# one, and OpenMP's threads spin there: where two share a processor, each barrier takes a time
# slice, several times as long as a small convolution. A late thread finds no work left.
cdef struct Progress:
    int64_t packs      # items of pack_weights that have been taken
    int64_t packed     # that are done
    int64_t items      # work items that have been taken


cdef void begin(Progress* p) noexcept nogil:
    p.packs, p.packed, p.items = 0, 0, 0


cdef Py_ssize_t next_item(int64_t* taken) noexcept nogil:
    return <Py_ssize_t>(atomic_add(taken, 1) - 1)


cdef void wait_until(int64_t* done, int64_t count) noexcept nogil:
    cdef int spins = 0
    while atomic_get(done) < count:
        if spins < SPINS:
            spins += 1
            cpu_pause()
        else:
            thread_yield()


cdef bint are_finite(const real* values, Py_ssize_t count) noexcept nogil:
    """Return True if all values are finite."""
    cdef Py_ssize_t i
    cdef int others = 0
    for i in range(count):
        others |= values[i] - values[i] != 0
    return others == 0


cdef class Strips:
    """The plan of y, dx or dweight of a convolution, for the dtype of the capsule.

    A data gradient has a geometry for each phase of the stride. Layouts: "NCHW" with weights (O,
    C / groups, KH, KW); "NHWC" with weights (KH, KW, C / groups, O); "rows", as NHWC with the
    weights of NCHW: of a fully connected layer, x (N, C) is an image of N rows, one pixel each.
    """
    cdef Geometry* geometries
    cdef Py_ssize_t count
    cdef Purpose purpose
    cdef Py_ssize_t* offsets
    cdef object capsule

    def __cinit__(self, capsule, purpose, units, groups, in_shape, out_shape, window, threads,
                  layout="NCHW", axis=None):
        cdef Units u
        cdef Py_ssize_t i, columns, offsets = 0
        cdef bint fits = True
        cdef const DirectKernels* kernels = <const DirectKernels*>PyCapsule_GetPointer(
            capsule, b"lenet5c.DirectKernels")
        check_plan(units, groups, in_shape, out_shape, window, threads)
        u.purpose = look_up("purpose", PURPOSES, purpose)
        u.channels_last, u.filters_last = look_up("layout", LAYOUTS, layout)
        self.capsule, self.purpose = capsule, u.purpose
        # One thread's strips for any number of threads: the order of the sums depends on them.
        u.groups, u.count, u.threads = groups, units, 1 if purpose == "dweight" else threads
        u.D, u.H, u.W = in_shape
        u.L, u.OH, u.OW = out_shape
        (u.KH, u.KW), (u.SH, u.SW), (u.PH, u.PW), (u.DH, u.DW) = window
        u.axis = choose_axis(kernels, &u) if axis is None else look_up("axis", AXES, axis)
        if u.axis == PIXELS and (u.purpose == WEIGHT_GRADIENT
                                or (u.purpose == RESULT and max(u.SH, u.SW) > 1)):
            raise ValueError(f"axis of {purpose} with stride {window[1]} must not be 'pixels'")
        columns = min(u.SW, u.W)
        self.count = min(u.SH, u.H) * columns if u.purpose == DATA_GRADIENT else 1
        self.geometries = <Geometry*>calloc(self.count, sizeof(Geometry))
        if self.geometries is NULL:
            raise MemoryError("not enough memory for the plan of a convolution")
        for i in range(self.count):
            if u.purpose == DATA_GRADIENT:
                fits = fits and plan_phase(self.geometries + i, kernels, &u, i // columns,
                                           i % columns)
            else:
                fits = plan_result(self.geometries, kernels, &u)
        if not fits:
            raise ValueError(
                "a strip of the convolution, or its weights, would be too large to address")
        for i in range(self.count):
            offsets += offset_count(self.geometries + i)
        self.offsets = <Py_ssize_t*>calloc(offsets + 1, sizeof(Py_ssize_t))
        if self.offsets is NULL:
            raise MemoryError("not enough memory for the plan of a convolution")
        offsets = 0
        for i in range(self.count):
            write_offsets(self.geometries + i, self.offsets + offsets)
            offsets += offset_count(self.geometries + i)

    def __dealloc__(self):
        free(self.geometries)
        free(self.offsets)

    @property
    def phases(self):
        """Numbers of the plan: grids, strips, taps, and places of results in y."""
        return [{"grid": (g.R, g.Q), "rows": g.rows, "lanes": g.lanes, "strip": g.strip,
                 "strips": g.strips, "strip_size": g.strip_size,
                 "taps": (g.down.count, g.right.count), "y_start": (g.y_top, g.y_left),
                 "y_step": (g.y_down, g.y_right)}
                for g in self.geometries[:self.count]]


cdef look_up(name, choices, value):
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return choices[value]


cdef check_plan(units, groups, in_shape, out_shape, window, threads):
    """Check that no size overflows and no access is outside the arrays."""
    kernel_size, stride, padding, dilation = window
    sizes = (groups, *in_shape, *out_shape, *kernel_size, *stride, *dilation, threads)
    axes = zip(in_shape[1:], out_shape[1:], *window, strict=True)
    arrays = units * prod(in_shape), units * prod(out_shape)
    weights = groups * in_shape[0] * out_shape[0] * prod(kernel_size)
    if (min(sizes) < 1 or min(units, *padding) < 0 or units % groups != 0 or threads > 1024
            or max(*arrays, weights) > MAX_ELEMENTS
            or max(n + o * s + k * d + 2 * p for n, o, k, s, p, d in axes) > 4 * MAX_ELEMENTS):
        raise ValueError(f"a plan must have sizes of at least 1 that can be addressed, got {units} "
                         f"units, {groups} groups, {in_shape}, {out_shape}, {window} and {threads} "
                         "threads")


cdef Workspace take_workspace(Py_ssize_t floats):
    """Return an idle workspace of at least this size, or a new one."""
    cdef Workspace space
    try:
        space = idle_workspaces.pop()
    except IndexError:
        return Workspace(floats)
    return space if space.floats >= floats else Workspace(floats)


cdef give_back(Workspace space):
    if space.floats <= IDLE_FLOATS:
        idle_workspaces.append(space)
    raise_overrun()


cdef struct Buffers:
    Py_buffer[4] views
    int count


cdef void* take_buffer(Buffers* b, const Geometry* g, name, array, Py_ssize_t size,
                       bint written) except? NULL:
    """The memory of a C-contiguous array, of any shape, with `size` values of the plan's dtype."""
    cdef Py_buffer* view = b.views + b.count
    cdef char kind = get_reals(view, array, size, written)
    b.count += 1
    if kind != (c"f" if g.lanes == 16 else c"d"):
        raise TypeError(f"{name} must be of {'float32' if g.lanes == 16 else 'float64'}, as the "
                        "plan is, got the other one")
    return view.buf


cdef release(Buffers* b):
    cdef int i
    for i in range(b.count):
        PyBuffer_Release(b.views + i)


def convolve(Strips plan not None, x, weight, bias, y, int num_threads, bint finite=False):
    """y = the plan's windows of x, times the weights, plus bias unless it is None.

    Return True if done; if weights must be finite and are not, return False and compute nothing.
    """
    cdef Geometry* g = plan.geometries
    cdef Buffers b
    cdef Py_ssize_t weight_count = g.groups * g.D * g.L * g.all_taps
    cdef const void* x_values
    cdef const void* weights
    cdef const void* biases = NULL
    cdef void* y_values
    if plan.purpose == WEIGHT_GRADIENT:
        raise ValueError("plan must be one for 'y' or 'dx'")
    b.count = 0
    try:
        x_values = take_buffer(&b, g, "x", x, g.units * g.D * g.H * g.W, False)
        y_values = take_buffer(&b, g, "y", y, g.units * g.L * g.YH * g.YW, True)
        weights = take_buffer(&b, g, "weight", weight, weight_count, False)
        if bias is not None:
            biases = take_buffer(&b, g, "bias", bias, g.groups * g.L, False)
        if finite and not (are_finite(<const float*>weights, weight_count) if g.lanes == 16
                           else are_finite(<const double*>weights, weight_count)):
            return False
        if g.units == 0:
            return True
        if g.lanes == 16:
            convolve_phases[float](plan, <const float*>x_values, <const float*>weights,
                                   <const float*>biases, <float*>y_values, num_threads)
        else:
            convolve_phases[double](plan, <const double*>x_values, <const double*>weights,
                                    <const double*>biases, <double*>y_values, num_threads)
        return True
    finally:
        release(&b)


cdef convolve_phases(Strips plan, const real* x, const real* weight, const real* bias, real* y,
                     int num_threads):
    cdef Geometry* g
    cdef Py_ssize_t phase, items, parts
    cdef Workspace space
    cdef int threads
    for phase in range(plan.count):
        g = plan.geometries + phase
        items = g.tiles * g.strips
        threads = useful_threads(<double>g.units * g.L * g.R * g.Q * g.D * g.tap_count, num_threads,
                                 items * g.rows)
        space = take_workspace(convolve_floats(g, threads))
        if threads == 1:
            with nogil:
                convolve_all(g, x, weight, bias, y, <real*>space.start)
        else:
            parts = 1
            if items < threads * ITEMS_PER_THREAD:
                parts = max(<Py_ssize_t>1, min(g.rows // g.most_rows,
                                               threads * ITEMS_PER_THREAD // items))
            with nogil:
                convolve_in_threads(g, x, weight, bias, y, <real*>space.start, items * parts, parts,
                                    threads)
        give_back(space)


cdef void convolve_in_threads(
    const Geometry* g, const real* x, const real* weight, const real* bias, real* y, real* memory,
    Py_ssize_t items, Py_ssize_t parts, int threads,
) noexcept nogil:
    cdef Progress progress
    cdef Progress* p = &progress
    begin(p)
    place_weights(g, memory)
    with parallel(num_threads=threads):
        pack_and_convolve(g, x, weight, bias, y, memory, items, parts, threadid(), p)
    check_weights(g, <const real*>memory)


cdef void pack_and_convolve(
    const Geometry* g, const real* x, const real* weight, const real* bias, real* y, real* memory,
    Py_ssize_t items, Py_ssize_t parts, Py_ssize_t thread, Progress* p,
) noexcept nogil:
    """The share of one thread."""
    cdef Py_ssize_t item, pack_items = packs(g)
    item = next_item(&p.packs)
    while item < pack_items:
        pack_weights(g, weight, bias, memory, item)
        atomic_add(&p.packed, 1)
        item = next_item(&p.packs)
    wait_until(&p.packed, pack_items)
    item = next_item(&p.items)
    while item < items:
        convolve_strip(g, x, weight, bias, y, memory, item, parts, thread)
        item = next_item(&p.items)


def weight_gradient(Strips plan not None, x, dy, dweight, dbias, int num_threads):
    """Compute dweight and dbias, unless None."""
    cdef Geometry* g = plan.geometries
    cdef Buffers b
    cdef const void* x_values
    cdef const void* dy_values
    cdef void* weights = NULL
    cdef void* biases = NULL
    if plan.purpose != WEIGHT_GRADIENT:
        raise ValueError("plan must be one for 'dweight'")
    b.count = 0
    try:
        x_values = take_buffer(&b, g, "x", x, g.units * g.D * g.H * g.W, False)
        dy_values = take_buffer(&b, g, "dy", dy, g.units * g.L * g.YH * g.YW, False)
        if dweight is not None:
            weights = take_buffer(&b, g, "dweight", dweight, g.groups * g.D * g.L * g.all_taps,
                                  True)
        if dbias is not None:
            biases = take_buffer(&b, g, "dbias", dbias, g.groups * g.L, True)
        if g.lanes == 16:
            share_weight_gradient[float](g, <const float*>x_values, <const float*>dy_values,
                                         <float*>weights, <float*>biases, num_threads)
        else:
            share_weight_gradient[double](g, <const double*>x_values, <const double*>dy_values,
                                          <double*>weights, <double*>biases, num_threads)
    finally:
        release(&b)


cdef share_weight_gradient(const Geometry* g, const real* x, const real* dy, real* dweight,
                           real* dbias, int num_threads):
    cdef bint bias_alone = dweight is NULL
    cdef Totals t = plan_totals(g, 1, bias_alone)
    cdef Py_ssize_t items
    cdef Workspace space
    cdef int threads = useful_threads(<double>g.units * g.L * g.R * g.Q * t.count, num_threads,
                                      g.sets * t.chunks * t.count)
    t = plan_totals(g, threads, bias_alone)
    items = g.sets * t.chunks * t.ranges
    threads = <int>min(<Py_ssize_t>threads, items)
    space = take_workspace(gradient_floats(g, &t, threads))
    with nogil:
        if threads == 1:
            weight_gradient_all(g, x, dy, dweight, dbias, <real*>space.start)
        else:
            weight_gradient_in_threads(g, &t, x, dy, dweight, dbias, <real*>space.start, items,
                                       threads)
    give_back(space)


cdef void weight_gradient_in_threads(
    const Geometry* g, const Totals* t, const real* x, const real* dy, real* dweight, real* dbias,
    real* memory, Py_ssize_t items, int threads,
) noexcept nogil:
    cdef Progress progress
    cdef Progress* p = &progress
    begin(p)
    place_totals(g, t, memory)
    with parallel(num_threads=threads):
        sum_ranges(g, t, x, dy, dweight, dbias, memory, items, threadid(), p)
    check_totals(g, t, <const real*>memory)
    deliver_totals(g, t, dweight, dbias, memory)


cdef void sum_ranges(
    const Geometry* g, const Totals* t, const real* x, const real* dy, real* dweight, real* dbias,
    real* memory, Py_ssize_t items, Py_ssize_t thread, Progress* p,
) noexcept nogil:
    """The share of one thread."""
    cdef Py_ssize_t item = next_item(&p.items)
    while item < items:
        sum_range(g, t, x, dy, dweight, dbias, memory, item, thread)
        item = next_item(&p.items)


def sum_channels(array not None, shape, sums not None, int num_threads):
    """sums (channels,) = the sums of an array (outer, channels, inner), of floats or doubles.

    They are added up as doubles, always in the same order.
    """
    cdef Py_ssize_t outer, channels, inner, block, blocks
    cdef Py_buffer view, to
    cdef char kind
    outer, channels, inner = shape
    if (outer < 0 or channels < 0 or inner < 0
            or <double>outer * channels * inner > most_elements()):
        raise ValueError(f"shape must be three sizes of at least 0, got {shape}")
    blocks = (channels + SUM_CHANNELS - 1) // SUM_CHANNELS
    kind = get_reals(&view, array, outer * channels * inner, False)
    try:
        if get_reals(&to, sums, channels, True) != kind:
            PyBuffer_Release(&to)
            raise TypeError("sums must have the dtype of the array")
        if num_threads == 1 or blocks == 1:
            for block in range(blocks):
                sum_some(kind, view.buf, outer, channels, inner, block * SUM_CHANNELS, to.buf)
        else:
            for block in prange(blocks, schedule="static", num_threads=min(num_threads, 1024),
                                nogil=True):
                sum_some(kind, view.buf, outer, channels, inner, block * SUM_CHANNELS, to.buf)
        PyBuffer_Release(&to)
    finally:
        PyBuffer_Release(&view)


cdef void sum_some(char kind, const void* array, Py_ssize_t outer, Py_ssize_t channels,
                   Py_ssize_t inner, Py_ssize_t first, void* sums) noexcept nogil:
    if kind == b"f":
        sum_block(<const float*>array, outer, channels, inner, first, <float*>sums)
    else:
        sum_block(<const double*>array, outer, channels, inner, first, <double*>sums)


cdef void sum_block(const real* array, Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner,
                    Py_ssize_t first, real* sums) noexcept nogil:
    """Compute the sums of some channels, beginning with `first`."""
    cdef double[SUM_CHANNELS] totals
    cdef double[SUM_CHAINS] chains
    cdef Py_ssize_t n, c, i, j, count = min(<Py_ssize_t>SUM_CHANNELS, channels - first)
    cdef const real* values
    for c in range(count):
        totals[c] = 0
    for n in range(outer):
        values = array + (n * channels + first) * inner
        if inner == 1:
            for c in range(count):
                totals[c] += values[c]
            continue
        for c in range(count):
            for j in range(SUM_CHAINS):
                chains[j] = 0
            for i in range(inner // SUM_CHAINS):
                for j in range(SUM_CHAINS):
                    chains[j] += values[i * SUM_CHAINS + j]
            for i in range(inner // SUM_CHAINS * SUM_CHAINS, inner):
                chains[0] += values[i]
            for j in range(SUM_CHAINS):
                totals[c] += chains[j]
            values += inner
    for c in range(count):
        sums[first + c] = <real>totals[c]
