import gzip
import sys

import numpy as np
import pytest
from idx_files import idx_bytes

from lenet5c.datasets import DatasetError, idx_folder, open_source
from lenet5c.datasets.idx_folder import EXPECTED, has_idx_files, read_idx_file, read_idx_folder
from lenet5c.datasets.mapped import MappedImages
from lenet5c.datasets.orientation import exchange_axes
from lenet5c.datasets.records import ReadOptions, label_parts
from lenet5c.datasets.source import open_dataset, open_records

NAMES = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "t10k-images": "t10k-images-idx3-ubyte",
    "t10k-labels": "t10k-labels-idx1-ubyte",
}


def write(path, content):
    path.write_bytes(content)
    return path


def arrays():
    rng = np.random.default_rng(1)
    return {
        "train-images": rng.integers(0, 256, (6, 5, 4), dtype=np.uint8),
        "train-labels": np.array([0, 1, 2, 3, 1, 0], dtype=np.uint8),
        "t10k-images": rng.integers(0, 256, (3, 5, 4), dtype=np.uint8),
        "t10k-labels": np.array([3, 0, 1], dtype=np.uint8),
    }


def write_folder(folder, content=None, rename=lambda name: name):
    folder.mkdir(exist_ok=True, parents=True)
    for part, array in (content or arrays()).items():
        path = folder / rename(NAMES[part])
        path.parent.mkdir(exist_ok=True)
        data = idx_bytes(array)
        write(path, gzip.compress(data) if path.name.casefold().endswith(".gz") else data)
    return folder


def assert_read(folder, content):
    """Check that a folder is read as these arrays."""
    assert has_idx_files(folder)
    train, test = idx_folder(str(folder))
    np.testing.assert_array_equal(train.images, content["train-images"][:, np.newaxis])
    np.testing.assert_array_equal(test.images, content["t10k-images"][:, np.newaxis])
    np.testing.assert_array_equal(train.labels, content["train-labels"])
    np.testing.assert_array_equal(test.labels, content["t10k-labels"])
    assert train.labels.dtype == np.int32
    assert (train.name, train.num_classes, test.num_classes) == (folder.name, 4, 4)
    assert test.class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: name + ".gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx") + ".gz",
        lambda name: name.replace("t10k", "test"),
        lambda name: name + ".gz" if "images" in name else name,
        str.upper,
        lambda name: f"{name}.GZ".title(),
        lambda name: "my-digits-" + name,
        lambda name: f"{name}/{name}",
        lambda name: f"{name}/{name.replace('-idx', '.idx')}",
        lambda name: name.replace("-idx1-ubyte", ".idx").replace("-idx3-ubyte", ".idx"),
        lambda name: name.replace("-", "_"),
        lambda name: name.replace("idx1-ubyte", "idx1-int"),
    ],
)
def test_folder_spellings(tmp_path, rename):
    content = arrays()
    assert_read(write_folder(tmp_path / "digits", content, rename), content)


@pytest.mark.parametrize("inner", ["raw", "MNIST/raw"])
def test_torchvisions_folders(tmp_path, inner):
    content = arrays()
    write_folder(tmp_path / "root" / inner, content)
    assert_read(tmp_path / "root", content)
    (tmp_path / "root" / "processed").mkdir()
    assert_read(tmp_path / "root", content)


def test_several_data_sets_are_told_apart(tmp_path):
    for name in ("KMNIST", "MNIST"):
        write_folder(tmp_path / "root" / name / "raw")
    with pytest.raises(DatasetError, match="got several, in KMNIST/raw, MNIST/raw; pass"):
        read_idx_folder(tmp_path / "root")
    folder = write_folder(tmp_path / "emnist", rename=lambda name: f"emnist-letters-{name}")
    write_folder(folder, rename=lambda name: f"emnist-digits-{name}")
    with pytest.raises(DatasetError, match="with 'emnist-digits' and 'emnist-letters'; put"):
        read_idx_folder(folder)


def test_folder_of_idx4_images(tmp_path):
    content = arrays()
    for part in ("train-images", "t10k-images"):
        content[part] = np.stack([content[part]] * 3, axis=1)
    folder = write_folder(tmp_path / "a", content, lambda name: name.replace("idx3", "idx4"))
    train, _ = idx_folder(folder)
    np.testing.assert_array_equal(train.images, content["train-images"])
    for part in ("train-images", "t10k-images"):
        content[part] = np.moveaxis(content[part], 1, 3)
    folder = write_folder(tmp_path / "b", content, lambda name: name.replace("idx3", "idx4"))
    np.testing.assert_array_equal(idx_folder(folder)[0].images, train.images)


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
        content["train-images"][:] = content["t10k-images"][:] = 100 + value
        write_folder(folder, content, rename)
        if value == 0:
            continue
        train, test = idx_folder(folder)
        assert test.images.max() == 100 + value
    assert train.images.max() == 100 + len(spellings) - 1


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
    content["t10k-labels"][0] = 4
    with pytest.raises(DatasetError, match="a: the images of test have the label 4"):
        idx_folder(write_folder(tmp_path / "a", content))


@pytest.mark.parametrize(
    ("part", "array", "fault"),
    [
        ("train-labels", np.zeros(5, np.uint8), "must have 6 labels, one for each image"),
        ("train-labels", np.zeros((6, 2), np.uint8), "rows of 2 values that are not one-hot"),
        ("train-labels", np.full(6, 0.5, np.float32), "must be integers, got 0.5"),
        (
            "train-labels",
            np.array([0, 1, -1, 0, 0, 0], np.int8),
            "labels must be at least 0, got -1",
        ),
        ("train-images", np.zeros((6, 5), np.uint8), "images must have shape .5,.,"),
        ("train-images", np.zeros(6, np.uint8), "images must have .* got uint8 of shape .6,."),
        ("train-images", np.full((6, 5, 4), np.nan, np.float32), "finite numbers, got nan"),
        ("train-images", np.zeros((6, 0, 4), np.uint8), "images must have a nonempty shape"),
        ("train-images", np.zeros((0, 5, 4), np.uint8), "images must have a nonempty shape"),
        ("train-images", np.zeros((6, 4, 5), np.uint8), "images must have shape .4, 5., as in"),
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
    with pytest.raises(FileNotFoundError, match=f"{NAMES[part]} missing.*{EXPECTED}"):
        idx_folder(folder)


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_a_missing_pair_is_named(tmp_path, part):
    content = {name: array for name, array in arrays().items() if part not in name}
    with pytest.raises(FileNotFoundError, match=f"{part}-images-.* and {part}-labels-.* missing"):
        idx_folder(write_folder(tmp_path / "a", content))


def test_other_names_are_refused_with_those_expected(tmp_path):
    content = arrays()
    folder = write_folder(tmp_path / "a", content, lambda name: name.replace("images", "pixels"))
    for path in folder.glob("*labels*"):
        path.unlink()
    assert has_idx_files(folder)
    with pytest.raises(FileNotFoundError, match=f"expected {EXPECTED}"):
        read_idx_folder(folder)
    assert not has_idx_files(tmp_path / "nowhere")
    assert not has_idx_files(write(tmp_path / "notes-idx3.txt", b"text").parent)


def test_not_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        idx_folder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"not a folder.*load_idx\(\)"):
        idx_folder(write(tmp_path / "file", b""))


# ---- element types and labels ----


@pytest.mark.parametrize(
    "convert",
    [
        lambda images: (images / np.float32(255)).astype(np.float32),
        lambda images: images.astype(np.float32),
        lambda images: images / 255,
        lambda images: images.view(np.int8),
        lambda images: images.astype(np.int16),
        lambda images: images.astype(np.int32),
        lambda images: images.reshape(len(images), -1),
    ],
    ids=["0 to 1", "float32", "float64", "int8", "int16", "int32", "rows"],
)
def test_pixels_of_other_types_and_shapes(tmp_path, mnist_slice, convert):
    train, test = (part.take(np.arange(30)) for part in mnist_slice)
    content = {}
    for word, part in (("train", train), ("t10k", test)):
        content[f"{word}-images"] = convert(part.images[:, 0])
        content[f"{word}-labels"] = part.labels
    found = idx_folder(write_folder(tmp_path / "a", content))
    np.testing.assert_array_equal(found[0].images, train.images)
    np.testing.assert_array_equal(found[1].images, test.images)


@pytest.mark.parametrize(
    "convert",
    [
        lambda labels: labels.astype(np.int32),
        lambda labels: labels.astype(np.int16),
        lambda labels: labels.astype(np.float32),
        lambda labels: labels[:, np.newaxis],
        lambda labels: np.eye(4, dtype=np.uint8)[labels],
        lambda labels: np.eye(8, dtype=np.int32)[labels],
        lambda labels: np.eye(4, dtype=np.float32)[labels],
        # QMNIST's: class, series, writer, ...
        lambda labels: np.column_stack([labels, np.arange(len(labels) * 7).reshape(-1, 7)]).astype(
            np.int32
        ),
    ],
)
def test_labels_of_other_types_and_shapes(tmp_path, convert):
    content = arrays()
    expected = {name: content[name] for name in content if "labels" in name}
    content |= {name: convert(labels) for name, labels in expected.items()}
    train, test = idx_folder(write_folder(tmp_path / "a", content))
    np.testing.assert_array_equal(train.labels, expected["train-labels"])
    np.testing.assert_array_equal(test.labels, expected["t10k-labels"])


def test_qmnists_own_names(tmp_path):
    content = arrays()
    columns = np.arange(1, 22, dtype=np.int32).reshape(3, 7)
    content["t10k-labels"] = np.column_stack([content["t10k-labels"], columns]).astype(np.int32)
    names = {"t10k": "test", "idx1-ubyte": "idx2-int"}

    def rename(name):
        for old, new in names.items():
            name = name.replace(old, new)
        return f"qmnist-{name}.gz"

    _, test = idx_folder(write_folder(tmp_path / "qmnist", content, rename))
    assert test.labels.tolist() == [3, 0, 1]


# ---- EMNIST ----


def test_emnists_files_are_read_upright(tmp_path):
    content = arrays()
    for part in ("train-images", "t10k-images"):
        content[part] = content[part][:, :4]  # 4 by 4
    content["train-labels"] += 1
    content["t10k-labels"] += 1
    folder = write_folder(tmp_path / "a", content, lambda name: f"emnist-letters-{name}.gz")
    found = read_idx_folder(folder)
    upright = content["train-images"].transpose(0, 2, 1)[:, np.newaxis]
    np.testing.assert_array_equal(found.parts["train"].images, upright)
    assert found.notes[0] == "26 classes, with the names of emnist-letters"
    assert "EMNIST" in found.notes[1] and "transposed back" in found.notes[1]
    parts, _ = label_parts(found)
    assert parts["train"].num_classes == 26
    assert parts["train"].class_names[parts["train"].labels[3]] == "D"
    stored = read_idx_folder(folder, ReadOptions(transpose=False))
    np.testing.assert_array_equal(
        stored.parts["train"].images, content["train-images"][:, np.newaxis]
    )
    assert not any("transposed back" in note for note in stored.notes)


def test_other_sideways_images_are_read_upright_where_asked(tmp_path):
    content = arrays()
    folder = write_folder(tmp_path / "a", content)
    found = read_idx_folder(folder, ReadOptions(transpose=True))
    upright = content["train-images"].transpose(0, 2, 1)[:, np.newaxis]
    np.testing.assert_array_equal(found.parts["train"].images, upright)


def test_exchange_of_axes_of_many_images():
    images = np.arange(5000 * 9, dtype=np.uint32).astype(np.uint8).reshape(5000, 1, 3, 3)
    expected = images.transpose(0, 1, 3, 2).copy()
    copied = images.copy()
    copied.flags.writeable = False
    np.testing.assert_array_equal(exchange_axes(copied), expected)
    assert exchange_axes(images) is images
    np.testing.assert_array_equal(images, expected)


def test_letters_under_other_names_are_26_classes_with_a_note(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(52, dtype=np.uint8) % 26 + 1
    images = rng.integers(0, 256, (52, 4, 4), dtype=np.uint8)
    content = {f"{word}-images": images for word in ("train", "t10k")}
    content |= {f"{word}-labels": labels for word in ("train", "t10k")}
    source = open_source(str(write_folder(tmp_path / "a", content)))
    assert source.train.num_classes == 26
    assert source.train.class_names[0] == "1" and source.train.class_names[-1] == "26"
    assert source.notes[0].startswith("26 classes, numbered in the order of their labels: 1, 2,")


# ---- parts of a data set ----


def test_a_test_pair_alone_is_measured(tmp_path):
    content = {name: array for name, array in arrays().items() if "t10k" in name}
    folder = write_folder(tmp_path / "a", content)
    dataset = open_dataset(str(folder))
    np.testing.assert_array_equal(dataset.images, content["t10k-images"][:, np.newaxis])
    with pytest.raises(DatasetError, match="must have training images"):
        open_source(str(folder))


def test_a_training_pair_alone_gives_up_a_test_set(tmp_path):
    content = {name: array for name, array in arrays().items() if "train" in name}
    content = {name: np.concatenate([array] * 3) for name, array in content.items()}
    source = open_source(str(write_folder(tmp_path / "a", content)))
    assert len(source.train) + len(source.test) == 18 and len(source.test) > 0


def test_images_without_labels(tmp_path):
    content = {name: array for name, array in arrays().items() if "images" in name}
    folder = write_folder(tmp_path / "a", content)
    records = open_records(str(folder))
    assert records.labels is None and len(records) == 3
    with pytest.raises(DatasetError, match="must have labels"):
        open_dataset(str(folder))


def test_a_single_file(tmp_path):
    content = arrays()
    folder = write_folder(tmp_path / "a", content)
    records = open_records(str(folder / NAMES["train-images"]))
    np.testing.assert_array_equal(records.images, content["train-images"][:, np.newaxis])
    np.testing.assert_array_equal(records.labels, content["train-labels"])
    (folder / NAMES["train-labels"]).unlink()
    assert open_records(str(folder / NAMES["train-images"])).labels is None
    other = write(folder / "pixels.bin", idx_bytes(content["t10k-images"]))
    assert len(read_idx_file(other).parts["all"]) == 3
    with pytest.raises(DatasetError, match="pass the file of the images"):
        read_idx_file(folder / NAMES["t10k-labels"])


def test_large_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[read_idx_folder.__module__], "MAPPED", 100)
    content = arrays()
    assert_read(write_folder(tmp_path / "digits", content), content)
    train, test = idx_folder(tmp_path / "digits")
    assert isinstance(train.images, MappedImages) and isinstance(test.images, np.ndarray)
    expected = np.asarray(train.images).swapaxes(2, 3)
    content["train-images"] = (content["train-images"] / 255).astype(np.float32)
    content["t10k-images"] = (content["t10k-images"] / 255).astype(np.float32)
    turned = read_idx_folder(
        write_folder(tmp_path / "digits", content), ReadOptions(transpose=True)
    ).parts["train"]
    assert isinstance(turned.images, MappedImages) and turned.images.dtype == np.uint8
    np.testing.assert_array_equal(turned.images, expected)
