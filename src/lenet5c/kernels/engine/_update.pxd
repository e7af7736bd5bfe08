"""A run of optimizer steps, as used by a program and by `Update.apply`."""
from lenet5c.kernels.simd.tiles cimport UpdateKernel

cdef enum:
    MAX_VECTORS = 4

# Parameters from start to stop, with settings of their own: step i has those from
# i * setting_count on.
cdef struct Span:
    Py_ssize_t start, stop
    const double* settings

# kernel is NULL where nothing is to be updated. Parameters in no span are frozen: neither they
# nor their vectors are changed.
cdef struct UpdateSteps:
    const UpdateKernel* kernel
    float* vectors[MAX_VECTORS]
    Py_ssize_t vector_count, setting_count
    const Span* spans
    Py_ssize_t span_count


cdef inline void apply_update(
    const UpdateSteps* update, Py_ssize_t step, float* params, const float* grads,
    Py_ssize_t start, Py_ssize_t size,
) noexcept nogil:
    """Step number `step` for the `size` parameters from `start` on."""
    cdef float* vectors[MAX_VECTORS]
    cdef const Span* span
    cdef Py_ssize_t s, i, first, last
    if update.kernel is NULL:
        return
    for s in range(update.span_count):
        span = update.spans + s
        first, last = max(start, span.start), min(start + size, span.stop)
        if first >= last:
            continue
        for i in range(update.vector_count):
            vectors[i] = update.vectors[i] + first
        update.kernel.apply(span.settings + step * update.setting_count, vectors, params + first,
                            grads + first, last - first)


cdef class Update:
    cdef UpdateSteps run
    cdef Span* spans
    cdef tuple held
    cdef readonly Py_ssize_t steps, size
