# The tile kernels for avx512; setup.py gives the flags.
include "tiles.pxi"
