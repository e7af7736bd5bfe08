# Independent multiply-adds, to measure the peak speed of the machine.

cdef inline float burst_block(Py_ssize_t rounds, int width) noexcept nogil:
    cdef v16 acc[24]
    cdef v16 a = v16_set1(0.999), b = v16_set1(0.001)
    cdef Py_ssize_t r
    cdef int i
    cdef float total = 0
    for i in range(width):
        acc[i] = v16_set1(i)
    for r in range(rounds):
        for i in range(width):
            acc[i] = v16_fma(acc[i], a, b)
    for i in range(width):
        total += v16_reduce(acc[i])
    return total


cdef double burst(Py_ssize_t rounds, float* result) noexcept nogil:
    """Run about `rounds` x 16 multiply-adds; return the number of operations."""
    cdef int width = 24 if V16_PARTS == 1 else 6
    if V16_PARTS == 1:
        result[0] = burst_block(rounds // 24, 24)
    else:
        result[0] = burst_block(rounds // 6, 6)
    return <double>(rounds // width) * width * 32
