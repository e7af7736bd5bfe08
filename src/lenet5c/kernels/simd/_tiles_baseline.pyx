# The tile kernels for baseline; setup.py gives the flags.
include "tiles.pxi"
