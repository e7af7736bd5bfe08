"""Files: atomic writes, and tensor files (safetensors with one JSON text), the form of models and checkpoints."""

import hashlib
import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lenet5c.errors import RunError

# The only metadata key: with several, their order in the file would change from run to run.
KEY = "lenet5c"


def write_bytes(path, content):
    """Replace the file at `path` atomically.

    A crash leaves the old file; the temporary file is reused by the next write.

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
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def write_json(path, value):
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path, values):
    write_bytes(path, "".join(json.dumps(value) + "\n" for value in values).encode())


def write_tensors(path, kind, tensors, metadata):
    """Write arrays and metadata; equal content gives equal bytes."""
    text = json.dumps({"kind": kind, "version": 1, "digest": digest(tensors), **metadata})
    write_bytes(path, save(tensors, {KEY: text}))


def read_tensors(path, kind):
    """(tensors, metadata) of a file of this kind. The file is not trusted: anything odd is a RunError."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
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
            f"{path} is no readable safetensors file ({error}); train again or name another file"
        ) from None
    if not isinstance(metadata, dict) or metadata.get("kind") != kind:
        raise RunError(
            f"{path} is not a lenet5c {kind} file; name one that lenet5c train has written"
        )
    if metadata.get("version") != 1:
        raise RunError(
            f"{path} has the format version {metadata.get('version')!r}; this lenet5c reads version 1"
        )
    if metadata.get("digest") != digest(tensors):
        raise RunError(f"{path} is damaged: its values are not those that were written")
    return tensors, metadata


def digest(tensors):
    """SHA-256 of names and values."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(f"{name} {tensors[name].dtype} {tensors[name].shape}\n".encode())
        sha.update(tensors[name].tobytes())
    return sha.hexdigest()
