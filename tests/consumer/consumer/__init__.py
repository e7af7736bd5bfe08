"""A project that embeds the kernels of lenet5c: `features` and `calls` through cimport, `edges` from Python."""
