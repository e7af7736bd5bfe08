"""What is OpenMP's own: its thread count, its library, and the end of a thread's pool before a
fork."""

cdef extern from "openmp.h":
    enum:
        LENET5C_OPENMP
    int lenet5c_max_threads() nogil
    int lenet5c_processors() nogil
    const char* lenet5c_openmp_library() nogil
    bint lenet5c_end_pool() nogil

has_openmp = LENET5C_OPENMP != 0
# year and month of the specification that the compiler follows, 0 without OpenMP
version = LENET5C_OPENMP


def max_threads():
    """Threads that a region takes: OMP_NUM_THREADS, else the processors at OpenMP's loading, or a
    limit set since."""
    return lenet5c_max_threads()


def processors():
    """Processors the calling thread may run on now, wherever OMP_PROC_BIND has bound it; 1 without
    OpenMP."""
    return lenet5c_processors()


def library():
    """The path of the library that the kernels' OpenMP comes from as bytes, None if that cannot be
    told."""
    cdef const char* path = lenet5c_openmp_library()
    return None if path is NULL else <bytes>path


def end_pool():
    """End the threads that wait for the calling thread's next region, which will start new ones;
    whether that was done.

    Refused inside a region. Only GNU OpenMP can do it: its other threads' pools and their regions
    are left alone.
    """
    cdef bint done
    # A thread that ends may run code of other libraries that needs the interpreter.
    with nogil:
        done = lenet5c_end_pool()
    return done
