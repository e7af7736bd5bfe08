"""MNIST decompressed during imports: the same images, and no hidden errors."""

import gzip
from contextlib import suppress

import numpy as np
import pytest
from processes import output

from lenet5c import __main__ as entry
from lenet5c.commands import preload
from lenet5c.datasets import idx, load_idx, mnist


@pytest.fixture(autouse=True)
def nothing_claimed(monkeypatch):
    monkeypatch.setattr(idx, "INFLATING", {})
    preload.claim()


def test_mnist_is_the_same():
    expected = mnist()
    preload.begin()
    idx.INFLATING.update(preload.claim())
    assert idx.INFLATING.keys() == preload.SIZES.keys() and preload.claim() == {}
    for part, plain in zip(mnist(), expected, strict=True):
        assert np.array_equal(part.images, plain.images) and part.images.flags.writeable
        assert np.array_equal(part.labels, plain.labels)
    assert idx.INFLATING == {}  # what was read is not held


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed, plain: packed[: len(packed) // 2],
        lambda packed, plain: packed[:-8] + bytes(8),
        lambda packed, plain: packed + b"more",
        lambda packed, plain: gzip.compress(plain[:-1]),
        lambda packed, plain: gzip.compress(plain + b"\0"),
        lambda packed, plain: plain,
        lambda packed, plain: b"",
    ],
)
def test_a_damaged_file_is_left_to_its_reader(tmp_path, damage):
    plain = bytes([0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(range(256)) * 61
    plain += bytes(20 * 28 * 28 + 16 - len(plain))
    path = tmp_path / "images.gz"
    path.write_bytes(damage(gzip.compress(plain), plain))
    inflation = preload.Inflation(path, len(plain))
    inflation.start()
    assert inflation.wait() is None
    path.write_bytes(gzip.compress(plain))
    inflation = preload.Inflation(path, len(plain))
    inflation.start()
    idx.INFLATING[path] = inflation.wait
    assert load_idx(path).tobytes() == plain[16:]


def test_a_missing_file_is_left_to_its_reader(tmp_path):
    inflation = preload.Inflation(tmp_path / "none", 5)
    inflation.start()
    assert inflation.wait() is None


@pytest.mark.parametrize(
    "words, begins",
    [
        ("train --epochs x", True),
        ("train --data nowhere", False),
        ("train --dat=nowhere", False),
        ("train --resume", False),
        ("recipes nonsense", False),
    ],
)
def test_which_commands_preload(monkeypatch, words, begins):
    begun = []
    monkeypatch.setattr(preload, "begin", lambda: begun.append(True))
    with suppress(SystemExit):
        entry.main(words.split())
    assert bool(begun) == begins


def test_preloading_needs_no_numpy():
    code = "import sys; from lenet5c.commands import preload; print('numpy' in sys.modules)"
    assert output(code) == ["False"]
