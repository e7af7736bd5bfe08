"""Event files of TensorBoard that a resumed run continues."""

import io
from collections.abc import Iterator
from random import Random

from lenet5c.training.event_file import EventFile
from torture.fuzz.support import MemoryFile, MutateBytes, make_folder, mutate_part, pack, unpack

MAX_LENGTH = 1024
ROWS = [{"epoch": n, "lr": 0.1, "train_loss": 1.0 / n, "train_accuracy": 0.5} for n in (1, 2, 3)]
RAW = b"="  # before the bytes of a whole file; others are parts, each the bytes of a record

events = EventFile(make_folder() / "events.out.tfevents.lenet5c")
file = MemoryFile(events.path)
writer = events.check()[1].RecordWriter


def read(data: bytes) -> None:
    """Continue an event file, which must then have each epoch of the history once."""
    file.write(data[1:] if data.startswith(RAW) else join(unpack(data, 20)))
    events.begin(ROWS)
    found = [event.step for event in events._read()]
    assert found == [0, 1, 2, 3], f"events of the epochs {found}"


def join(records: list[bytes]) -> bytes:
    """Return a file of these records, with their checksums."""
    content = io.BytesIO()
    for record in records:
        writer(content).write(record)
    return content.getvalue()


def seeds() -> Iterator[bytes]:
    """Yield files with no, some and more epochs."""
    for count in (0, 1, 3):
        events.path.write_bytes(b"")
        events.begin(ROWS[:count])
        yield RAW + events.path.read_bytes()
        yield pack([event.SerializeToString() for event in events._read()])
    events.add({"epoch": 4, "lr": 0.1})
    yield RAW + events.path.read_bytes()
    yield pack([event.SerializeToString() for event in events._read()])
    yield RAW + events.path.read_bytes()[:-3]


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change a record, or the bytes of a whole file."""
    if data.startswith(RAW):
        return RAW + mutate_bytes(data[1:])
    return mutate_part(data, random, 20, mutate_bytes)
