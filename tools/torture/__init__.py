"""The campaign of `python tools/torture`: a module of `parts` is a part of it."""
