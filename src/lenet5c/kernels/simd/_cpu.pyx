"""Instruction sets of the processor."""

cdef extern from "cpu.h":
    bint lenet5c_cpu_has_avx2()
    bint lenet5c_cpu_has_avx512()


def supported():
    """The instruction sets that tile kernels may use here, best first."""
    names = ["baseline"]
    if lenet5c_cpu_has_avx2():
        names.insert(0, "avx2")
    if lenet5c_cpu_has_avx512():
        names.insert(0, "avx512")
    return names
