"""Weights from PyTorch in safetensors files."""

from collections.abc import Iterator
from random import Random

import numpy as np
from safetensors.numpy import save

from lenet5c import nn
from lenet5c.errors import UserError
from lenet5c.export import load_torch, to_torch
from torture.fuzz.support import MemoryFile, MutateBytes, make_folder, mutate_json

MAX_LENGTH = 2048
DICTIONARY = [
    b'"F16"',
    b'"BF16"',
    b'"F64"',
    b'"I64"',
    b'"F8_E4M3"',
    b"data_offsets",
    b"PK",
    b"\x80\x02",
]

file = MemoryFile(make_folder() / "weights.safetensors")
table = np.array([[1, 0], [1, 1]], bool)
model = nn.Sequential(
    {
        "conv1": nn.Conv2d(1, 2, 1, rng=0),
        "norm": nn.BatchNorm2d(2),
        "conv2": nn.Conv2d(2, 2, 1, connection_table=table, rng=0),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(8, 2, rng=0),
        "fc2": nn.Linear(2, 2, rng=0),
        "fc3": nn.Linear(2, 2, rng=0),
    }
)
before = {name: array.copy() for name, array in model.state_dict().items()}
unchanged = {name: array.tobytes() for name, array in before.items()}


def read(data: bytes) -> None:
    """Load weights; check that rejected ones have changed nothing."""
    file.write(data)
    try:
        load_torch(file.path, model)
        model.load_state_dict(before)
    except UserError:
        after = {name: array.tobytes() for name, array in model.state_dict().items()}
        assert after == unchanged, "refused weights have changed the model"
        raise


def seeds() -> Iterator[bytes]:
    """Yield weights with several names and types, and invalid files."""
    yield to_torch(model)
    state = dict(model.state_dict())
    state["conv2.weight"] = np.zeros((2, 2, 1, 1), np.float32)
    for kind in (np.float64, np.float16):
        yield save({name: array.astype(kind) for name, array in state.items() if "num" not in name})
    yield save({f"module.{name}": array for name, array in state.items()})
    numbers = {"conv1": "0", "norm": "1", "conv2": "2", "fc1": "5", "fc2": "7", "fc3": "10"}
    yield save({f"{numbers[n.split('.')[0]]}.{n.split('.')[1]}": a for n, a in state.items()})
    yield save({"fc1.weight": np.zeros((2, 8), np.float32)})
    yield b"PK\3\4" + bytes(30)
    yield b"\x80\2]q\0."
    yield (2**63).to_bytes(8, "little") + b"{}"


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change the header, with a valid length, or the values."""
    end = 8 + int.from_bytes(data[:8], "little")
    if not 8 < end <= len(data):
        return mutate_bytes(data)
    header, values = data[8:end], data[end:]
    if random.random() < 0.7:
        header = mutate_json(header, random, mutate_bytes)
    else:
        values = mutate_bytes(values)
    return len(header).to_bytes(8, "little") + header + values
