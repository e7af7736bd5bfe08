"""Fuzz targets: seeds are valid, and failures are detected.

tests/test_torture.py runs the fuzzer itself.
"""

import subprocess
import sys
import types
from pathlib import Path
from random import Random

import pytest
from processes import HANGING
from torture.fuzz import __main__ as command
from torture.fuzz.support import mutate_json, mutate_part, pack, parse_json, unpack
from torture.fuzz.targets import SHARES

from lenet5c.errors import UserError

TARGETS = Path(command.__file__).with_name("targets")


def test_each_target_has_its_share():
    assert sorted(SHARES) == sorted(path.stem for path in TARGETS.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", sorted(SHARES))
def test_seeds(name, tmp_path):
    words = [Path(command.__file__).parent, name, "--seeds", "--crashes", tmp_path]
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=HANGING
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Return a function that judges a reader which raises what it is given."""
    monkeypatch.setattr(command.warnings, "simplefilter", lambda kind: None)

    def make(*documented, error=None):
        def read(data):
            if error is not None:
                raise error

        target = types.SimpleNamespace(read=read, ERRORS=documented)
        return command.Judge(target, "name", tmp_path)

    return make


@pytest.mark.parametrize(
    ("error", "documented", "fails"),
    [
        (None, (), False),
        (UserError("no"), (), False),
        (FileNotFoundError("none"), (), False),
        (KeyError("a"), (), True),
        (OSError("full"), (OSError,), False),
        (ValueError("size must be an integer, got 'a'"), (), True),
        (ValueError("size must be an integer, got 'a'"), (ValueError,), False),
        (ValueError("could not convert string to float"), (ValueError,), True),
        (SystemExit(1), (), True),
    ],
)
def test_what_a_reader_may_raise(judge, tmp_path, error, documented, fails):
    found = judge(*documented, error=error)
    found(b"input")
    found(b"another input of the same place")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2 * fails and found.accepted == 2 * (error is None)
    if fails:
        assert files[0].read_bytes() == b"input" and type(error).__name__ in files[1].read_text()


def test_much_memory_is_a_failure(judge, tmp_path, monkeypatch):
    found = judge()
    monkeypatch.setattr(command, "measure_peak", lambda: found.base + command.MEGABYTES + 1)
    found(b"input")
    assert [path.read_text() for path in tmp_path.glob("*.txt")] == ["took 301 MB\n"]


def test_parts_of_an_input():
    parts = [b"", b"a", b"bc" * 300]
    assert unpack(pack(parts), 3) == parts and unpack(pack(parts), 2) == parts[:2]
    assert unpack(pack(parts)[:-1], 3) == [*parts[:2], parts[2][:-1]]
    assert unpack(b"\1", 3) == [b""] and unpack(b"", 3) == []


def test_changes_keep_the_structure():
    random, value = Random(0), b'{"a":[1,2.5,"text",null],"b":{"c":true}}'
    seen = {mutate_json(value, random, lambda part: part[::-1]) for _ in range(300)}
    assert len(seen) > 100 and all(each == b"null" or parse_json(each) is not None for each in seen)
    assert mutate_json(b"no JSON", random, lambda part: part[::-1]) == b"NOSJ on"
    packed = pack([b"a", b"b"])
    for _ in range(50):
        assert 1 <= len(unpack(mutate_part(packed, random, 3, lambda part: part + b"!"), 3)) <= 3
