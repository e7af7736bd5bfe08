# The tile kernels for avx2; setup.py gives the flags.
include "tiles.pxi"
