"""Compilation of a list of ops to a program, and its execution on a batch by several threads."""
