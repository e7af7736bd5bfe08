# A program bound to its parameters, from arrays to arrays, with all lookups cached.
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)

cdef object ndarray = np.ndarray, empty = np.empty, FLOAT32 = np.dtype(np.float32)


cdef bint take_floats(array, bint writable, tuple shape, Py_buffer* view) except -1:
    """View an array (N, *shape), contiguous, aligned float32; return False if it is not."""
    cdef int i = 0
    cdef Py_ssize_t extent
    if type(array) is not ndarray:
        return False
    try:
        PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS
                           | (PyBUF_WRITABLE if writable else 0))
    except (BufferError, ValueError):
        return False
    if view.format[0] == c"f" and view.format[1] == 0 and view.ndim == len(shape) + 1:
        for extent in shape:
            i += 1
            if view.shape[i] != extent:
                break
        else:
            return True
    PyBuffer_Release(view)
    return False


cdef class Inference:
    """The outputs of a program for arrays (N, ...) of float32.

    A subclass has `bind`, which calls `bind_program`, and `convert`, which returns the outputs for
    arrays that are not float32, contiguous and of the program's input shape.
    """
    cdef Program program
    cdef object store
    cdef const float[::1] params
    cdef tuple shape_of_one
    cdef int num_threads    # 0: the default at the time of a call

    def bind_program(self, Program program not None, store, const float[::1] params not None,
                     int num_threads):
        """Take the outputs of this program from now on, for as long as its store is current."""
        if params.shape[0] < program.param_extent:
            raise ValueError("params must have the size of the program")
        self.program, self.store, self.params = program, store, params
        self.shape_of_one, self.num_threads = (1, *program.output_shape), num_threads

    def __call__(self, x, out=None):
        cdef Py_buffer source, target
        cdef Program program
        cdef Py_ssize_t count
        if self.store is None or not self.store.current:
            self.bind()
        program = self.program
        if not take_floats(x, False, program.input_shape, &source):
            return self.convert(x, out)
        try:
            count = source.shape[0]
            y = out
            if y is None:
                y = empty(self.shape_of_one if count == 1 else (count, *program.output_shape),
                          FLOAT32)
            if not take_floats(y, True, program.output_shape, &target):
                return self.convert(x, out)
            try:
                if (target.shape[0] != count or count == 0
                        or (out is not None and overlap(&source, &target))):
                    return self.convert(x, out)
                self.run(<float*>source.buf, count, <float*>target.buf)
            finally:
                PyBuffer_Release(&target)
            return y
        finally:
            PyBuffer_Release(&source)

    cdef run(self, const float* x, Py_ssize_t count, float* out):
        cdef Program program = self.program
        cdef Job job = program.template
        cdef int threads = 1
        # Waiting for another thread, which may be suspended, is not worth it for a few samples
        # unless the caller asks for it.
        cdef bint share = self.num_threads > 1
        if (count > 1 or share) and count * program.work >= THREAD_WORK:
            threads = effective(self.num_threads or None)
        job.floats, job.batch, job.out = x, count, out
        job.params = <float*>&self.params[0] if self.params.shape[0] > 0 else NULL
        forward_batch(program, &job, threads, program.few, share)


cdef inline bint overlap(const Py_buffer* a, const Py_buffer* b) noexcept nogil:
    return (<const char*>a.buf < <const char*>b.buf + b.len
            and <const char*>b.buf < <const char*>a.buf + a.len)
