"""Convolution of NCHW arrays without tiles."""
