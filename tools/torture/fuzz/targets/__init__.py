"""Targets: each a module with `read(data)`, which calls a reader of lenet5c as its users do.

`seeds()` yields small inputs, most of them valid. A target may also have

- `WEIGHT`: its share of the time, 1 by default;
- `ERRORS`: exceptions beside UserError and FileNotFoundError that the reader documents; a
  ValueError or TypeError must have the form of the project's messages, to tell it from an accident;
- `mutate(data, random, mutate_bytes)`: a change that keeps the structure of the input, such as its
  checksums, so that the code after them is reached; a share of the changes is made without it;
- `MAX_LENGTH` of the inputs, and a `DICTIONARY` of words that they contain.
"""
