"""A run of steps of an optimizer, as a program and `Update.apply` take it."""
from lenet5c.kernels.simd.tiles cimport UpdateKernel

cdef enum:
    MOST_VECTORS = 4

# kernel is NULL where nothing is to be updated. Step i has the settings from i * setting_count on.
cdef struct UpdateSteps:
    const UpdateKernel* kernel
    float* vectors[MOST_VECTORS]
    Py_ssize_t vector_count
    const double* settings
    Py_ssize_t setting_count


cdef inline void apply_update(
    const UpdateSteps* update, Py_ssize_t step, float* params, const float* grads,
    Py_ssize_t start, Py_ssize_t size,
) noexcept nogil:
    """Step number `step` for the `size` parameters from `start` on."""
    cdef float* vectors[MOST_VECTORS]
    cdef Py_ssize_t i
    if update.kernel is NULL:
        return
    for i in range(update.vector_count):
        vectors[i] = update.vectors[i] + start
    update.kernel.apply(update.settings + step * update.setting_count, vectors, params + start,
                        grads + start, size)


cdef class Update:
    cdef UpdateSteps run
    cdef tuple held
    cdef readonly Py_ssize_t steps, size
