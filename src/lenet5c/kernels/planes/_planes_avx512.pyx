# The plane kernels for avx512; setup.py gives the flags.
include "table.pxi"
