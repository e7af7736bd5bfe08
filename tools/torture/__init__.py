"""The campaign of `python tools/torture`; each module in `parts` is a part."""
