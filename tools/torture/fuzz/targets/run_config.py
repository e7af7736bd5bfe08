"""The config.json of a run, from the file to the trainer."""

from collections.abc import Iterator
from random import Random

import numpy as np

from lenet5c import _files
from lenet5c.datasets import Dataset
from lenet5c.optim import OPTIMIZERS, SCHEDULES
from lenet5c.recipes import RECIPES, RunConfig
from lenet5c.training.run_folder import RunFolder
from torture.fuzz.support import (
    MemoryFile,
    MutateBytes,
    dump_json,
    make_folder,
    mutate_json,
    parse_json,
)

MAX_LENGTH = 8192

folder = RunFolder(make_folder())
file = MemoryFile(folder.config_file)
record = folder.path / "record"
images = np.arange(20 * 28 * 28, dtype=np.int64).astype(np.uint8).reshape(20, 1, 28, 28)
data_set = Dataset(images, np.arange(20, dtype=np.int32) % 10, 10)


def read(data: bytes) -> None:
    """Read a configuration, and make its trainer if it is valid."""
    file.write(seal(data, "config"))
    config = RunConfig.read(folder)
    config.command()
    config.settings.build(data_set, config.seed)


def seal(data: bytes, kind: str) -> bytes:
    """Return a JSON object as a record with its digest; other bytes unchanged."""
    values = parse_json(data) if len(data) <= MAX_LENGTH else None
    if not isinstance(values, dict) or not values.keys().isdisjoint(("format", "digest")):
        return data
    _files.write_record(record, kind, values)
    return record.read_bytes()


#: `build` documents it for settings that do not fit the data.
ERRORS = (ValueError,)


def seeds() -> Iterator[bytes]:
    """Yield the configurations of all recipes, and invalid ones."""
    for name in RECIPES:
        yield dump_json(RunConfig.named(name).to_dict())
    yield dump_json(RunConfig.named(data="mnist", batch_norm=True, dropout=0.5).to_dict())
    for schedule in SCHEDULES:
        settings = {"factors": [1, 0.5], "epochs": [1]} if schedule == "piecewise" else {}
        yield dump_json(RunConfig.named(schedule=schedule, schedule_settings=settings).to_dict())
    for optimizer in OPTIMIZERS:
        yield dump_json(RunConfig.named(optimizer=optimizer).to_dict())
    yield seal(dump_json(RunConfig().to_dict()), "config")
    yield b"[" * 5000
    yield b"\xff\xfe{}"
    yield b"null"


def large() -> Iterator[bytes]:
    """Yield large and deeply nested files."""
    yield b"[" * (60 << 20)
    yield b"[" + b"[]," * (20 << 20) + b"[]]"
    yield b'{"a":' * (10 << 20)
    yield b'{"a": ' + b"9" * (4 << 20) + b"}"


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change values of the configuration."""
    return mutate_json(data, random, mutate_bytes)
