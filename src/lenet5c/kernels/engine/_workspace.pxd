cdef class Workspace:
    cdef void* memory
    cdef float* start
    cdef readonly Py_ssize_t floats
