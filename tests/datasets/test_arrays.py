"""Array files: common names of arrays, and damaged or malicious files."""

import io
import struct
import zipfile

import numpy as np
import pytest
from data_files import make_digits

from lenet5c.datasets import DatasetError, ReadOptions, open_source
from lenet5c.datasets.mapped import MappedImages
from lenet5c.datasets.parts import find_part, split_name
from lenet5c.datasets.source import find

IMAGES, LABELS = make_digits()
TEST, TEST_LABELS = make_digits(12, seed=1)
COLORS = np.repeat(IMAGES[..., None], 3, axis=3)


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": TEST, "y_test": TEST_LABELS},
            "train test",
        ),
        (
            {"X_train": IMAGES, "X_test": TEST, "Y_train": LABELS, "Y_test": TEST_LABELS},
            "train test",
        ),
        ({"trainX": IMAGES, "trainY": LABELS, "testX": TEST, "testY": TEST_LABELS}, "train test"),
        ({"Xtrain": IMAGES, "ytrain": LABELS, "Xtest": TEST, "ytest": TEST_LABELS}, "train test"),
        (
            {
                "test_labels": TEST_LABELS,
                "test_images": TEST,
                "train_labels": LABELS[:, None],
                "train_images": IMAGES,
                "val_images": TEST,
                "val_labels": TEST_LABELS,
            },
            "train validation test",
        ),
        ({"data": IMAGES.reshape(40, -1), "images": IMAGES, "target": LABELS}, "all"),
        (
            {
                "data": IMAGES.reshape(40, -1) / 255,
                "target": LABELS,
                "feature_names": np.array(["a"]),
            },
            "all",
        ),
        ({"X": IMAGES, "y": np.eye(4)[LABELS]}, "all"),
        ({"images": IMAGES, "labels": LABELS.astype(str)}, "all"),
        ({"arr_0": IMAGES, "arr_1": LABELS}, "all"),
        ({"arr_0": IMAGES, "arr_1": TEST, "arr_2": LABELS, "arr_3": TEST_LABELS}, "train test"),
        ({"pictures": IMAGES, "kinds": LABELS, "mean": np.zeros((8, 8))}, "all"),
        ({"x": np.moveaxis(IMAGES, 0, -1), "y": LABELS}, "all"),
        ({"x": np.asfortranarray(IMAGES), "y": LABELS}, "all"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_names_of_arrays(arrays, parts, save, tmp_path):
    save(tmp_path / "set.npz", **arrays)
    found = find(str(tmp_path / "set.npz"))
    assert list(found.parts) == parts.split() and found.name == "set"
    first = next(iter(found.parts.values()))
    assert np.array_equal(first.images[:, 0], IMAGES) and first.labels.tolist() == LABELS.tolist()
    if "test" in parts:
        assert np.array_equal(found.parts["test"].images[:, 0], TEST)
        assert found.parts["test"].labels.tolist() == TEST_LABELS.tolist()


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"X.npy": IMAGES, "y.npy": LABELS}, "all"),
        (
            {
                "x_train.npy": IMAGES,
                "y_train.npy": LABELS,
                "x_test.npy": TEST,
                "y_test.npy": TEST_LABELS,
            },
            "train test",
        ),
        (
            {
                "kmnist-train-imgs.npz": [IMAGES],
                "kmnist-train-labels.npz": [LABELS],
                "kmnist-test-imgs.npz": [TEST],
                "kmnist-test-labels.npz": [TEST_LABELS],
            },
            "train test",
        ),
        ({"train.npz": [IMAGES, LABELS], "test.npz": [TEST, TEST_LABELS]}, "train test"),
        ({"set.npz": [IMAGES, LABELS]}, "all"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_files_of_a_folder(files, parts, tmp_path):
    for name, arrays in files.items():
        save = np.save if name.endswith(".npy") else lambda path, arrays: np.savez(path, *arrays)
        save(tmp_path / name, arrays)
    found = find(str(tmp_path))
    assert list(found.parts) == parts.split() and found.name == tmp_path.name
    first = next(iter(found.parts.values()))
    assert np.array_equal(first.images[:, 0], IMAGES) and first.labels.tolist() == LABELS.tolist()
    if "test" in parts:
        assert np.array_equal(found.parts["test"].images[:, 0], TEST)


def test_names_of_classes(tmp_path):
    names = np.array(["eins", "zwei", "drei", "vier"])
    np.savez(tmp_path / "a.npz", data=IMAGES, target=LABELS, target_names=names)
    source = open_source(str(tmp_path / "a.npz"))
    assert source.train.class_names == tuple(names) and source.test.labels.tolist()
    np.savez(tmp_path / "b.npz", data=IMAGES, target=LABELS, target_names=names[:3])
    assert open_source(str(tmp_path / "b.npz")).train.class_names == ("0", "1", "2", "3")


def test_channels_last(tmp_path):
    np.savez(tmp_path / "a.npz", x=COLORS, y=LABELS)
    found = find(str(tmp_path / "a.npz"))
    assert np.array_equal(found.parts["all"].images, COLORS.transpose(0, 3, 1, 2))
    assert found.reading == "whole"


def test_other_arrays_are_passed_over(tmp_path):
    other = np.array([{"made": "by hand"}], object)
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS, about=other, rows=np.zeros(2, "f4,f4"))
    assert len(find(str(tmp_path / "a.npz")).parts["all"]) == 40


def test_images_alone(tmp_path):
    np.save(tmp_path / "x_test.npy", IMAGES)
    found = find(str(tmp_path / "x_test.npy"))
    assert found.parts["test"].labels is None and len(found.parts["test"]) == 40


def test_a_large_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("lenet5c.datasets.arrays.MAPPED", 2000)
    for name, values in (("bytes", IMAGES), ("floats", (IMAGES / 255).astype(">f4"))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", values)
        np.save(tmp_path / name / "y.npy", LABELS)
        source = open_source(str(tmp_path / name))
        assert isinstance(source.train.images, MappedImages)
        found = find(str(tmp_path / name)).parts["all"].images
        assert np.array_equal(np.asarray(found)[:, 0], IMAGES)


def make_npy(shape, descr="|u1", body=b"", version=1):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    width = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, len(text)) + text + body


def make_npz(members, method=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (make_npy((2, 8, 8), "|O", bytes(1024)), "Python objects, which are never unpickled"),
        (make_npy((2**40, 8, 8)), "declares 70,368,744,177,7"),
        (make_npy((2**62, 2**62)), "declares"),
        (make_npy((2, 8, 8), body=bytes(129)), "declares 200 bytes"),
        (make_npy((-1, 8, 8)), "damaged header"),
        (make_npy((True, 8, 8)), "damaged header"),
        (make_npy("__import__('os').system('true')"), "damaged header"),
        (make_npy("(" * 5000), "damaged header"),
        (make_npy((1,) * 40, body=b"1"), "declares"),
        (make_npy((2, 8, 8), "nonsense"), "numbers or text, got one of nonsense"),
        (make_npy((2, 8), "<U0"), "numbers or text, got one of <U0"),
        (make_npy((2, 8, 8), "a3", bytes(384)), "numbers or text, got one of a3"),
        (make_npy((2, 8, 8), [("a", "<f4")], bytes(512)), "got one of [('a', '<f4')]"),
        (b"\x93NUMPY", "format 1 or 2"),
        (b"\x93NUMPY\3\0" + bytes(99), "format 1 or 2"),
        (b"\x93NUMPY\2\0" + b"\xff" * 99, "format 1 or 2"),
        (make_npy((2, 8, 8), "<c16", bytes(2048)), "named x_train and y_train"),
        (make_npy((0, 8, 8)), "named x_train and y_train"),
    ],
)
def test_faults_of_a_file(content, message, tmp_path):
    for name, file in (("a.npy", content), ("a.npz", make_npz({"x": content}))):
        (tmp_path / name).write_bytes(file)
        with pytest.raises(DatasetError) as caught:
            find(str(tmp_path / name))
        text = str(caught.value)
        assert message in text and str(tmp_path / name) in text and text.isprintable()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES, "y_train": np.arange(41)}, "a label for each of the 40 images"),
        ({"x": IMAGES, "y": np.array(list("ab") * 20, object)}, "never unpickled"),
        ({"x": IMAGES, "y": LABELS + 0.5}, "must be integers, got 0.5"),
        ({"x": np.where(IMAGES > 250, np.nan, IMAGES), "y": LABELS}, "got nan in image"),
        ({"a": np.zeros(3)}, "got a float64 3; rename them"),
        ({"a": IMAGES, "b": IMAGES, "c": IMAGES, "d": IMAGES}, "named x_train and y_train"),
        ({"cat": IMAGES, "dog": IMAGES}, "named x_train and y_train"),
        ({}, "got none; rename them"),
    ],
)
def test_faults_of_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DatasetError) as caught:
        find(str(tmp_path / "a.npz"))
    assert message in str(caught.value) and str(caught.value).isprintable()


def test_faults_of_an_archive(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"

    def refuse(content, message):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            find(str(path))

    good = make_npz({"x": make_npy((40, 8, 8), body=bytes(2560))}, zipfile.ZIP_DEFLATED)
    refuse(
        make_npz({"x": make_npy((1,), body=b"1")}, zipfile.ZIP_LZMA), "stored or deflate-compressed"
    )
    refuse(good[:-30], "valid .npz file")
    refuse(
        good[:50] + b"?" * 20 + good[70:],
        "valid .npz file|declares|NumPy array file|NumPy file format",
    )
    refuse(b"PK\3\4" + bytes(99), "valid .npz file")
    monkeypatch.setattr("lenet5c.datasets.arrays.MAX_ARRAYS", 1)
    refuse(make_npz({"x": b"", "y": b""}), "at most 1 arrays")
    monkeypatch.setattr("lenet5c.datasets.archives.SMALL", 100)
    monkeypatch.setattr("lenet5c.datasets.archives.MAX_RATIO", 2)
    refuse(good, "must unpack to at most")


def test_words_in_names():
    assert split_name("Y_Train") == ("train", "labels") and split_name("x_val")[0] == "validation"
    assert split_name("train-images-arr_0") == ("train", "images")
    assert split_name("label_names") == (None, "names") and split_name("mean") == (None, None)
    for name in ("latest", "contest.csv", "training_x.csv", "training.csv", "t10k_x", "valid-1"):
        part = {"l": None, "c": None, "t": "train", "v": "validation"}[name[0]]
        assert find_part(name) == ("test" if name == "t10k_x" else part)


def spread_targets(labels, classes=4):
    """Return soft targets whose most probable class is the label."""
    others = 0.3 / (classes - 1)
    return np.where(np.eye(classes, dtype=bool)[labels], 0.7, others).astype(np.float32)


@pytest.mark.parametrize("folder", [False, True])
def test_soft_targets_in_place_of_labels_or_beside_them(folder, tmp_path):
    soft, test_soft = spread_targets(LABELS), spread_targets(TEST_LABELS)
    for number, arrays in enumerate(
        (
            {"x_train": IMAGES, "y_train": soft, "x_test": TEST, "y_test": TEST_LABELS},
            {
                "x_train": IMAGES,
                "targets_train": soft,
                "y_train": LABELS,
                "x_test": TEST,
                "y_test": TEST_LABELS,
                "targets_test": test_soft,
            },
        )
    ):
        path = tmp_path / f"{number}"
        if folder:
            path.mkdir()
            for name, array in arrays.items():
                np.save(path / f"{name}.npy", array)
        else:
            path = path.with_suffix(".npz")
            np.savez(path, **arrays)
        source = open_source(str(path))
        assert np.array_equal(source.train.targets, soft)
        assert np.array_equal(source.train.labels, LABELS)
        assert source.train.class_names == ("0", "1", "2", "3")
        assert (source.test.targets is None) == (number == 0)
    # Labels need not be the likeliest classes, and other arrays are not asked what they are.
    others = np.random.default_rng(0).standard_normal((40, 4))
    path = tmp_path / "beside.npz"
    np.savez(path, x=IMAGES, y=(LABELS + 1) % 4, probabilities=soft, target=others)
    train = open_source(str(path)).train
    assert np.array_equal(train.targets.argmax(axis=1), (train.labels - 1) % 4)


def test_soft_targets_that_do_not_fit(tmp_path):
    path = tmp_path / "a.npz"
    for arrays, words in (
        ({"x": IMAGES, "y": spread_targets(LABELS) * 2}, "a.npz: y must be .* add up to 1"),
        (
            {
                "x_train": IMAGES,
                "y_train": spread_targets(LABELS),
                "x_test": TEST,
                "y_test": spread_targets(TEST_LABELS, 5),
            },
            "soft targets of the same classes in all parts, got 4 and 5 columns",
        ),
        (
            {"x": IMAGES, "y": spread_targets(LABELS), "class_names": np.array(list("abcde"))},
            "a column of soft targets for each of its 5 classes, got 4",
        ),
    ):
        np.savez(path, **arrays)
        with pytest.raises(DatasetError, match=words):
            open_source(str(path))


def test_levels_are_those_of_the_training_images(tmp_path):
    values = (IMAGES / 100.0 - 0.4).astype(np.float32)
    np.savez(tmp_path / "train.npz", x=values, y=LABELS)
    np.savez(tmp_path / "few.npz", x=values[:, :, :4][3:4] / 2, y=LABELS[3:4])
    source = open_source(str(tmp_path / "train.npz"))
    assert source.white == pytest.approx({"black": -0.4, "float": 2.15}, abs=0.01)
    path, known = str(tmp_path / "few.npz"), ReadOptions(image_shape="8x4", levels=source.white)
    expected = np.rint((values[3, :, :4] / 2 + 0.4) * 255 / (values.max() + 0.4))
    assert np.array_equal(find(path, known).parts["all"].images[0, 0], expected)
    alone = find(path, ReadOptions(image_shape="8x4")).parts["all"].images[0, 0]
    assert not np.array_equal(alone, expected)
