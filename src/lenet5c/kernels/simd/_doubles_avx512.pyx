# The kernels for double for avx512; setup.py gives the flags.
include "doubles.pxi"
