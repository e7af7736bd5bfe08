"""The safetensors format: a JSON header of names, types and shapes, and the bytes of the arrays.

https://huggingface.co/docs/safetensors describes it. `pack` writes the bytes that
``safetensors.numpy.save`` writes; `unpack` trusts nothing that it reads.
"""

import json
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Names of the types in the order in which a file has them, the widest first, and what they are in
# NumPy; those that NumPy does not know are read as bytes. The widths of all are whole bytes.
_TYPES = {
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "F32": "<f4",
    "U32": "<u4",
    "I32": "<i4",
    "BF16": None,
    "F16": "<f2",
    "U16": "<u2",
    "I16": "<i2",
    "F8_E8M0": None,
    "F8_E4M3": None,
    "F8_E5M2": None,
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_WIDTHS = {"BF16": 2, "F8_E8M0": 1, "F8_E4M3": 1, "F8_E5M2": 1}
_NAMES = {code[1:]: name for name, code in _TYPES.items() if code}
# Larger numbers are none of a file, and products of many of them take long.
_MAXIMUM, _MAX_AXES = 2**48, 64
_ORDER = {name: place for place, name in enumerate(_TYPES)}


class Tensor(NamedTuple):
    """A tensor of a file: its type's name, such as "F32", its shape, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def to_array(self) -> NDArray[Any]:
        """Return a copy as an array.

        Raises
        ------
        ValueError
            NumPy has no such type or shape.
        """
        if (code := _TYPES[self.dtype]) is None:
            raise ValueError(f"a tensor of type {self.dtype}")
        return np.frombuffer(self.data, code).reshape(self.shape).astype(code[1:])


def pack(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file of arrays, and of texts by name in their order.

    Equal content gives equal bytes.
    """
    named = [(name, _NAMES[array.dtype.str[1:]], array) for name, array in tensors.items()]
    named.sort(key=lambda each: (_ORDER[each[1]], each[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts, end = [], 0
    for name, dtype, array in named:
        start, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
        parts.append(array.astype(_TYPES[dtype], copy=False).tobytes())
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))


def measure_header(content: bytes, most: int) -> int:
    """Return the length of a file's header, at most `most`; raise a ValueError otherwise."""
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, most):
        raise ValueError(f"a header of {length:,} bytes")
    return length


def unpack(content: bytes, most_header: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file by name, and its metadata.

    Parameters
    ----------
    content : bytes
    most_header : int
        The largest header to read, in bytes.

    Raises
    ------
    ValueError
        With what is wrong: it is no such file, or its header and its arrays do not fit each other.
    """
    length = measure_header(content, most_header)
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("a header that is nested too deeply") from None
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("a header that is not an object, or has metadata that are not strings")
    data, found = memoryview(content)[8 + length :], {}
    for name, entry in header.items():
        found[name] = _cut(name, entry, data)
    # One after another, from the first byte to the last: none is shared or left out.
    end = 0
    for start, stop in sorted(entry["data_offsets"] for entry in header.values()):
        if start != end:
            raise ValueError(f"a tensor must begin at byte {end:,}, got {start:,}")
        end = stop
    if end != len(data):
        raise ValueError(f"the tensors must have {end:,} bytes, got {len(data):,}")
    return found, metadata


def _cut(name: str, entry: Any, data: memoryview) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end]}:
            sizes = [*shape, start, end]
            counts = all(type(n) is int and 0 <= n < _MAXIMUM for n in sizes)
            if dtype in _TYPES and counts and len(shape) <= _MAX_AXES:
                code = _TYPES[dtype]
                width = np.dtype(code).itemsize if code else _WIDTHS[dtype]
                if end <= len(data) and end - start == prod(shape) * width:
                    return Tensor(dtype, tuple(shape), data[start:end])
    raise ValueError(f"invalid entry of tensor {name!r:.60}: {entry!r:.100}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate name in the header")
    return found
