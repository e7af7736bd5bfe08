"""What is done to whole vectors outside of a training run: steps of the optimisers, and nothing but
multiply-adds."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython.parallel cimport prange

from lenet5c.kernels.simd.tiles cimport TileKernels


cdef const TileKernels* table(capsule) except NULL:
    return <const TileKernels*>PyCapsule_GetPointer(capsule, b"lenet5c.TileKernels")


def instructions(capsule):
    """What the tile kernels are made of, by the name simd.h gives it: 'avx512', 'avx2', 'sse2',
    'neon' or 'plain'."""
    return table(capsule).isa.decode()


def sgd(capsule, float[::1] params not None, const float[::1] grads not None,
        float[::1] velocity not None, double lr, double momentum, bint nesterov,
        double weight_decay):
    """One step of stochastic gradient descent; params and velocity are updated in place."""
    cdef const TileKernels* kernels = table(capsule)
    cdef Py_ssize_t size = params.shape[0]
    if grads.shape[0] != size or velocity.shape[0] != size:
        raise ValueError(f"params, grads and velocity have {size}, {grads.shape[0]} and "
                         f"{velocity.shape[0]} values")
    if size > 0:
        with nogil:
            kernels.sgd(&params[0], &grads[0], &velocity[0], size, lr, momentum, nesterov,
                        weight_decay)


def sdlm(capsule, float[::1] params not None, const float[::1] grads not None,
         const float[::1] inverse not None, double lr):
    """One step of stochastic diagonal Levenberg-Marquardt with inverse = 1 / (mu + h); params is
    updated in place."""
    cdef const TileKernels* kernels = table(capsule)
    cdef Py_ssize_t size = params.shape[0]
    if grads.shape[0] != size or inverse.shape[0] != size:
        raise ValueError(f"params, grads and inverse have {size}, {grads.shape[0]} and "
                         f"{inverse.shape[0]} values")
    if size > 0:
        with nogil:
            kernels.sdlm(&params[0], &grads[0], &inverse[0], size, lr)


def adam(capsule, float[::1] params not None, const float[::1] grads not None,
         float[::1] m not None, float[::1] v not None, double lr, double beta1, double beta2,
         double eps, double correction1, double correction2, double weight_decay, bint decoupled):
    """One step of Adam; params and the running means m and v are updated in place."""
    cdef const TileKernels* kernels = table(capsule)
    cdef Py_ssize_t size = params.shape[0]
    if grads.shape[0] != size or m.shape[0] != size or v.shape[0] != size:
        raise ValueError("params, grads, m and v should have equally many values")
    if size > 0:
        with nogil:
            kernels.adam(&params[0], &grads[0], &m[0], &v[0], size, lr, beta1, beta2, eps,
                         correction1, correction2, weight_decay, decoupled)


def adagrad(capsule, float[::1] params not None, const float[::1] grads not None,
            float[::1] squares not None, double lr, double eps, double weight_decay):
    """One step of AdaGrad; params and the sums of squares are updated in place."""
    cdef const TileKernels* kernels = table(capsule)
    cdef Py_ssize_t size = params.shape[0]
    if grads.shape[0] != size or squares.shape[0] != size:
        raise ValueError(f"params, grads and squares have {size}, {grads.shape[0]} and "
                         f"{squares.shape[0]} values")
    if size > 0:
        with nogil:
            kernels.adagrad(&params[0], &grads[0], &squares[0], size, lr, eps, weight_decay)


def rmsprop(capsule, float[::1] params not None, const float[::1] grads not None,
            float[::1] squares not None, float[::1] velocity not None, double lr, double alpha,
            double eps, double momentum, double weight_decay):
    """One step of RMSprop; params, the running mean of squares and velocity are updated in
    place."""
    cdef const TileKernels* kernels = table(capsule)
    cdef Py_ssize_t size = params.shape[0]
    if grads.shape[0] != size or squares.shape[0] != size or velocity.shape[0] != size:
        raise ValueError("params, grads, squares and velocity should have equally many values")
    if size > 0:
        with nogil:
            kernels.rmsprop(&params[0], &grads[0], &squares[0], &velocity[0], size, lr, alpha, eps,
                            momentum, weight_decay)


def burst(capsule, Py_ssize_t rounds, int num_threads):
    """Keep each of some threads busy with multiply-adds alone; returns the floating-point
    operations done by all."""
    cdef const TileKernels* kernels = table(capsule)
    cdef float results[64]
    cdef int thread, threads = max(1, min(num_threads, 64))
    cdef double operations = 0
    for thread in prange(threads, schedule="static", chunksize=1, num_threads=threads, nogil=True):
        operations += kernels.burst(rounds, &results[thread])
    return operations
