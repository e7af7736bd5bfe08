"""Access to OpenMP: thread counts, its library, and ending a thread pool before a fork."""
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
# minimum number of elementary operations for another thread
thread_work = THREAD_WORK


def max_threads():
    """Return the number of threads of a region: OMP_NUM_THREADS, processors, or a limit."""
    return lenet5c_max_threads()


def processors():
    """Return the number of processors on which the calling thread may run."""
    return lenet5c_processors()


def library():
    """Return the path of the OpenMP library as bytes, None if it is unknown."""
    cdef const char* path = lenet5c_openmp_library()
    return None if path is NULL else <bytes>path


def end_pool():
    """End the idle threads of the calling thread's pool; its next region starts new ones.

    Return True if they have ended.

    Not possible inside a region, and only with GNU OpenMP. Pools of other threads are not affected.
    """
    cdef bint done
    # A thread that ends may run code of other libraries that needs the interpreter.
    with nogil:
        done = lenet5c_end_pool()
    return done
