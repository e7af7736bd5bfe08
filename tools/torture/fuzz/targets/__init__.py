"""Targets: modules with a function `read(data)` that calls a reader of lenet5c.

`seeds()` yields small inputs, most of them valid. A target may also have

- `ERRORS`: documented exceptions in addition to UserError and FileNotFoundError; a ValueError or
  TypeError must have the form of the project's messages, to distinguish it from a bug;
- `mutate(data, random, mutate_bytes)`: a change that keeps the structure of the input, such as its
  checksums, so that the code after them is reached; some changes are made without it;
- `large()`: large inputs, read once to check time and memory;
- `MAX_LENGTH` of the inputs, and a `DICTIONARY` of words that they contain.
"""

#: The targets, with the share of the time that each is given: more where there is more to find.
SHARES = {
    "archives": 1.0,
    "checkpoint": 2.0,
    "commands": 1.0,
    "data_files": 2.0,
    "digits": 1.0,
    "downloads": 0.5,
    "events": 0.5,
    "folders": 1.0,
    "http": 2.0,
    "idx": 1.5,
    "idx_folder": 1.0,
    "model": 2.0,
    "options": 0.5,
    "packed": 1.0,
    "pictures": 3.0,
    "run_config": 2.0,
    "run_files": 0.5,
    "session": 1.0,
    "settings": 1.5,
    "weights": 1.0,
}
