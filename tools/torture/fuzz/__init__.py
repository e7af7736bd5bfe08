"""Fuzzing of the readers: a module of `targets` is a reader's target."""
