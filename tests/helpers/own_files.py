"""Modified files of lenet5c, with a valid digest."""

import json
from contextlib import suppress

from lenet5c import _files
from lenet5c._files import safetensors

#: Names of what a finished run leaves, without pictures and report.
RUN_FILES = {
    "config.json",
    "metrics.jsonl",
    "metrics.csv",
    "checkpoint.safetensors",
    "model.safetensors",
    "summary.json",
}
#: What the summary of a run must have beside what a test is about.
SUMMARY = {
    "test_accuracy": 0.5,
    "test_correct": 1,
    "test_count": 2,
    "test_interval": [0.1, 0.9],
    "test_loss": 0.5,
    "temperature": 1.0,
    "seconds": 1.0,
    "parameters": 1,
    "epochs": 1,
    "recipe": "fast",
    "seed": 0,
    "kernels": "avx2",
    "threads": 1,
    "lenet5c": "0.1.0",
}


def read_header(content):
    """Return the metadata of a tensor file of lenet5c."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["lenet5c"])


def change_tensors(path, change=lambda metadata: metadata, tensors=()):
    """Change metadata and tensors of a tensor file, and update its digest, if any."""
    content = path.read_bytes()
    text = json.dumps(change(read_header(content)))
    old = {name: each.to_array() for name, each in safetensors.unpack(content, 2**30)[0].items()}
    content = safetensors.pack(old | dict(tensors), {"lenet5c": text})
    with suppress(ValueError):
        content, _ = _files.seal(content)
    path.write_bytes(content)


def change_record(path, kind, change):
    """Change the values of a record, and update its digest."""
    return _files.write_record(path, kind, change(_files.read_record(path, kind)[0]))
