# The plane kernels for avx2; setup.py gives the flags.
include "table.pxi"
