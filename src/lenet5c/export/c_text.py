"""Pieces of C source: numbers, strings, arrays and comments that mean the same to every compiler."""

import re

import numpy as np

from lenet5c.export.errors import ExportError

WIDTH = 118


def prefix_of(name):
    """`name` as the prefix of all symbols.

    Raises
    ------
    ExportError
        It is no C identifier, or one of those that C and C++ keep to themselves.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name) or "__" in name or name.endswith("_"):
        raise ExportError(
            f"name is {name!r}; it should begin the names of C functions: a letter, then letters, digits and single "
            f"underscores, at most 40"
        )
    return name


def number(value):
    """A float literal that is read back as the very float32."""
    return f"{np.array(value, np.float32).astype(str)}f"


def string(text):
    """A string literal of ASCII, whatever is in the text: its UTF-8, with everything unusual as octal."""
    # An octal escape takes three digits at most, so what follows is never drawn into it; '?' could be a trigraph.
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "backslashreplace")
    )
    return f'"{plain}"'


def comment_text(text):
    """Text for a comment, which nothing in it can end or continue."""
    return re.sub(r"[^A-Za-z0-9 .,:;()_+-]", "_", text)


def array_text(name, array, kind):
    """The definition of a constant array."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if kind == "float":
        values = [f"{value}f" for value in flat.astype(np.float32).astype(str)]
    else:
        suffix = "u" if kind == "uint32_t" else ""
        values = [f"{value}{suffix}" for value in flat.tolist()]
    return f"static const {kind} {name}[{len(flat)}] = {{\n{wrapped(values)}\n}};"


def wrapped(values):
    """Values in lines, separated by commas."""
    lines, line, length = [], [], 4
    for value in values:
        if length + len(value) + 2 > WIDTH:
            lines.append(line)
            line, length = [], 4
        line.append(value)
        length += len(value) + 2
    return ",\n".join("    " + ", ".join(each) for each in [*lines, line])


def indented(lines, depth):
    return ["    " * depth + line for line in lines]
