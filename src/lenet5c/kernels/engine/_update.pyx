"""The next steps of an optimizer, for the compiled program."""
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memset

import numpy as np

from lenet5c.kernels.simd.tiles cimport TileKernels, UpdateKernel


cdef const UpdateKernel* find_kernel(capsule, str name) except NULL:
    cdef const TileKernels* table = <const TileKernels*>PyCapsule_GetPointer(
        capsule, b"lenet5c.TileKernels")
    cdef Py_ssize_t i
    for i in range(table.update_count):
        if table.updates[i].name.decode() == name:
            return table.updates + i
    names = ", ".join(sorted(table.updates[i].name.decode() for i in range(table.update_count)))
    raise ValueError(f"name must be one of {names}, got {name!r}")


cdef class Update:
    """Some steps of an optimizer: the kernel that makes them, its vectors, and its settings.

    Parameters
    ----------
    capsule
        The tile kernels of an instruction set.
    name : str
        Of the kernel, see ops/update.pxi.
    vectors : mapping of str to ndarray of float32 (size,)
        Read and written by the steps, in place; those that the kernel does not name are ignored.
    settings : mapping of str to number, or to sequence of numbers (steps,)
        One for all steps, or one for each; those that the kernel does not name are ignored.
    steps : int
    factors : sequence of (start, stop, factor), optional
        Factors of the setting 'lr' for ranges of parameters. Those in none are frozen: neither
        they nor their vectors change. By default all have the factor 1.

    Raises
    ------
    ValueError
        There is no such kernel, a vector or a setting is missing or of another shape, or a range
        is not one of the parameters.
    """

    def __cinit__(self, capsule, str name, vectors, settings, Py_ssize_t steps, factors=None):
        cdef const UpdateKernel* kernel = find_kernel(capsule, name)
        cdef list wanted = kernel.vectors.decode().split()
        cdef list names = kernel.settings.decode().split()
        cdef float[::1] vector
        cdef double[:, ::1] rows
        cdef Span* span
        missing = [key for key in wanted if key not in vectors]
        missing += [key for key in names if key not in settings]
        if missing:
            raise ValueError(f"vectors and settings must have {', '.join(missing)} for {name}")
        memset(&self.run, 0, sizeof(UpdateSteps))
        self.run.kernel = kernel
        self.run.vector_count, self.run.setting_count = len(wanted), len(names)
        self.steps, self.size = steps, len(vectors[wanted[0]])
        held = []  # the buffers, not their owners: those could move them
        for i, key in enumerate(wanted):
            vector = vectors[key]
            held.append(vector)
            if vector.shape[0] != self.size:
                raise ValueError(
                    f"vectors must have the same size, got {self.size} and {vector.shape[0]}")
            if self.size > 0:
                self.run.vectors[i] = &vector[0]
        table = np.empty((steps, len(names)))
        for i, key in enumerate(names):
            if np.shape(settings[key]) not in ((), (steps,)):
                raise ValueError(
                    f"{key} must be a number or {steps} numbers, got {np.shape(settings[key])}")
            table[:, i] = settings[key]
        ranges = [(0, self.size, 1.0)] if factors is None else list(factors)
        self.spans = <Span*>PyMem_Malloc(max(len(ranges), 1) * sizeof(Span))
        if self.spans is NULL:
            raise MemoryError
        self.run.spans = self.spans
        for start, stop, factor in ranges:
            if not 0 <= start <= stop <= self.size:
                raise ValueError(
                    f"factors must have ranges within the {self.size} parameters, got {start} to "
                    f"{stop}")
            if steps == 0:
                break
            own = table.copy()
            own[:, names.index("lr")] *= factor
            rows = own
            span = self.spans + self.run.span_count
            span.start, span.stop, span.settings = start, stop, &rows[0, 0]
            held.append(rows)
            self.run.span_count += 1
        self.held = tuple(held)

    def __dealloc__(self):
        PyMem_Free(self.spans)

    def apply(self, float[::1] params not None, const float[::1] grads not None,
              Py_ssize_t step=0):
        """Make step number `step`: params and the vectors are updated in place.

        Raises
        ------
        ValueError
            params or grads have another size than the vectors.
        IndexError
            There is no such step.
        """
        if params.shape[0] != self.size or grads.shape[0] != self.size:
            raise ValueError(
                f"params and grads must have {self.size} values, got {params.shape[0]} and "
                f"{grads.shape[0]}")
        if not 0 <= step < self.steps:
            raise IndexError(f"step must be from 0 to {self.steps - 1}, got {step}")
        if self.size > 0:
            with nogil:
                apply_update(&self.run, step, &params[0], &grads[0], 0, self.size)
