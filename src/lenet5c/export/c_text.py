"""Building blocks of portable C source: blocks, strings, arrays and comments."""

import re

import numpy as np

from lenet5c.export.errors import ExportError

WIDTH = 118


def check_prefix(name: str) -> str:
    """Return `name` if it is a valid prefix of the symbols of a C file.

    Raises
    ------
    ExportError
        If it is not a C identifier, or is reserved in C or C++.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name) or "__" in name or name.endswith("_"):
        raise ExportError(
            "name must be a C identifier of at most 40 characters, a letter followed by letters, "
            f"digits and single underscores, got {name!r}"
        )
    return name


def string(text: str) -> str:
    """Return an ASCII string literal of UTF-8 text, with special characters as octal escapes."""
    # An octal escape has at most three digits, so following digits are not part of it; '?' could
    # start a trigraph.
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "backslashreplace")
    )
    return f'"{plain}"'


def comment_text(text: str) -> str:
    """Return text that is safe inside a comment."""
    return re.sub(r"[^A-Za-z0-9 .,:;()_+-]", "_", text)


def array_text(name: str, array: np.ndarray, kind: str) -> str:
    """Return the definition of a constant array of this C type."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if kind == "float":
        values = [f"{value}f" for value in flat.astype(np.float32).astype(str)]
    else:
        suffix = "u" if kind == "uint32_t" else ""
        values = [f"{value}{suffix}" for value in flat.tolist()]
    lines: list[list[str]] = [[]]
    length = 4
    for value in values:
        if length + len(value) + 2 > WIDTH:
            lines.append([])
            length = 4
        lines[-1].append(value)
        length += len(value) + 2
    body = ",\n".join("    " + ", ".join(line) for line in lines)
    return f"static const {kind} {name}[{len(flat)}] = {{\n{body}\n}};"


def block(head: str, lines: list[str]) -> list[str]:
    """Return `lines` in braces after `head`."""
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]


def loop(variable: str, count: object, lines: list[str], first: object = 0) -> list[str]:
    """Return a loop from `first` to below `count`."""
    head = f"for ({variable} = {first}; {variable} < {count}; {variable}++)"
    return block(head, lines)


def function(head: str, lines: list[str]) -> str:
    """Return the definition of a function."""
    return "\n".join([head, "{", *(f"    {line}" for line in lines), "}"])
