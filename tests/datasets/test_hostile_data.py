"""Malicious data files that would block, exhaust memory or leave the folder; wrong types."""

import gzip
import os
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from one_test import in_one_test
from pictures_on_disk import write_pictures

from lenet5c.datasets import (
    Dataset,
    DatasetError,
    Preparation,
    idx_folder,
    image_folder,
    load_idx,
    open_source,
    resize,
)
from lenet5c.datasets.cache import lock
from lenet5c.datasets.download import RetryPolicy, _Download, _read_json, is_complete
from lenet5c.datasets.file_tree import MAX_DEPTH
from lenet5c.datasets.folder_files import list_folder
from lenet5c.datasets.inspection import inspect
from lenet5c.datasets.named import _read
from lenet5c.datasets.registry import NAMED_SETS, RemoteFile
from lenet5c.export import load_torch, to_torch
from lenet5c.nn import Linear, Sequential
from lenet5c.recognition import Reader, predict, prepare_digit

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
ODD = [5, 1.5, b"x", [], [[1]], {}, ..., np.zeros(3), np.zeros((2, 2)), np.array(5)]


@pytest.fixture
def root(tmp_path):
    """Make two classes of three pictures."""
    pytest.importorskip("PIL.Image")
    for name in "ab":
        write_pictures(tmp_path / "data" / name, 3)
    return tmp_path / "data"


def test_a_gzip_bomb_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb"
    head = struct.pack(">4BI", 0, 0, 8, 1, 3 << 30)
    # Large enough that deflate could hold what is declared.
    path.write_bytes(gzip.compress(head + bytes(4 << 20), 0))
    with pytest.raises(DatasetError, match="allowed"):
        load_idx(path)


@needs_pipes
def test_pipes_and_devices_are_not_opened(tmp_path, root):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(DatasetError, match="regular"):
            load_idx(path)
        with pytest.raises(ValueError, match="regular"):
            load_torch(path, Sequential(Linear(2, 2)))
        assert _read_json(Path(path)) is None
    os.mkfifo(root / "a" / "pipe.png")
    assert "1 pipe or device, not read" in list_folder(root).notes
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(OSError, match="lock"), lock(tmp_path / ".lock"):
        pass
    os.mkfifo(tmp_path / "mnist.zip")
    file = RemoteFile("mnist.zip", ("https://127.0.0.1/",), "0" * 64, 10)
    with pytest.raises(DatasetError, match="delete it"):
        is_complete(file, tmp_path / "mnist.zip")


@pytest.fixture
def make_deep():
    """Return a function that makes deeply nested folders, which pytest cannot delete."""
    folders = []

    def make(folder, depth):
        for _ in range(depth):
            folder = folder / "d"
            folder.mkdir()
            folders.append(folder)
        return folders

    yield make
    for folder in reversed(folders):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1200])
def test_folders_are_not_followed_without_end(depth, root, make_deep):
    make_deep(root / "a", depth)
    with pytest.raises(DatasetError, match=f"{MAX_DEPTH} levels deep") as caught:
        image_folder(root)
    assert "\n" not in str(caught.value)


def test_folders_as_deep_as_may_be(root, make_deep):
    folders = make_deep(root / "a", MAX_DEPTH)
    write_pictures(folders[-1], 2)
    write_pictures(folders[0], 1)
    names = [path.relative_to(root / "a").as_posix() for path in list_folder(root).parts["all"][0]]
    assert names[:4] == ["0.png", "1.png", "2.png", "d/0.png"] and len(names) == 6


def test_files_are_not_counted_without_end(root, monkeypatch):
    monkeypatch.setattr("lenet5c.datasets.file_tree.MAX_ENTRIES", 7)
    with pytest.raises(DatasetError, match="at most 7 files"):
        image_folder(root)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_names_of_any_bytes_are_shown_on_one_line(root):
    name = os.fsencode(root / "a") + b"/bad\xff\n\x1b[31m.png"
    with open(name, "wb") as file:
        file.write(b"?")
    with pytest.raises(DatasetError) as caught:
        image_folder(root)
    texts = [str(caught.value), *image_folder(root, skip_bad=True).notes]
    texts += inspect(str(root)).warnings()
    for text in texts:
        assert text.isprintable()
    assert any(r"bad\udcff\n\x1b[31m.png" in text for text in texts)


def test_an_archive_that_is_none_of_ours_is_an_error(tmp_path):
    named = NAMED_SETS["emnist-digits"]
    (tmp_path / "gzip.zip").write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(DatasetError, match="must contain gzip/"):
        _read(named, tmp_path)
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w", zipfile.ZIP_LZMA) as archive:
        for name in named.members:
            archive.writestr(name, gzip.compress(bytes(100)))
    with pytest.raises(DatasetError, match="deflate"):
        _read(named, tmp_path)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in named.members:
            archive.writestr(name, gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 9) + bytes(9)))
    content = (tmp_path / "gzip.zip").read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        (tmp_path / "gzip.zip").write_bytes(damaged[: rng.integers(1, len(content) + 1)])
        with pytest.raises(DatasetError):
            _read(named, tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_an_incomplete_download_is_not_written_through_a_link(tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    file = RemoteFile("a", ("http://127.0.0.1:1/a",), "0" * 64, 10)
    (tmp_path / ".a.part").symlink_to(target)
    (tmp_path / ".a.part.json").symlink_to(target)

    class Response:
        def __init__(self):
            self.blocks = [b"0123456789", b""]

        def read1(self, size):
            return self.blocks.pop(0)

    download = _Download(file, tmp_path / "a", None, RetryPolicy(attempts=1))
    assert download._size() == 0
    (tmp_path / ".a.part").symlink_to(target)
    with pytest.raises(OSError, match="part"):
        download._receive(Response(), 0, 10)
    assert target.read_bytes() == b"mine"
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"), lock(tmp_path / ".lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_weights_with_a_large_header_are_refused(tmp_path):
    model = Sequential(Linear(1000, 1000))
    content = to_torch(model)
    (tmp_path / "a").write_bytes(struct.pack("<Q", 3 << 20) + b"[" * (3 << 20))
    with pytest.raises(ValueError, match="at most 1,048,576 bytes"):
        load_torch(tmp_path / "a", model)
    (tmp_path / "a").write_bytes(content)
    assert load_torch(tmp_path / "a", model)


@pytest.mark.parametrize("value", [None, *ODD], ids=repr)
def test_paths_of_other_types_are_a_type_error(value):
    for function, name in (
        (load_idx, "path"),
        (idx_folder, "directory"),
        (image_folder, "path"),
        (open_source, "data"),
        (lambda path: load_torch(path, Sequential(Linear(2, 2))), "path"),
    ):
        with pytest.raises(TypeError, match=f"^{name} must be a str or path-like, got"):
            function(value)


DATA = Dataset(np.zeros((4, 1, 9, 9), np.uint8), np.arange(4), 4)
GRAY = np.full((60, 50), 240, np.uint8)


@in_one_test
@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("model", lambda value: Reader(value)),
        ("digits", lambda value: Reader(digits=value)),
        ("reading", lambda value: Reader(reading=value)),
        ("source", lambda value: predict(None)),
        ("size", lambda value: resize(DATA.images, value)),
        ("seed", lambda value: DATA.split(2, value)),
        ("fit", lambda value: Preparation((9, 9), value)),
        ("model", lambda value: to_torch(value)),
        ("model", lambda value: load_torch("none", value)),
        ("reading", lambda value: open_source("mnist", reading=value)),
        ("size", lambda value: image_folder("none", size=value)),
        ("test_fraction", lambda value: image_folder("none", test_fraction=str(value))),
        ("memory", lambda value: image_folder("none", memory=str(value))),
        ("channels", lambda value: image_folder("none", channels=value)),
        ("size", lambda value: prepare_digit(GRAY, size=value)),
        ("framing", lambda value: prepare_digit(GRAY, value)),
        ("images", lambda value: resize(value, (2, 2))),
    ],
)
def test_arguments_of_other_types_are_named(name, function, value):
    if name == "seed" and isinstance(value, int):
        value = -1
    with pytest.raises((TypeError, ValueError), match=f"^{name}|^source must"):
        function(value)


@pytest.mark.parametrize("value", [None, 5, 1.5, "abcd", ..., np.zeros(4)], ids=repr)
def test_class_names_of_other_types_are_a_type_error(value):
    with pytest.raises(TypeError, match="class_names must be a tuple of str"):
        Dataset(DATA.images, DATA.labels, 4, "", value)


def test_values_out_of_range_are_named():
    for size in ((0, 0), (28, 0), (100_000, 20)):
        with pytest.raises(ValueError, match="size must be two ints"):
            prepare_digit(GRAY, size=size)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        DATA.split(2, -1)
    for size in ((0, 2), (2, 70_000), (2.0, 2), (True, 2), (1, 2, 3)):
        with pytest.raises(ValueError, match="size"):
            resize(DATA.images, size)
