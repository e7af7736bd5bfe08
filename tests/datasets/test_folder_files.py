"""Parts and classes found by the names of folders."""

import pytest
from pictures_on_disk import write_pictures

from lenet5c.datasets import image_folder, open_source
from lenet5c.datasets.folder_files import list_folder
from lenet5c.datasets.inspection import inspect
from lenet5c.datasets.parts import find_folder_part
from lenet5c.datasets.source import open_dataset, open_records

pytest.importorskip("PIL.Image")


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("train", ["train", "Training", "TRAIN", "training_set", "training-images", "train2017"]),
        (
            "train",
            ["Training Data", "TrainingData", "trainset", "1_train", "train.dir", "the train"],
        ),
        ("validation", ["val", "valid", "validation", "val_images", "dev", "validSet", "Val Data"]),
        ("test", ["test", "testing", "test1", "TestSet", "test-images", "Test images", "eval"]),
        (None, ["trainer", "contest", "latest", "validity", "train and test", "cat", "3", "data"]),
    ],
)
def test_words_that_mean_a_part(part, names):
    assert [find_folder_part(name) for name in names] == [part and (part, "")] * len(names)


def make(root, counts):
    for i, (name, number) in enumerate(counts.items()):
        write_pictures(root / name, number, (4, 4), seed=i)
    return root


def of_each(*parts, classes=("cat", "dog"), number=3):
    return {f"{part}/{name}": number for part in parts for name in classes}


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        (of_each("training-images", "test-images"), {"train": [3, 3], "test": [3, 3]}),
        (of_each("training_set", "test_set"), {"train": [3, 3], "test": [3, 3]}),
        (
            of_each("Train", "valid", "testing"),
            {"train": [3, 3], "validation": [3, 3], "test": [3, 3]},
        ),
        (of_each("Training Data", "Test Data"), {"train": [3, 3], "test": [3, 3]}),
        (of_each("pets_train", "pets_test"), {"train": [3, 3], "test": [3, 3]}),
        (of_each("toy train", "toy car"), {"all": [6, 6]}),
        (of_each("data/set/train", "data/set/test"), {"train": [3, 3], "test": [3, 3]}),
        (of_each("seg_train/seg_train", "seg_test/seg_test"), {"train": [3, 3], "test": [3, 3]}),
        ({**of_each("train/train"), "test/test": 2}, {"train": [3, 3], "test": [2]}),
        ({"pets/cat": 3, "pets/dog": 2}, {"all": [3, 2]}),
        (
            {"cat/train": 3, "cat/test": 1, "dog/train": 2, "dog/Test": 2},
            {"train": [3, 2], "test": [1, 2]},
        ),
        ({"cat/train": 3, "cat/test": 1}, {"train": [3], "test": [1]}),
        (of_each("test"), {"test": [3, 3]}),
        (of_each("val"), {"validation": [3, 3]}),
        ({"train": 2, "car": 2, "test": 2}, {"all": [2, 2, 2]}),
        ({"": 4}, {"all": [4]}),
        ({"train": 3, "test": 2}, {"train": [3], "test": [2]}),
        ({"test1": 2}, {"test": [2]}),
        ({"cat/left": 1, "cat/right": 2, "dog/left": 1}, {"all": [3, 1]}),
    ],
)
def test_layouts(counts, parts, tmp_path):
    files = list_folder(make(tmp_path / "root", counts))
    assert {part: list(map(len, classes)) for part, classes in files.parts.items()} == parts
    assert files.errors == []


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        (of_each("data/set/train", "data/set/test"), "the data is in the folder data/set"),
        ({"cat/train": 2, "cat/test": 2, "dog/train": 2}, "each class has its own train and test"),
    ],
)
def test_what_is_not_plain_is_noted(counts, note, tmp_path):
    assert note in image_folder(make(tmp_path, counts)).notes


def test_classes_with_the_same_folders_may_be_parts(tmp_path):
    source = open_source(str(make(tmp_path, of_each("one", "two", "three"))))
    assert source.train.class_names == ("one", "three", "two")
    assert "the classes one, three, two contain the same folders (cat, dog)" in source.notes[0]


@pytest.mark.parametrize(
    ("counts", "number", "names"),
    [
        (of_each("test"), 6, ("cat", "dog")),
        (of_each("train", "test", number=4), 8, ("cat", "dog")),
        ({"cat": 9, "dog": 7}, 16, ("cat", "dog")),
        ({"cat": 5}, 5, ("cat",)),
    ],
)
def test_a_model_is_measured_on_all_that_is_there(counts, number, names, tmp_path):
    dataset = open_dataset(str(make(tmp_path, counts)))
    assert len(dataset) == number and dataset.class_names == names


def test_test_images_without_classes_are_for_predict(tmp_path):
    """As in competitions: folders of classes for training, and a flat folder."""
    make(tmp_path, {**of_each("train", number=6), "test": 4, "bird": 1})
    source = open_source(str(tmp_path))
    assert (len(source.train), len(source.test)) == (10, 2)
    assert "the test images have no labels; use them with lenet5c predict --data" in source.notes
    assert "not read, in addition to train: bird" in source.notes
    records = open_records(str(tmp_path))
    assert records.labels is None and records.ids == tuple(f"test/{i}.png" for i in range(4))
    inspection = inspect(str(tmp_path))
    assert inspection.counts == {"train": [6, 6]} and inspection.faults == []
    assert "4 images in test without labels, for prediction" in inspection.notes


def test_an_empty_class_of_the_test_set_alone_is_none(tmp_path):
    make(tmp_path, {"train/cat": 3, "test/cat": 2})
    (tmp_path / "test" / "dog").mkdir()
    files = list_folder(tmp_path)
    assert files.class_names == ("cat",) and "got only 'cat'" in files.faults[0]
