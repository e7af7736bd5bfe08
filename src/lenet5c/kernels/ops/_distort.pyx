"""Random warps: their settings, as programs take them, and the warp of images by themselves."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport (
    Distort, TileKernels, round_up, sample_key, useful_threads)

include "lenet5c/kernels/canary.pxi"

cdef enum:
    PIXEL_WORK = 100       # elementary operations that a pixel takes, roughly
    MOST_PLACES = 1 << 24  # a pixel's place, its frame included, is computed as a float


cdef class Warp:
    """Limits of random warps: pixels, radians, and a Gaussian of 2 r + 1 weights."""

    def __cinit__(self, double translation, double scaling, double squeeze, double shear,
                  double rotation, double elastic, const float[::1] gaussian not None, double flip,
                  double probability):
        cdef Distort* d = &self.settings
        if gaussian.shape[0] % 2 != 1:
            raise ValueError(
                f"gaussian has {gaussian.shape[0]} weights, it should have an odd number")
        memset(d, 0, sizeof(Distort))
        self.gaussian = gaussian
        d.gaussian, d.radius = &gaussian[0], gaussian.shape[0] // 2
        d.translation, d.scaling, d.squeeze = translation, scaling, squeeze
        d.shear, d.rotation = shear, rotation
        d.elastic, d.flip, d.probability = elastic, flip, probability

    cdef Distort of(self, Py_ssize_t C, Py_ssize_t H, Py_ssize_t W) except *:
        """The settings for images of this shape."""
        cdef Distort d = self.settings
        if (H + 2) * (W + 2) >= MOST_PLACES:
            raise ValueError(
                f"images are {H} by {W}; to be distorted, they should have fewer than "
                f"{MOST_PLACES} pixels")
        d.C, d.H, d.W = C, H, W
        return d

    def apply(self, capsule, const unsigned char[:, :, :, ::1] images not None,
              const int64_t[::1] index not None, uint64_t stream, float[:, :, :, ::1] out not None,
              int num_threads, const int64_t[::1] numbers=None):
        """out (N, C, H, W) = images[index], each as `stream` and its number say, in gray levels.

        The number of an image is its place, or that in `numbers`.
        """
        cdef const TileKernels* kernels = <const TileKernels*>PyCapsule_GetPointer(
            capsule, b"lenet5c.TileKernels")
        cdef Distort d = self.of(images.shape[1], images.shape[2], images.shape[3])
        cdef Py_ssize_t i, count = index.shape[0], size, stride
        cdef int threads
        cdef Workspace space
        cdef const unsigned char* first
        cdef const int64_t* known
        cdef float* to
        cdef float* end
        size = d.C * d.H * d.W
        if (out.shape[0], out.shape[1], out.shape[2], out.shape[3]) != (count, d.C, d.H, d.W):
            raise ValueError("out has the wrong shape")
        for i in range(count):
            if not 0 <= index[i] < images.shape[0]:
                raise IndexError(
                    f"index[{i}] is {index[i]}, but there are {images.shape[0]} images")
        if numbers is not None and numbers.shape[0] != images.shape[0]:
            raise ValueError(
                f"there are {numbers.shape[0]} numbers of {images.shape[0]} images")
        if count == 0 or size == 0:
            return
        known = NULL if numbers is None else &numbers[0]
        first, to = &images[0, 0, 0, 0], &out[0, 0, 0, 0]
        threads = useful_threads(<double>PIXEL_WORK * count * size, num_threads, count)
        stride = round_up(kernels.distort_floats(&d) + CANARY_FLOATS)
        space = Workspace(threads * stride)
        for i in prange(count, schedule="dynamic", chunksize=16, num_threads=threads, nogil=True):
            end = space.start + threadid() * stride + kernels.distort_floats(&d)
            set_canary(end)
            kernels.distort_sample(
                &d, first + index[i] * size,
                sample_key(stream, index[i] if known is NULL else known[index[i]]),
                to + i * size, space.start + threadid() * stride)
            check_canary(end, b"distort", b"scratch of a sample")
        raise_overrun()
