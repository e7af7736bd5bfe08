"""Random distortions: their settings for programs, and the distortion of images without a net."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

import numpy as np

from lenet5c.kernels.engine._workspace cimport Workspace
from lenet5c.kernels.simd.tiles cimport (
    OUTSIDE_REFLECTED, Distort, Outside, TileKernels, round_up, sample_key, useful_threads)

include "lenet5c/kernels/canary.pxi"

cdef enum:
    PIXEL_WORK = 100       # approximate number of elementary operations per pixel
    MAX_PLACES = 1 << 24  # a pixel's place, its frame included, is computed as a float
    MAXIMUM = 1 << 24         # of any setting


cdef double take(dict settings, str name, double most) except *:
    """Remove a setting and return it."""
    cdef double value
    if name not in settings:
        raise ValueError(f"settings must have {name}")
    value = settings.pop(name)
    if not 0 <= value <= most:  # also false for not-a-number
        raise ValueError(f"{name} must be from 0 to {most:g}, got {value}")
    return value


cdef class Warp:
    """Limits of random distortions, by name: pixels, radians, shares.

    `outside` is 0 for black, 1 for the nearest pixel, 2 for a mirror image. The Gaussian has 2 r +
    1 weights, and the quantiles of the shares of mixtures are in equal steps from 0 to 1.
    """

    def __cinit__(self, dict settings not None, const float[::1] gaussian not None,
                  const double[::1] quantiles not None):
        cdef Distort* d = &self.settings
        if gaussian.shape[0] % 2 != 1:
            raise ValueError(
                f"gaussian must have an odd number of weights, got {gaussian.shape[0]}")
        if quantiles.shape[0] < 2:
            raise ValueError(f"quantiles must have two values, got {quantiles.shape[0]}")
        memset(d, 0, sizeof(Distort))
        self.gaussian, self.quantiles = gaussian, quantiles
        d.gaussian, d.radius = &gaussian[0], gaussian.shape[0] // 2
        d.mix_quantiles, d.mix_steps = &quantiles[0], quantiles.shape[0] - 1
        left = dict(settings)
        d.translation, d.scaling = take(left, "translation", MAXIMUM), take(left, "scaling", MAXIMUM)
        d.squeeze, d.shear = take(left, "squeeze", MAXIMUM), take(left, "shear", MAXIMUM)
        d.rotation, d.elastic = take(left, "rotation", MAXIMUM), take(left, "elastic", MAXIMUM)
        d.flip, d.flip_vertical = take(left, "flip", 1), take(left, "flip_vertical", 1)
        d.crop_padding, d.crop = <Py_ssize_t>take(left, "crop_padding", MAXIMUM), take(left, "crop", 1)
        d.outside = <Outside><int>take(left, "outside", <int>OUTSIDE_REFLECTED)
        d.brightness, d.contrast = take(left, "brightness", 1), take(left, "contrast", 1)
        d.saturation, d.hue = take(left, "saturation", 1), take(left, "hue", MAXIMUM)
        d.grayscale = take(left, "grayscale", 1)
        d.erasing, d.erasing_area = take(left, "erasing", 1), take(left, "erasing_area", 1)
        d.erasing_least, d.erasing_ratio = 0.02, 0.3  # of Zhong et al. (2020)
        d.mixes = take(left, "mixup", MAXIMUM) != 0
        d.probability = take(left, "probability", 1)
        if left:
            raise ValueError(f"settings are unknown: {', '.join(map(str, left))}")
        d.warps = (d.translation != 0 or d.scaling != 0 or d.squeeze != 0 or d.shear != 0
                   or d.rotation != 0 or d.elastic != 0 or d.flip != 0 or d.flip_vertical != 0
                   or d.crop_padding != 0 or d.crop != 0)
        d.colors = (d.brightness != 0 or d.contrast != 0 or d.saturation != 0 or d.hue != 0
                    or d.grayscale != 0)

    cdef Distort of(self, Py_ssize_t C, Py_ssize_t H, Py_ssize_t W) except *:
        """The settings for images of this shape."""
        cdef Distort d = self.settings
        if (H + 2) * (W + 2) >= MAX_PLACES:
            raise ValueError(
                f"images must have fewer than {MAX_PLACES} pixels to be distorted, got {H} by {W}")
        d.C, d.H, d.W = C, H, W
        return d

    def apply(self, capsule, const unsigned char[:, :, :, ::1] images not None,
              const int64_t[::1] index not None, uint64_t stream, float[:, :, :, ::1] out not None,
              int num_threads, const int64_t[::1] numbers=None):
        """out (N, C, H, W) = images[index] in gray levels, distorted by `stream` and their numbers.

        The number of an image is its place, or that in `numbers`. If they are mixed, all are one
        batch.
        """
        cdef const TileKernels* kernels = <const TileKernels*>PyCapsule_GetPointer(
            capsule, b"lenet5c.TileKernels")
        cdef Distort d = self.of(images.shape[1], images.shape[2], images.shape[3])
        cdef Py_ssize_t i, count = index.shape[0], size, stride
        cdef int threads
        cdef Workspace space
        cdef const unsigned char* first
        cdef const int64_t* places
        cdef const int64_t* known
        cdef float* to
        size = d.C * d.H * d.W
        if (out.shape[0], out.shape[1], out.shape[2], out.shape[3]) != (count, d.C, d.H, d.W):
            raise ValueError("out must have the shape of the batch")
        for i in range(count):
            if not 0 <= index[i] < images.shape[0]:
                raise IndexError(
                    f"index must be from 0 to {images.shape[0] - 1}, got {index[i]} at {i}")
        if numbers is not None and numbers.shape[0] != images.shape[0]:
            raise ValueError(
                f"numbers must have length {images.shape[0]}, got {numbers.shape[0]}")
        if count == 0 or size == 0:
            return
        known = NULL if numbers is None else &numbers[0]
        first, places, to = &images[0, 0, 0, 0], &index[0], &out[0, 0, 0, 0]
        threads = useful_threads(<double>PIXEL_WORK * count * size, num_threads, count)
        stride = round_up(kernels.distort_floats(&d) + CANARY_FLOATS)
        space = Workspace(threads * stride)
        for i in prange(count, schedule="dynamic", chunksize=16, num_threads=threads, nogil=True):
            apply_to(kernels, &d, first, places, known, stream, i, count, to + i * size,
                     space.start + threadid() * stride)
        raise_overrun()

    def mix_shares(self, capsule, const int64_t[::1] numbers not None, uint64_t stream):
        """Return the share of each of these samples in its mixture, ndarray of float64 (N,)."""
        cdef const TileKernels* kernels = <const TileKernels*>PyCapsule_GetPointer(
            capsule, b"lenet5c.TileKernels")
        cdef Py_ssize_t i
        shares = np.empty(numbers.shape[0])
        cdef double[::1] to = shares
        for i in range(numbers.shape[0]):
            to[i] = kernels.mix_share(&self.settings, sample_key(stream, numbers[i]))
        return shares


cdef void apply_to(const TileKernels* kernels, const Distort* d, const unsigned char* first,
                   const int64_t* places, const int64_t* known, uint64_t stream, Py_ssize_t i,
                   Py_ssize_t count, float* out, float* scratch) noexcept nogil:
    """out = image i of `count` as distorted."""
    cdef const unsigned char* images[2]
    cdef uint64_t keys[2]
    cdef Py_ssize_t k
    cdef int64_t place
    cdef float* end = scratch + kernels.distort_floats(d)
    for k in range(2):
        place = places[(i + k) % count]
        images[k] = first + place * d.C * d.H * d.W
        keys[k] = sample_key(stream, place if known is NULL else known[place])
    set_canary(end)
    kernels.distort_sample(d, images, keys, out, scratch)
    check_canary(end, b"distort", b"scratch of a sample")
