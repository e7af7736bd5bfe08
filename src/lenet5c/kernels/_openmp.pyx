"""OpenMP itself: its thread count, its library, the end of a thread's pool before a fork."""
from lenet5c.kernels.simd.tiles cimport THREAD_WORK

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
# elementary operations that are worth waking another thread for
thread_work = THREAD_WORK


def max_threads():
    """Return the threads that a region takes: OMP_NUM_THREADS, processors, or a limit."""
    return lenet5c_max_threads()


def processors():
    """Return the processors that the calling thread may run on, bound or not."""
    return lenet5c_processors()


def library():
    """Return the path of the library of OpenMP as bytes, None if it is unknown."""
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
