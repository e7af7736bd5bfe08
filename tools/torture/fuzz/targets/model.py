"""Model files: every model that opens must make predictions."""

import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np

from lenet5c import _files, nn
from lenet5c.datasets import Preparation
from lenet5c.export import ExportError, to_html
from lenet5c.nn import LeNet5, LeNet5_1998, work
from lenet5c.training import NonFiniteError, TrainedModel, open_model, save_model
from torture.fuzz.support import MutateBytes, dump_json, make_folder, mutate_json, parse_json

RAW = b"="  # before the bytes of a whole file; other inputs are JSON of what a file has
KIND = "model"
MAX_LENGTH = 1 << 17
MAX_VALUES = 1 << 18

path = make_folder() / "model.safetensors"
# Of nets that are described layer by layer: those that answer at once.
work.MAX_VALUES, work.MAX_WORK = 1 << 20, 1 << 28


def read(data: bytes) -> None:
    """Open a model, and make a prediction."""
    if write(data, KIND):
        trained = open_model(path)
        try:
            with np.errstate(all="ignore"):
                trained.probabilities(np.zeros((1, *trained.image_shape), np.uint8))
                to_html(trained)
        except (NonFiniteError, ExportError):
            pass


def write(data: bytes, kind: str) -> bool:
    """Write the file of an input, with valid digests if it is JSON."""
    if data.startswith(RAW):
        path.write_bytes(data[1:])
        return True
    content = parse_json(data)
    if not isinstance(content, dict):
        return False
    tensors = {}
    try:
        for name, (dtype, shape, value) in content["tensors"].items():
            if np.prod(np.array(shape, float)) > MAX_VALUES:
                return False
            tensors[name] = np.full(tuple(shape), value, dtype)
        _files.write_tensors(path, kind, tensors, content["metadata"])
    except Exception:  # no content of a file
        return False
    return True


def describe(file_kind: str) -> bytes:
    """Return the existing file as an input."""
    tensors, metadata = _files.read_tensors(path, file_kind)
    own = {key: value for key, value in metadata.items() if key not in ("format", "digest")}
    kinds = {name: [array.dtype.str, list(array.shape), 0] for name, array in tensors.items()}
    return dump_json({"metadata": own, "tensors": kinds})


def seeds() -> Iterator[bytes]:
    """Yield models of both LeNets and of layers, a mean image, and one as a raw file."""
    gray = {"size": (16, 16), "fit": "resize"}
    inner = nn.Sequential({"norm": nn.BatchNorm2d(2), "gelu": nn.GELU("tanh")})
    own = nn.Sequential(
        nn.Conv2d(1, 2, 3, 2, "same", bias=False, connection_table=[[1, 1]]),
        inner,
        nn.Residual(nn.Conv2d(2, 2, 3, padding=1), shortcut=nn.Conv2d(2, 2, 1)),
        nn.MaxPool2d(2, padding=((0, 1), (1, 0)), ceil_mode=True),
        nn.Subsample2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8, 2),
        input_shape=(1, 16, 16),
    )
    nets: list[tuple[Any, Preparation]] = [
        (LeNet5(2, 1, 16), Preparation(**gray)),
        (LeNet5(2, 3, 16, batch_norm=True, c5="conv", pooling="avg"), Preparation(**gray)),
        (LeNet5(2, 1, 16), Preparation(**gray, mean_image=np.zeros((1, 16, 16), np.float32))),
        (LeNet5_1998(), Preparation.named("paper1998")),
        (own, Preparation(**gray)),
    ]
    for model, preparation in nets:
        classes = tuple(map(str, range(model.output_shape(model.input_shape)[0])))
        save_model(path, TrainedModel(model, preparation, classes))
        yield describe(KIND)
    yield RAW + b"\x08\0\0\0\0\0\0\0{}      "
    header = json.dumps({"__metadata__": {"lenet5c": "[" * 5000}}).encode()
    yield RAW + len(header).to_bytes(8, "little") + header
    save_model(path, TrainedModel(*nets[0], ("a", "b")))
    yield RAW + path.read_bytes()


def large() -> Iterator[bytes]:
    """Yield raw files with large or deeply nested headers."""
    for text in ("[]," * (20 << 20), "[" * (10 << 20), '{"a":' * (5 << 20)):
        header = json.dumps({"__metadata__": {"lenet5c": text}}).encode()
        yield RAW + len(header).to_bytes(8, "little") + header
        yield RAW + len(text).to_bytes(8, "little") + text.encode()


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change the metadata or the tensors; in a raw file mostly the header."""
    if not data.startswith(RAW):
        return mutate_json(data, random, mutate_bytes)
    content, end = data[1:], 8 + int.from_bytes(data[1:9], "little")
    if random.random() < 0.8 and 8 < end <= len(content):
        header = mutate_json(content[8:end], random, mutate_bytes)
        content = len(header).to_bytes(8, "little") + header + content[end:]
    else:
        content = mutate_bytes(content)
    if random.random() < 0.7:
        with suppress(ValueError):
            content, _ = _files.seal(content)
    return RAW + content
