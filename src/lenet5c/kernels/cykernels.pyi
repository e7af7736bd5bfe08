# Only for cimport: see cykernels.pxd and docs/howto/embedding.md.
