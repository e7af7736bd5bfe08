"""Fuzzing of the readers; each module in `targets` is the target of a reader."""
