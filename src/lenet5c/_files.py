"""Files: atomic writes, digests, and tensor files, the form of models and checkpoints."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet5c.errors import RunError

# The only metadata key: with several, their order in the file would change from run to run.
KEY = "lenet5c"


def open_regular(path: str | os.PathLike[str], most: int | None = None) -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or reading a device.

    Parameters
    ----------
    path : str or path-like
    most : int, optional
        The largest size to take, in bytes.

    Raises
    ------
    OSError
        With the path: the file cannot be opened, is no regular file, or is larger than `most`.
    """
    name = os.fspath(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(name, flags)
    try:
        state = os.fstat(descriptor)
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", name)
        if most is not None and state.st_size > most:
            why = f"it has {state.st_size:,} bytes, more than the {most:,} that are read"
            raise OSError(errno.EFBIG, why, name)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes; errors as of `open_regular`."""
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it grew, or is of a file system that tells no sizes
        raise OSError(errno.EFBIG, f"it has more than the {most:,} bytes that are read", str(path))
    return content


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file at `path` atomically.

    A crash leaves the old file; a failure no temporary one.

    Raises
    ------
    OSError
        With the name of `path`, not of the temporary file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path: str | os.PathLike[str], values: Iterable[object]) -> None:
    """Write each value as a line of JSON, atomically."""
    write_bytes(path, "".join(json.dumps(value) + "\n" for value in values).encode())


def write_tensors(
    path: str | os.PathLike[str],
    kind: str,
    tensors: dict[str, NDArray[Any]],
    metadata: dict[str, Any],
) -> None:
    """Write arrays and metadata as a safetensors file; equal content gives equal bytes."""
    from safetensors.numpy import save  # not at import: data sets need NumPy alone

    text = json.dumps({"kind": kind, "version": 1, "digest": digest_tensors(tensors), **metadata})
    write_bytes(path, save(tensors, {KEY: text}))


def read_tensors(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the tensors and metadata of a file of this kind, which is not trusted.

    Raises
    ------
    FileNotFoundError
    RunError
        The file is of another kind, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "null"))
            # It is no dictionary, and cannot be iterated over.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (
        SafetensorError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as error:
        raise RunError(
            f"{path} must be a safetensors file, got one that cannot be read ({error}); "
            "train again or name another file"
        ) from None
    if not isinstance(metadata, dict) or metadata.get("kind") != kind:
        raise RunError(
            f"{path} must be a {kind} file of lenet5c, got another kind of safetensors file; "
            "name one that lenet5c train has written"
        )
    if metadata.get("version") != 1:
        raise RunError(f"{path} must be of format version 1, got {metadata.get('version')!r}")
    if metadata.get("digest") != digest_tensors(tensors):
        raise RunError(f"{path} must have the digest of its values, got another; it is damaged")
    return tensors, metadata


def digest(*parts: str | bytes | Path | NDArray[Any]) -> str:
    """Return the SHA-256 of `parts`, one after another, in hexadecimal digits.

    Text counts as UTF-8, an array as its bytes in C order, a path as the content of the file.
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with open(part, "rb") as file:
                hashlib.file_digest(file, lambda: sha)
        elif isinstance(part, str):
            sha.update(part.encode())
        else:
            sha.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return sha.hexdigest()


def digest_tensors(tensors: dict[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of names, types, shapes and values."""
    named = ((f"{name} {a.dtype} {a.shape}\n", a) for name, a in sorted(tensors.items()))
    return digest(*(part for pair in named for part in pair))
