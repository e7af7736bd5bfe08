import gzip
import os
import tracemalloc

import numpy as np
import pytest
from failing_files import FailingClose
from idx_files import CODES, header, idx_bytes

from lenet5c.datasets import DatasetError, load_idx
from lenet5c.datasets.idx import is_idx_file, map_idx
from lenet5c.datasets.mapped import MappedImages


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3, 2), (1, 2, 1, 2, 1, 2, 1, 3)])
@pytest.mark.parametrize("dtype", sorted(CODES))
def test_reads_every_element_type(tmp_path, dtype, shape, packed):
    count = int(np.prod(shape))
    expected = (np.arange(count) * 7 - (0 if dtype == "u1" else 9)).astype(dtype).reshape(shape)
    content = idx_bytes(expected)
    # The name says the opposite: only the content counts.
    path = tmp_path / ("file-ubyte" if packed else "file-ubyte.gz")
    array = load_idx(write(path, gzip.compress(content) if packed else content))
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative
    assert array.flags.c_contiguous and array.flags.writeable
    np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.parametrize("as_type", [str, lambda path: path])
def test_accepts_str_and_path(tmp_path, as_type):
    path = write(tmp_path / "a", idx_bytes(np.arange(3, dtype=np.uint8)))
    assert load_idx(as_type(path)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (3, 0)])
def test_a_dimension_may_be_zero(tmp_path, shape, packed):
    content = header(0x0C, shape)
    array = load_idx(write(tmp_path / "a", gzip.compress(content) if packed else content))
    assert array.shape == shape and array.dtype == np.int32


def test_reads_larger_than_one_chunk_and_several_gzip_members(tmp_path):
    expected = np.arange(3 << 20, dtype=np.int64).astype(np.uint8)
    content = idx_bytes(expected)
    members = gzip.compress(content[:1_500_000], 1) + gzip.compress(content[1_500_000:], 1)
    np.testing.assert_array_equal(load_idx(write(tmp_path / "a", members)), expected)


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PACKED = gzip.compress(GOOD, mtime=0)
BAD_CHECKSUM = PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:]
BAD_DEFLATE = PACKED[:10] + b"\xff" * 8 + PACKED[18:]
HUGE = 2**32 - 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b"\0", "is truncated inside the IDX header"),
        (GOOD[:9], "is truncated inside the IDX header"),
        (b"PK\3\4" + GOOD[4:], "not an IDX file"),
        (b"\0\1\x08\3" + GOOD[4:], "not an IDX file"),
        (header(0x0A, (1,)) + b"\0", "not an IDX file"),
        (header(0x08, ()), "declares 0 dimensions"),
        (b"\0\0\x08\x09" + b"\0\0\0\1" * 9 + b"\0", "declares 9 dimensions"),
        (b"\0\0\x08\xff", "declares 255 dimensions"),
        (GOOD[:-1], "has only 39"),
        (GOOD + b"\0", "other data"),
        (header(0x08, (60000, 28, 28)), "has only 16"),
        (header(0x0E, (HUGE, 1)) + b"\0" * 99, "has only"),
        (header(0x0E, (HUGE,) * 2) + b"\0" * 99, "impossible shape"),
        (header(0x0E, (HUGE,) * 8) + b"\0" * 99, "impossible shape"),
        # The product is 0 modulo 2**64.
        (header(0x08, (2**31, 2**31, 4)), "impossible shape"),
        (header(0x0E, (0,) + (HUGE,) * 7), "impossible shape"),
        (gzip.compress(b"", mtime=0), "empty"),
        (gzip.compress(GOOD[:9], mtime=0), "is truncated inside the IDX header"),
        (gzip.compress(GOOD[:-1], mtime=0), "data ends early"),
        (gzip.compress(GOOD + b"\0", mtime=0), "other data"),
        (gzip.compress(b"PK\3\4" + GOOD, mtime=0), "not an IDX file"),
        (gzip.compress(header(0x08, (HUGE, 2)), mtime=0), "gzipped bytes can contain"),
        (gzip.compress(header(0x08, (60000,)), mtime=0), "gzipped bytes can contain"),
        (gzip.compress(header(0x08, (20000,)) + b"\0" * 19999, mtime=0), "data ends early"),
        (b"\x1f\x8b", "gzip data ends early"),
        (PACKED[:5], "gzip data ends early"),
        (PACKED[:20], "gzip data ends early"),
        (PACKED[:-4], "gzip data ends early"),
        (PACKED + b"garbage", "gzip data is corrupt"),
        (BAD_CHECKSUM, "gzip data is corrupt"),
        (BAD_DEFLATE, "gzip data is corrupt"),
        (b"\x1f\x8b\x07" + PACKED[3:], "gzip data is corrupt"),
    ],
)
def test_hostile_files_are_refused(tmp_path, content, fault):
    path = write(tmp_path / "hostile-idx3-ubyte", content)
    with pytest.raises(DatasetError, match=fault) as caught:
        load_idx(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_is_refused(tmp_path, packed):
    content = PACKED if packed else GOOD
    for length in range(len(content)):
        with pytest.raises(DatasetError):
            load_idx(write(tmp_path / "cut", content[:length]))


@pytest.mark.parametrize("packed", [False, True])
def test_random_damage_never_escapes_as_another_error(tmp_path, packed):
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(PACKED if packed else GOOD)
        content[rng.integers(len(content))] = rng.integers(256)
        try:
            array = load_idx(write(tmp_path / "damaged", bytes(content)))
        except DatasetError:
            continue
        assert array.nbytes == 24


def test_a_bomb_is_read_no_further_than_it_declares(tmp_path):
    bomb = gzip.compress(header(0x08, (10,)) + bytes(64 << 20), 9)
    path = write(tmp_path / "bomb.gz", bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="other data"):
            load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_false_size_takes_no_memory(tmp_path):
    path = write(tmp_path / "a", header(0x0E, (HUGE, 1)) + b"\0" * 64)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=str(HUGE * 8 + 12)):
            load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*no such file"):
        load_idx(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_idx(write(tmp_path / "file", GOOD) / "below")
    with pytest.raises(DatasetError, match=r"a folder.*idx_folder\(\)"):
        load_idx(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_an_error_of_the_disk_has_the_name(tmp_path, monkeypatch):
    (tmp_path / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    monkeypatch.setattr("lenet5c.datasets.idx.open_regular", FailingClose)
    with pytest.raises(OSError) as raised:
        load_idx(tmp_path / "labels")
    assert raised.value.filename == str(tmp_path / "labels")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="not a regular file"):
        load_idx(tmp_path / "pipe")


def test_large_plain_files_stay_where_they_are(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = write(tmp_path / "images", idx_bytes(array))
    mapped = map_idx(path, least=40)
    assert isinstance(mapped, MappedImages) and mapped.shape == (2, 3, 4)
    np.testing.assert_array_equal(np.asarray(mapped), array)
    assert isinstance(map_idx(path, least=41), np.ndarray)
    packed = write(tmp_path / "images.gz", gzip.compress(idx_bytes(array)))
    assert isinstance(map_idx(packed, least=1), np.ndarray)


@pytest.mark.parametrize("content", [GOOD[:-1], GOOD + b"\0", b"\0\1" + GOOD, GOOD[:9]])
def test_hostile_files_are_refused_before_they_are_mapped(tmp_path, content):
    with pytest.raises(DatasetError, match="download it again"):
        map_idx(write(tmp_path / "hostile", content), least=1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (GOOD, True),
        (PACKED, True),
        (b"", False),
        (b"\0\0\x07\3", False),
        (b"\0\0\x08\0", False),
        (PACKED[:5], False),
        (BAD_DEFLATE, False),
        (gzip.compress(b"text", mtime=0), False),
        (b"PNG", False),
    ],
)
def test_the_content_tells_an_idx_file(tmp_path, content, expected):
    assert is_idx_file(write(tmp_path / "file", content)) is expected


def test_neither_folders_nor_missing_files_are_idx_files(tmp_path):
    assert not is_idx_file(tmp_path) and not is_idx_file(tmp_path / "nowhere")
