"""A project that embeds lenet5c: `features` and `calls` by cimport, `edges` from Python."""
