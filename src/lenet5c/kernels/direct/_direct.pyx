"""Convolution of plain arrays, strip by strip: its result and its gradients, in one OpenMP region
each.

The strips are those of _strips.pyx: here are their plans as Python objects, the memory, and the
threads.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free, malloc

from lenet5c.kernels.direct._strips cimport (
    ITEMS_PER_THREAD, STRIP_FLOATS, Geometry, Totals, Units, Weights, check_totals, check_weights,
    convolve_all, convolve_floats, convolve_scratch, convolve_strip, deliver_totals,
    gradient_floats, gradient_scratch, offset_count, pack_weights, place_totals, place_weights,
    plan_phase, plan_result, plan_totals, raise_overrun, sum_range, weight_gradient_all,
    write_offsets)
from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport TileKernels, useful_threads

from math import prod

from lenet5c.kernels.shapes import MAX_ELEMENTS

cdef enum:
    IDLE_FLOATS = 16777216     # 64 MiB: larger workspaces are not kept for the next call

cdef list idle_workspaces = []

strip_floats = STRIP_FLOATS


cdef class Strips:
    """A plan: of the result, or of the phase of the data gradient that is given."""
    cdef Geometry geometry
    cdef bint of_result
    cdef Py_ssize_t* offsets
    cdef object capsule

    def __cinit__(self, capsule, units, groups, blocked, in_shape, out_shape, window, threads,
                  phase=None):
        cdef Units u
        cdef Py_ssize_t a = 0, b = 0
        cdef bint fits
        cdef const TileKernels* kernels = <const TileKernels*>PyCapsule_GetPointer(
            capsule, b"lenet5c.TileKernels")
        check_plan(units, groups, in_shape, out_shape, window, threads, phase)
        self.capsule, self.of_result = capsule, phase is None
        u.blocked, u.groups, u.count, u.threads = blocked, groups, units, threads
        u.D, u.H, u.W = in_shape
        u.L, u.OH, u.OW = out_shape
        (u.KH, u.KW), (u.SH, u.SW), (u.PH, u.PW), (u.DH, u.DW) = window
        if self.of_result:
            fits = plan_result(&self.geometry, kernels, &u)
        else:
            a, b = phase
            fits = plan_phase(&self.geometry, kernels, &u, a, b)
        if not fits:
            raise ValueError(
                "a strip of the convolution, or its weights, would be too large to address")
        self.offsets = <Py_ssize_t*>malloc((offset_count(&self.geometry) + 1) * sizeof(Py_ssize_t))
        if self.offsets is NULL:
            raise MemoryError("no memory for the plan of a convolution")
        write_offsets(&self.geometry, self.offsets)

    def __dealloc__(self):
        free(self.offsets)

    @property
    def layout(self):
        """The plan in numbers: its grid, strips and taps, and where its results lie in y."""
        cdef Geometry* g = &self.geometry
        return {"grid": (g.R, g.Q), "rows": g.rows, "strip": g.strip, "strips": g.strips,
                "strip_floats": g.strip_floats, "taps": (g.down.count, g.right.count),
                "y_start": (g.y_top, g.y_left), "y_step": (g.y_down, g.y_right)}


cdef check_plan(units, groups, in_shape, out_shape, window, threads, phase):
    """Refuse what could overflow, or reach outside the arrays."""
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
    if phase is not None and not all(
            0 <= a < min(s, n) for a, s, n in zip(phase, stride, in_shape[1:], strict=True)):
        raise ValueError(f"phase must be within the stride {stride} and the input, got {phase}")


cdef Workspace take_workspace(Py_ssize_t floats):
    """An idle workspace of at least this size, or a new one."""
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


def convolve(Strips plan not None, const float[::1] x not None, const float[::1] weight not None,
             const float[::1] bias, float[::1] y not None, int num_threads):
    """y = the plan's windows of x, times the weights."""
    cdef Geometry* g = &plan.geometry
    cdef Weights w
    cdef Py_ssize_t item
    cdef Py_ssize_t items = g.tiles * g.strips
    cdef Py_ssize_t parts = 1
    cdef Py_ssize_t scratch_floats = convolve_scratch(g)
    cdef Workspace space
    cdef const float* given_bias = NULL
    cdef const float* zeros
    cdef float* scratch
    cdef int threads
    check_size("x", x.shape[0], g.units * g.D * g.H * g.W)
    check_size("y", y.shape[0], g.units * g.L * g.YH * g.YW)
    check_size("weight", weight.shape[0], g.groups * g.weight_group)
    if bias is not None:
        check_size("bias", bias.shape[0], g.groups * g.L)
        given_bias = &bias[0]
    if g.units == 0:
        return
    threads = useful_threads(<double>g.units * g.L * g.R * g.Q * g.D * g.tap_count, num_threads,
                             items * g.rows)
    space = take_workspace(convolve_floats(g, threads))
    if threads == 1:
        with nogil:
            convolve_all(g, &x[0], &weight[0], given_bias, &y[0], space.start)
    else:
        if items < threads * ITEMS_PER_THREAD:
            parts = max(<Py_ssize_t>1, min(g.rows // g.kernels.direct_rows,
                                           threads * ITEMS_PER_THREAD // items))
        items *= parts
        zeros = space.start
        scratch = place_weights(g, &w, space.start)
        w.start, w.given_bias = &weight[0], given_bias
        with nogil, parallel(num_threads=threads):
            for item in prange(g.sets * g.rows, schedule="static"):
                pack_weights(g, &w, item)
            for item in prange(items, schedule="dynamic", chunksize=1):
                convolve_strip(g, &w, &x[0], &y[0], item, parts, scratch + threadid()
                               * scratch_floats, zeros)
        check_weights(g, &w)
    give_back(space)


def weight_gradient(Strips plan not None, const float[::1] x not None, const float[::1] dy not None,
                    float[::1] dweight not None, float[::1] dbias not None, int num_threads):
    """Compute dweight and dbias; the plan must not depend on the number of threads."""
    cdef Geometry* g = &plan.geometry
    cdef Totals t = plan_totals(g, 1, False)
    cdef Py_ssize_t item, items, scratch_floats
    cdef Workspace space
    cdef const float* zeros
    cdef float* scratch
    cdef int threads
    if not plan.of_result:
        raise ValueError("plan must be of a result, got one of a data gradient")
    check_size("x", x.shape[0], g.units * g.D * g.H * g.W)
    check_size("dy", dy.shape[0], g.units * g.L * g.YH * g.YW)
    check_size("dweight", dweight.shape[0], g.groups * g.weight_group)
    check_size("dbias", dbias.shape[0], g.groups * g.L)
    if g.units == 0:
        dweight[:] = 0
        dbias[:] = 0
        return
    threads = useful_threads(<double>g.units * g.L * g.R * g.Q * t.count, num_threads,
                             g.sets * t.chunks * t.count)
    t = plan_totals(g, threads, False)
    items = g.sets * t.chunks * t.ranges
    threads = <int>min(<Py_ssize_t>threads, items)
    space = take_workspace(gradient_floats(g, &t, threads))
    if threads == 1:
        with nogil:
            weight_gradient_all(g, &x[0], &dy[0], &dweight[0], &dbias[0], space.start)
    else:
        scratch_floats = gradient_scratch(g, &t)
        zeros = space.start
        scratch = place_totals(g, &t, space.start)
        for item in prange(items, schedule="dynamic", chunksize=1, num_threads=threads, nogil=True):
            sum_range(g, &t, &x[0], &dy[0], item, scratch + threadid() * scratch_floats, zeros)
        with nogil:
            check_totals(g, &t)
            deliver_totals(g, &t, &dweight[0], &dbias[0], scratch)
    give_back(space)


cdef check_size(name, Py_ssize_t size, Py_ssize_t wanted):
    if size != wanted:
        raise ValueError(f"{name} has {size} values; the plan takes {wanted}")
