"""MATLAB files: SVHN's and others compared with SciPy, and damaged files."""

import io

import numpy as np
import pytest
from data_files import make_digits

from lenet5c.datasets import DatasetError, open_source
from lenet5c.datasets.matlab import _list_variables
from lenet5c.datasets.source import find

scipy_io = pytest.importorskip("scipy.io")

IMAGES, LABELS = make_digits(classes=4)
COLORS = np.stack([IMAGES, 255 - IMAGES, IMAGES // 2], axis=3)


def save(path, compress=True, **variables):
    scipy_io.savemat(path, variables, do_compression=compress)
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_svhn(compress, tmp_path):
    digits = np.arange(40) % 10
    labels = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
    for part in ("train", "test"):
        save(tmp_path / f"{part}_32x32.mat", compress, X=np.moveaxis(COLORS, 0, 3), y=labels)
    found = find(str(tmp_path))
    assert list(found.parts) == ["train", "test"] and found.reading == "whole"
    for records in found.parts.values():
        assert np.array_equal(records.images, COLORS.transpose(0, 3, 1, 2))
        assert np.array_equal(records.labels, digits)
    assert found.notes == ("the label 10 is the digit 0",)
    assert open_source(str(tmp_path)).train.num_classes == 10
    assert list(find(str(tmp_path / "train_32x32.mat")).parts) == ["all"]


def test_other_arrangements(tmp_path):
    rows = IMAGES.reshape(40, -1)
    for name, variables in (
        ("rows", {"X": rows.astype(float), "y": LABELS}),
        ("columns", {"data": rows.T, "label": LABELS.astype(float)[None]}),
        ("planes", {"images": np.moveaxis(IMAGES, 0, 2), "labels": LABELS[:, None]}),
        ("texts", {"X": rows, "y": LABELS, "about": "a text", "cell": np.array([1, "a"], object)}),
    ):
        records = find(str(save(tmp_path / f"{name}.mat", **variables))).parts["all"]
        assert np.array_equal(records.images[:, 0], IMAGES)
        assert np.array_equal(records.labels, LABELS)


@pytest.mark.parametrize("compress", [False, True])
def test_structures_as_those_of_emnist(compress, tmp_path):
    rows = IMAGES.transpose(0, 2, 1).reshape(40, -1)  # stored sideways
    part = {"images": rows, "labels": LABELS[:, None].astype(float), "writers": LABELS[:, None]}
    mapping = np.stack([np.arange(4), 48 + np.arange(4)], axis=1)
    dataset = {"train": part, "test": part, "mapping": mapping, "about": "a text", "none": {}}
    path = save(tmp_path / "emnist-digits.mat", compress, dataset=dataset, more=np.array([["x"]]))
    found = find(str(path))
    assert list(found.parts) == ["train", "test"]
    for records in found.parts.values():
        assert np.array_equal(records.images[:, 0], IMAGES)
        assert np.array_equal(records.labels, LABELS)
    arrays = _list_variables(path)
    assert list(arrays)[:3] == [f"dataset train {name}" for name in part]
    assert np.array_equal(arrays["dataset mapping"].load(), mapping)
    content = path.read_bytes()
    for end in range(200, len(content) - 1, len(content) // 7):
        path.write_bytes(content[:end])
        with pytest.raises(DatasetError, match="damaged"):
            find(str(path))


def test_labels_that_count_from_one_stay(tmp_path):
    """As in USPS, whose digit 0 has the label 1."""
    labels = np.arange(40) % 10 + 1
    path = save(tmp_path / "usps.mat", fea=IMAGES.reshape(40, -1), gnd=labels[:, None])
    assert np.array_equal(find(str(path)).parts["all"].labels, labels)


def test_arrays_are_those_of_scipy(tmp_path):
    rng = np.random.default_rng(0)
    kinds = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"]
    arrays = {
        f"a{kind.strip('?') or 'b'}": rng.integers(0, 100, (2, 3, 4)).astype(kind) for kind in kinds
    }
    arrays |= {"x": np.arange(3), "one": np.array([[7]]), "none": np.zeros((0, 3))}
    for compress in (False, True):
        path = save(tmp_path / "a.mat", compress, **arrays)
        found = {name: stored.load() for name, stored in _list_variables(path).items()}
        expected = scipy_io.loadmat(path)
        assert list(found) == list(arrays)
        for name, array in found.items():
            assert array.shape == expected[name].shape and np.array_equal(array, expected[name])


def test_damaged_files(tmp_path):
    path = tmp_path / "a.mat"

    def refuse(content, message):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=message) as caught:
            find(str(path))
        assert str(caught.value).isprintable()

    content = io.BytesIO()
    scipy_io.savemat(content, {"X": IMAGES, "y": LABELS})
    plain = content.getvalue()
    refuse(b"", "the header is not that")
    refuse(b"hello", "the header is not that")
    refuse(b"MATLAB 7.3 MAT-file" + bytes(200), "version 7.3; save it with -v7")
    refuse(b"\x89HDF\r\n\x1a\n" + bytes(200), "version 7.3")
    refuse(plain[:-100], "is truncated")
    refuse(plain[:128], "got none; rename them")
    large = bytearray(plain)
    large[160:164] = (2**30).to_bytes(4, "little")  # an axis
    refuse(bytes(large), "does not match its header")
    rng = np.random.default_rng(0)
    for compress in (False, True):
        save(path, compress, X=IMAGES, y=LABELS)
        content = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(content)
            for place in rng.integers(128, min(len(content), 400), 3):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged[: rng.integers(128, len(content) + 1)])
            try:
                open_source(str(path))
            except DatasetError as error:
                assert str(error).isprintable()


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lenet5c.datasets.archives.SMALL", 1000)
    path = save(tmp_path / "a.mat", X=np.zeros((500, 8, 8)), y=np.arange(500))
    with pytest.raises(DatasetError, match="must unpack to at most"):
        find(str(path))
