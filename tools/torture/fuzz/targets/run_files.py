"""The other JSON files of a run: summary, record of reproductions, marks of downloads."""

from collections.abc import Iterator
from random import Random

from lenet5c import _files
from lenet5c.datasets.download import _read_json
from lenet5c.errors import UserError
from lenet5c.reproduction.record import FORMAT, read_record
from lenet5c.training.run_folder import RunFolder, recorded_accuracy
from lenet5c.training.run_folder import read_record as read_run_record
from lenet5c.training.summary import FIELDS
from torture.fuzz.support import MemoryFile, MutateBytes, dump_json, make_folder, mutate_json
from torture.fuzz.targets.run_config import seal

MAX_LENGTH = 4096

folder = RunFolder(make_folder())
digest = _files.write_tensors(folder.model_file, "model", {}, {})
summary, config = MemoryFile(folder.summary_file), MemoryFile(folder.config_file)
file = MemoryFile(folder.path / "other")


def read(data: bytes) -> None:
    """Read the same bytes as each kind of file."""
    file.write(data)
    summary.write(seal(data, "summary"))
    config.write(seal(data, "config"))
    recorded_accuracy(folder.model_file)
    _read_json(file.path)
    readers = (
        folder.read_summary,
        lambda: read_run_record(folder.path),
        lambda: read_record(file.path),
    )
    refused = []
    for reader in readers:
        try:
            reader()
        except UserError as error:
            refused.append(error)
    if len(refused) == len(readers):
        raise refused[-1]


def seeds() -> Iterator[bytes]:
    """Yield files of each kind."""
    values = {name: kind() for name, kind in FIELDS.items()}
    counts = {"test_correct": 9, "test_count": 10, "files": {"model.safetensors": digest}}
    yield dump_json(values | counts)
    yield dump_json(values | counts | {"resumed": True, "kept_epoch": 3})
    yield seal(dump_json(values | counts), "summary")
    yield dump_json({"data": "mnist", "recipe": "default", "seed": 0})
    yield dump_json({"format": FORMAT, "results": [{"recipe": "default"}]})
    yield dump_json({"sha256": "0" * 64, "size": 1, "mtime_ns": 1})
    yield b"[" * 5000
    yield b"\xff"


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change values of the file."""
    return mutate_json(data, random, mutate_bytes)
