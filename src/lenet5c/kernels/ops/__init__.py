"""One op per file: forward and backward on one tile of 16 samples."""
