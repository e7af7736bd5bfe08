"""The commands, one module each, and their common parts in `cli`. Not imported by the library."""
