"""Helpers for the targets: files in memory, inputs with several parts, changes of JSON values."""

import atexit
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

MutateBytes = Callable[[bytes], bytes]
SHARED_MEMORY = "/dev/shm"

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 10, 255, 256, 1024, 65536, 2**31, 2**63, 2**64, 10**400),
    *(-(2**31), -(2**63), 0.0, -0.0, 0.5, 1.0, 1.5, 1e-45, 1e-320, 1e38, 1e308, -1e308),
    *(math.nan, math.inf, -math.inf, "", "a", "0", "1", "nan", "\0", "\n\x1b[31m", "é", "\ud800"),
    *("/", "..", "a" * 300, [], {}, [[]], [0], [1, 1], [0] * 40, {"": 0}, {"a": {"a": []}}),
)


def make_folder() -> Path:
    """Return a new folder, in memory if the system supports it.

    It is deleted at the end, but for that of libFuzzer, which ends the process at once.
    """
    usual = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("TMPDIR", usual))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class MemoryFile:
    """A file that stays open, and is rewritten repeatedly."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)

    def write(self, data: bytes) -> Path:
        """Replace the content of the file; return its path."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)
        return self.path


def clear(folder: Path) -> None:
    """Delete the content of a folder."""
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                clear(Path(entry.path))
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)


def pack(parts: list[bytes]) -> bytes:
    """Join parts, each after its length."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def unpack(data: bytes, most: int) -> list[bytes]:
    """Return up to `count` parts of any bytes; the last one may be truncated."""
    parts, place = [], 0
    while place < len(data) and len(parts) < most:
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        parts.append(data[place + 4 : end])
        place = end
    return parts


def mutate_part(data: bytes, random: Random, most: int, mutate: Callable[[bytes], bytes]) -> bytes:
    """Change one part of those that `pack` has joined, exchange or repeat one."""
    parts = unpack(data, most) or [b""]
    number = random.randrange(len(parts))
    if random.random() < 0.1:
        parts[number] = random.choice(parts)
    elif random.random() < 0.1 and len(parts) < most:
        parts.insert(number, random.choice(parts))
    else:
        parts[number] = mutate(parts[number])
    return pack(parts)


def parse_json(data: bytes) -> Any:
    """Return the JSON value of an input, None if it is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def dump_json(value: Any) -> bytes:
    """Return a value as an input."""
    return json.dumps(value, separators=(",", ":")).encode()


def mutate_json(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change one or two values of a JSON input, or the bytes of another input."""
    value = parse_json(data)
    if not isinstance(value, (dict, list)):
        return mutate_bytes(data)
    root = [value]
    for _ in range(random.choice((1, 1, 1, 2))):
        _change(root, random, mutate_bytes)
    try:
        return dump_json(root[0])
    except (ValueError, RecursionError):
        return mutate_bytes(data)


def _change(root: list[Any], random: Random, mutate_bytes: MutateBytes) -> None:
    places = list(_list_places(root))
    container, key = random.choice(places)
    old, action = container[key], random.randrange(8)
    if action == 0 and container is not root:
        del container[key]
    elif action == 1:
        other, name = random.choice(places)
        container[key] = deepcopy(other[name])
    elif action == 2 and isinstance(container, dict):
        new = random.choice([name for _, name in places if isinstance(name, str)])
        container[new] = container.pop(key)
    elif action == 3 and isinstance(old, str):
        container[key] = mutate_bytes(old.encode("utf-8", "replace")).decode("utf-8", "replace")
    elif action == 3 and type(old) is int:
        container[key] = old + random.choice((-1, 1, 2**16, 2**32, -old - old))
    elif action == 3 and isinstance(old, float):
        container[key] = old * random.choice((-1, 1e-10, 1e10, 2, 0.5))
    elif action == 4 and isinstance(old, list):
        old.extend(deepcopy(old[:20]) or [0])
    elif action == 4 and isinstance(old, dict):
        old[random.choice(("", "a", "\0", "mean_image"))] = 0
    elif action == 5:
        container[key] = [old]
    else:
        container[key] = deepcopy(random.choice(VALUES))


def _list_places(root: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of each value, up to a few hundred."""
    waiting, count = [root], 0
    while waiting and count < 500:
        container = waiting.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in list(keys)[:100]:
            count += 1
            yield container, key
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])
