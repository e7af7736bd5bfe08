"""safetensors files with one JSON text as metadata: the form of model files and checkpoints."""

import hashlib
import json

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lenet5c.training import atomic
from lenet5c.training.errors import RunError

# The only metadata key: with several, their order in the file would change from run to run.
KEY = "lenet5c"


def write(path, kind, tensors, metadata):
    """Write arrays and metadata; equal content gives equal bytes."""
    text = json.dumps({"kind": kind, "version": 1, "digest": digest(tensors), **metadata})
    atomic.write_bytes(path, save(tensors, {KEY: text}))


def read(path, kind):
    """(tensors, metadata) of a file of this kind. The file is not trusted: anything odd is a RunError."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise RunError(f"{path} is no readable safetensors file ({error}); train again or name another file") from None
    if not isinstance(metadata, dict) or metadata.get("kind") != kind:
        raise RunError(f"{path} is not a lenet5c {kind} file; name one that lenet5c.train has written")
    if metadata.get("version") != 1:
        raise RunError(f"{path} has the format version {metadata.get('version')!r}; this lenet5c reads version 1")
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
