"""Pooling of arrays as they lie in memory, without tiles."""
