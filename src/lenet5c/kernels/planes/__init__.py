"""Pooling of arrays in any layout, without tiles."""
