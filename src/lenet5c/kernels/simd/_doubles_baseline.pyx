# The kernels for double for baseline; setup.py gives the flags.
include "doubles.pxi"
