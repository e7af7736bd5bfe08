# Only for cimport: see cykernels.pxd and docs/embedding.md.
