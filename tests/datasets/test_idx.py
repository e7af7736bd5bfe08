import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest
from failing_files import FailingClose

from lenet5c.datasets import DatasetError, idx_folder, load_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def header(code, shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def idx_bytes(array):
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return header(CODES[array.dtype.str[1:]], array.shape) + big_endian.tobytes()


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
        (b"\0", "ends inside the IDX header"),
        (GOOD[:9], "ends inside the IDX header"),
        (b"PK\3\4" + GOOD[4:], "not an IDX file"),
        (b"\0\1\x08\3" + GOOD[4:], "not an IDX file"),
        (header(0x0A, (1,)) + b"\0", "not an IDX file"),
        (header(0x08, ()), "declares 0 dimensions"),
        (b"\0\0\x08\x09" + b"\0\0\0\1" * 9 + b"\0", "declares 9 dimensions"),
        (b"\0\0\x08\xff", "declares 255 dimensions"),
        (GOOD[:-1], "has only 39"),
        (GOOD + b"\0", "other data follows"),
        (header(0x08, (60000, 28, 28)), "has only 16"),
        (header(0x0E, (HUGE, 1)) + b"\0" * 99, "has only"),
        (header(0x0E, (HUGE,) * 2) + b"\0" * 99, "impossible shape"),
        (header(0x0E, (HUGE,) * 8) + b"\0" * 99, "impossible shape"),
        # The product is 0 modulo 2**64.
        (header(0x08, (2**31, 2**31, 4)), "impossible shape"),
        (header(0x0E, (0,) + (HUGE,) * 7), "impossible shape"),
        (gzip.compress(b""), "empty"),
        (gzip.compress(GOOD[:9]), "ends inside the IDX header"),
        (gzip.compress(GOOD[:-1]), "data ends early"),
        (gzip.compress(GOOD + b"\0"), "other data follows"),
        (gzip.compress(b"PK\3\4" + GOOD), "not an IDX file"),
        (gzip.compress(header(0x08, (HUGE, 2))), "gzipped bytes can hold"),
        (gzip.compress(header(0x08, (60000,))), "gzipped bytes can hold"),
        (gzip.compress(header(0x08, (20000,)) + b"\0" * 19999), "data ends early"),
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
        with pytest.raises(DatasetError, match="other data follows"):
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


# ---- folders ----

NAMES = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "t10k-images": "t10k-images-idx3-ubyte",
    "t10k-labels": "t10k-labels-idx1-ubyte",
}


def arrays():
    rng = np.random.default_rng(1)
    return {
        "train-images": rng.integers(0, 256, (6, 5, 4), dtype=np.uint8),
        "train-labels": np.array([0, 1, 2, 3, 1, 0], dtype=np.uint8),
        "t10k-images": rng.integers(0, 256, (3, 5, 4), dtype=np.uint8),
        "t10k-labels": np.array([3, 0, 1], dtype=np.uint8),
    }


def write_folder(folder, content=None, rename=lambda name: name):
    folder.mkdir(exist_ok=True)
    for part, array in (content or arrays()).items():
        name = rename(NAMES[part])
        data = idx_bytes(array)
        write(folder / name, gzip.compress(data) if name.endswith(".gz") else data)
    return folder


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: name + ".gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx") + ".gz",
        lambda name: name.replace("t10k", "test"),
        lambda name: name + ".gz" if "images" in name else name,
    ],
)
def test_folder_spellings(tmp_path, rename):
    content = arrays()
    train, test = idx_folder(str(write_folder(tmp_path / "digits", content, rename)))
    np.testing.assert_array_equal(train.images, content["train-images"][:, np.newaxis])
    np.testing.assert_array_equal(test.images, content["t10k-images"][:, np.newaxis])
    np.testing.assert_array_equal(train.labels, content["train-labels"])
    np.testing.assert_array_equal(test.labels, content["t10k-labels"])
    assert train.labels.dtype == np.int32
    assert (train.name, train.num_classes, test.num_classes) == ("digits", 4, 4)
    assert test.class_names == ("0", "1", "2", "3")


def test_folder_of_idx4_images(tmp_path):
    content = arrays()
    for part in ("train-images", "t10k-images"):
        content[part] = np.stack([content[part]] * 3, axis=1)
    folder = write_folder(tmp_path / "a", content, lambda name: name.replace("idx3", "idx4"))
    train, _ = idx_folder(folder)
    np.testing.assert_array_equal(train.images, content["train-images"])


def test_folder_preference_is_fixed(tmp_path):
    folder = tmp_path / "a"
    spellings = [
        lambda name: name.replace("t10k", "test"),
        lambda name: name.replace("-idx", ".idx") + ".gz",
        lambda name: name + ".gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name,
    ]
    # Written from the least to the most preferred, each with other pixels.
    for value, rename in enumerate(spellings):
        content = arrays()
        content["train-images"][:] = content["t10k-images"][:] = value
        write_folder(folder, content, rename)
        if value == 0:
            continue
        train, test = idx_folder(folder)
        assert test.images.max() == value
    assert train.images.max() == len(spellings) - 1


def test_folder_passes_over_folders_named_like_files(tmp_path):
    folder = write_folder(tmp_path / "a", rename=lambda name: name.replace("-idx", ".idx"))
    (folder / NAMES["train-images"]).mkdir()
    assert len(idx_folder(folder)[0]) == 6


def test_a_class_may_be_missing_from_training_below_its_maximum(tmp_path):
    content = arrays()
    content["train-labels"] = np.array([0, 1, 3, 3, 1, 0], dtype=np.uint8)
    content["t10k-labels"] = np.array([2, 2, 2], dtype=np.uint8)
    train, test = idx_folder(write_folder(tmp_path / "a", content))
    assert train.num_classes == test.num_classes == 4


@pytest.mark.parametrize(
    ("part", "array", "fault"),
    [
        ("train-labels", np.zeros(5, np.uint8), "5 labels for the 6 images"),
        ("train-labels", np.zeros((6, 1), np.uint8), "labels must be a list of integers"),
        ("train-labels", np.zeros(6, np.float32), "labels must be a list of integers"),
        ("train-labels", np.array([0, 1, -1, 0, 0, 0], np.int8), "has the label -1"),
        ("train-labels", np.array([0, 1, 256, 0, 0, 0], np.int32), "has the label 256"),
        ("train-images", np.zeros((6, 5), np.uint8), "images must be uint8"),
        ("train-images", np.zeros((6, 5, 4), np.float32), "images must be uint8"),
        ("train-images", np.zeros((6, 0, 4), np.uint8), "images must be uint8 .* without a zero"),
        ("train-images", np.zeros((0, 5, 4), np.uint8), "images must be uint8 .* without a zero"),
        ("train-images", np.zeros((6, 4, 5), np.uint8), "must match"),
        ("t10k-labels", np.array([0, 1, 4], np.uint8), "have the label 4"),
    ],
)
def test_folders_that_do_not_fit_are_refused(tmp_path, part, array, fault):
    content = arrays()
    content[part] = array
    folder = write_folder(tmp_path / "a", content)
    with pytest.raises(DatasetError, match=fault) as caught:
        idx_folder(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("part", sorted(NAMES))
def test_a_missing_file_is_named(tmp_path, part):
    folder = write_folder(tmp_path / "a")
    (folder / NAMES[part]).unlink()
    with pytest.raises(FileNotFoundError, match=f"{NAMES[part]} missing"):
        idx_folder(folder)


def test_not_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        idx_folder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"not a folder.*load_idx\(\)"):
        idx_folder(write(tmp_path / "file", GOOD))
