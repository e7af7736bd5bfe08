"""The commands, one module each; `cli` has their common parts. The library imports none of them."""
