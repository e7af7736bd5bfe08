# The plane kernels for baseline; setup.py gives the flags.
include "table.pxi"
