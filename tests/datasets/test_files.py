"""Reading of files, single and in folders, with their parts."""

import zipfile

import numpy as np
import pytest
from data_files import make_digits, make_table, name_pixels, write
from pictures_on_disk import write_pictures

from lenet5c.datasets import DatasetError, ReadOptions, open_dataset, open_source
from lenet5c.datasets.files import detect_kind, has_files
from lenet5c.datasets.source import find

IMAGES, LABELS = make_digits()
NAMES = name_pixels(64)
TABLE = make_table(IMAGES, LABELS, NAMES)


def test_kinds_by_content(tmp_path):
    np.savez(tmp_path / "a", x=IMAGES, y=LABELS)
    np.save(tmp_path / "b.npy", IMAGES)
    for name, kind in (
        ("a.npz", "arrays"),
        ("b.npy", "arrays"),
        (write(tmp_path / "table", TABLE), "table"),
        (write(tmp_path / "zip.train.gz", TABLE), "table"),
        (write(tmp_path / "set", b"PAR1" + bytes(9)), "parquet"),
        (write(tmp_path / "svhn", b"MATLAB 5.0 MAT-file" + bytes(200)), "matlab"),
        (write(tmp_path / "a.mat", b"?"), "matlab"),
        (write(tmp_path / "a.png", b"\x89PNG\r\n"), None),
        (write(tmp_path / "unknown", bytes(100)), None),
        (write(tmp_path / "data_batch_1", b"\x80\x04K\x01."), None),
        (write(tmp_path / "usps.h5", b"\x89HDF\r\n\x1a\n"), None),
    ):
        assert detect_kind(tmp_path / name) == kind
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("cat/1.png", b"?")
    assert detect_kind(tmp_path / "pictures.zip") is None
    with pytest.raises(DatasetError, match="must be an IDX, CSV, .* got another file; convert it"):
        find(str(tmp_path / "usps.h5"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        find(str(tmp_path / "none.csv"))
    with pytest.raises(DatasetError, match="cannot be opened"):
        find("a\0b")


def test_parts_of_a_folder(tmp_path):
    for name in ("emotion_train.csv", "emotion-val.csv.gz", "emotion.test.csv"):
        write(tmp_path / name, TABLE)
    assert list(find(str(tmp_path)).parts) == ["train", "validation", "test"]
    write(tmp_path / "notes.txt", "?")
    write(tmp_path / ".hidden_train.csv", "?")
    assert list(find(str(tmp_path)).parts) == ["train", "validation", "test"]


def test_a_folder_with_one_file(tmp_path):
    write(tmp_path / "digits.csv", TABLE)
    assert list(find(str(tmp_path)).parts) == ["all"] and find(str(tmp_path)).name == tmp_path.name


def test_pictures_go_first(tmp_path):
    pytest.importorskip("PIL.Image")
    for name in "ab":
        write_pictures(tmp_path / "train" / name, 6)
    write(tmp_path / "train.csv", "id,label\n1,a\n")
    assert not has_files(tmp_path)
    assert open_source(str(tmp_path)).train.class_names == ("a", "b")


def test_files_that_are_not_clear(tmp_path):
    write(tmp_path / "a.csv", TABLE)
    write(tmp_path / "b.csv", TABLE)
    with pytest.raises(DatasetError, match="must have one such file, got a.csv, b.csv; pass one"):
        find(str(tmp_path))
    write(tmp_path / "train.csv", TABLE)
    assert find(str(tmp_path)).notes == ("not read, in addition to train and test: a.csv, b.csv",)
    write(tmp_path / "train2.csv", TABLE)
    write(tmp_path / "train-3.csv", TABLE)
    with pytest.raises(DatasetError, match="one such file for train, got train-3.csv, train.csv"):
        find(str(tmp_path))
    other = tmp_path / "other"
    write(other / "a.csv", TABLE)
    np.save(other / "b.npy", IMAGES)
    with pytest.raises(DatasetError, match="files of one kind, got b.npy, a.csv"):
        find(str(other))


def test_parts_must_fit(tmp_path):
    write(tmp_path / "train.csv", TABLE)
    write(tmp_path / "test.csv", make_table(np.zeros((4, 6, 6), int), LABELS[:4]))
    with pytest.raises(
        DatasetError, match=r"the same shape .*\(1, 8, 8\) in train, \(1, 6, 6\) in test"
    ):
        open_source(str(tmp_path))
    write(tmp_path / "test.csv", make_table(IMAGES, LABELS + 9))
    with pytest.raises(DatasetError, match="training images"):
        open_source(str(tmp_path))
    write(tmp_path / "test.csv", make_table(IMAGES, LABELS))
    assert len(open_dataset(str(tmp_path), "test")) == 40
    options = ReadOptions(transpose=True)
    assert np.array_equal(
        open_dataset(str(tmp_path), "train", options).images[:, 0], IMAGES.swapaxes(1, 2)
    )


def test_too_many_classes(tmp_path):
    path = write(tmp_path / "a.csv", make_table(np.repeat(IMAGES, 250, 0), range(10_000), NAMES))
    with pytest.raises(DatasetError, match="at most 4,096 classes, got 10,000"):
        open_source(str(path))
