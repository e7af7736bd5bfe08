# Only for cimport within the package: see _strips.pxd.
