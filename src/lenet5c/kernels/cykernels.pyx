"""Kernels for `cimport`, documented in cykernels.pxd; there are no Python functions.

The algorithms are those of `lenet5c.kernels`, on one thread and in the caller's memory; the parts
are in the folder surface.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport INT32_MAX, int64_t
from libc.string cimport memcpy, memset

from lenet5c.kernels.direct._strips cimport (
    DATA_GRADIENT, RESULT, STRIP_FLOATS, WEIGHT_GRADIENT, Geometry, Purpose, Totals, Units,
    choose_axis, convolve_all, convolve_floats, gradient_floats, most_elements, offset_count,
    plan_phase, plan_result, plan_totals, times, weight_gradient_all, write_offsets)
from lenet5c.kernels.engine.shards cimport SHARD_TILES, SHARDS
from lenet5c.kernels.planes.planes cimport (
    PlaneKernels, Windows, find_shortcuts, parts_of, see_image)
from lenet5c.kernels.simd.tiles cimport (
    LANES, DirectKernels, Op, OpKernels, RowProduct, TileKernels, find_op, round_up)

from lenet5c.kernels.planes import plan
from lenet5c.kernels.simd import dispatch

include "windows.pxi"

cdef object capsule = dispatch.tiles  # keeps the table in memory
cdef const TileKernels* kernels = <const TileKernels*>PyCapsule_GetPointer(
    capsule, b"lenet5c.TileKernels")
cdef const DirectKernels* floats = &kernels.direct
cdef object doubles_capsule = dispatch.direct["d"]
cdef const DirectKernels* doubles = <const DirectKernels*>PyCapsule_GetPointer(
    doubles_capsule, b"lenet5c.DirectKernels")
cdef const OpKernels* conv2d = find_op(kernels, b"conv2d")
cdef const OpKernels* linear = find_op(kernels, b"linear")
cdef const OpKernels* pad2d = find_op(kernels, b"pad2d")
cdef object planes_capsule = plan.PLANES
cdef const PlaneKernels* planes = <const PlaneKernels*>PyCapsule_GetPointer(
    planes_capsule, b"lenet5c.PlaneKernels")

cdef enum:
    ALIGNMENT = 64
    MAX_SETTING = 2147483647  # maximum kernel size, stride, padding or dilation


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
        return "a pooling window covers only padding"
    if status == TOO_LARGE:
        return "an array or the scratch would be too large to address"
    if status == NULL_POINTER:
        return "a required array is NULL"
    if status == INVALID_INDEX:
        return "an index of a maximum is outside its plane"
    return "unknown status"


# Sizes


cdef Py_ssize_t output_extent(Py_ssize_t extent, Py_ssize_t kernel, Py_ssize_t stride,
                              Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    return window_count(extent, kernel, stride, padding, padding, dilation, False)


cdef Py_ssize_t window_count(Py_ssize_t extent, Py_ssize_t kernel, Py_ssize_t stride,
                             Py_ssize_t before, Py_ssize_t after, Py_ssize_t dilation,
                             bint ceil_mode) noexcept nogil:
    """Return the number of windows along an axis with this padding, or a Status."""
    cdef Py_ssize_t padded, reach, count
    if extent < 1 or kernel < 1 or stride < 1 or min(before, after) < 0 or dilation < 1:
        return INVALID_SIZE
    if (max(extent, max(before, after)) > most_elements()
            or max(max(kernel, stride), max(max(before, after), dilation)) > MAX_SETTING):
        return TOO_LARGE
    padded, reach = before + extent + after, times(dilation, kernel - 1) + 1
    if reach > padded:
        return WINDOW_TOO_LARGE
    count = (padded - reach) // stride + 1
    if ceil_mode and (padded - reach) % stride != 0 and times(count, stride) < before + extent:
        count += 1
    return count


cdef bint within(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t d) noexcept nogil:
    """Return True if an array of this shape can be addressed."""
    return times(times(a, b), times(c, d)) <= most_elements()


cdef int set_window(Window* w, Py_ssize_t N, Py_ssize_t C, Py_ssize_t H, Py_ssize_t W,
                    Py_ssize_t KH, Py_ssize_t KW, Py_ssize_t SH, Py_ssize_t SW, Py_ssize_t PH,
                    Py_ssize_t PW, Py_ssize_t DH, Py_ssize_t DW) noexcept nogil:
    """Check the window of an op and compute the size of its output."""
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
    """Return bytes of scratch including alignment, or a Status."""
    if floats > most_elements() or offsets > most_elements():
        return TOO_LARGE
    return (ALIGNMENT + round_up(floats) * <Py_ssize_t>sizeof(float)
            + offsets * <Py_ssize_t>sizeof(Py_ssize_t))


cdef float* aligned(void* memory) noexcept nogil:
    return <float*>((<size_t>memory + ALIGNMENT - 1) & ~<size_t>(ALIGNMENT - 1))


include "surface/tiles.pxi"
include "surface/convolution.pxi"
include "surface/transposed.pxi"
include "surface/pooling.pxi"
include "surface/columns.pxi"
