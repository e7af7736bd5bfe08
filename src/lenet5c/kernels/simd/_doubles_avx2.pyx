# The kernels for double for avx2; setup.py gives the flags.
include "doubles.pxi"
