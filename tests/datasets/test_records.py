"""Division of records into classes and parts."""

import numpy as np
import pytest

from lenet5c.datasets import Dataset, DatasetError
from lenet5c.datasets.records import Found, Records, choose_part, divide, hold_out, label_parts


def records(labels, ids=None):
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 1, 2, 2), np.uint8
    )
    if labels and isinstance(labels[0], int):
        labels = np.array(labels)
    return Records(images, labels, ids)


@pytest.mark.parametrize(
    "labels, names, positions, noted",
    [
        ([2, 0, 1, 0], ("0", "1", "2"), [2, 0, 1, 0], False),
        ([1, 3, 2], ("1", "2", "3"), [0, 2, 1], True),
        ([5, 0, 7, 5], ("0", "5", "7"), [1, 0, 2, 1], True),
        ([-1, 1], ("-1", "1"), [0, 1], True),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1], False),
        (["10", "9", "2"], ("2", "9", "10"), [2, 1, 0], False),
    ],
)
def test_classes_are_the_labels_that_occur(labels, names, positions, noted):
    parts, notes = label_parts(Found({"all": records(labels)}, "data"))
    assert parts["all"].class_names == names and parts["all"].labels.tolist() == positions
    assert bool(notes) == noted


def test_all_parts_have_the_classes_of_the_training_images():
    found = Found({"train": records([1, 2, 3]), "test": records([3, 3])}, "data")
    parts, _ = label_parts(found)
    assert parts["test"].labels.tolist() == [2, 2] and parts["test"].class_names == ("1", "2", "3")
    for strange in ([4], [0], [1, 9]):
        found = Found({"train": records([1, 2, 3]), "test": records(strange)}, "data")
        with pytest.raises(DatasetError, match="test have the label .* training images"):
            label_parts(found)
        parts, _ = label_parts(found, training=False)
        assert parts["test"].num_classes == len({1, 2, 3, *strange})


def test_named_classes_need_not_all_occur():
    found = Found({"all": records([0, 2])}, "data", class_names=("ant", "bee", "cat"))
    assert label_parts(found)[0]["all"].class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    "part, message",
    [
        (Records(np.zeros((2, 1, 2, 2), np.uint8)), "must have labels"),
        (records([4, 4]), "got only '4'"),
        (Records(np.zeros((5000, 1, 1, 1), np.uint8), np.arange(5000)), "at most 4,096 classes"),
    ],
)
def test_labels_that_cannot_be_trained_on_are_refused(part, message):
    with pytest.raises(DatasetError, match=message):
        divide(Found({"all": part}, "data"))


def test_a_test_set_is_set_aside_of_each_class_where_there_is_none():
    labels = [0] * 12 + [1] * 6
    source = divide(Found({"all": records(labels)}, "data"))
    assert np.bincount(source.train.labels).tolist() == [10, 5]
    assert np.bincount(source.test.labels).tolist() == [2, 1]
    assert source.notes == ("no test set: 3 of 18 images are held out",)
    together = np.concatenate([source.train.images, source.test.images])[:, 0, 0, 0]
    assert sorted(together.tolist()) == list(range(18))
    with pytest.raises(DatasetError, match="must have training images"):
        divide(Found({"test": records(labels)}, "data"))


def test_without_ids_the_test_set_follows_from_the_seed():
    dataset = Dataset(np.zeros((100, 1, 1, 1), np.uint8), np.arange(100) % 10, 10)
    chosen = [hold_out(dataset, 0.2, seed).tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert np.bincount(dataset.labels[chosen[0]]).tolist() == [2] * 10


def test_a_part_to_measure_is_the_one_asked_for_or_all():
    one, other = records([0, 1]), records([1, 0])
    divided = Found({"train": one, "test": other}, "data")
    assert choose_part(divided, "test").parts == {"test": other}
    assert choose_part(Found({"all": one}, "data"), "test").parts == {"all": one}
    assert choose_part(Found({"validation": one}, "data"), "test").parts == {"validation": one}
    with pytest.raises(DatasetError, match="no images for validation, but train and test"):
        choose_part(divided, "validation")
    with pytest.raises(DatasetError, match="no images for test, but train"):
        choose_part(Found({"train": one, "validation": other}, "data"), "test")


def test_ids_and_weights_stay_with_their_images():
    dataset = Dataset(
        np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1),
        np.array([0, 1, 0, 1]),
        2,
        ids=tuple("abcd"),
        sample_weight=np.array([1, 2, 3, 4]),
        targets=np.eye(2)[[0, 1, 0, 1]],
    )
    picked = dataset.take([3, 0])
    assert picked.ids == ("d", "a") and picked.sample_weight.tolist() == [4, 1]
    assert picked.targets.tolist() == [[0, 1], [1, 0]] and picked.describe(0) == "d"
    rest, last = dataset.split_last(1)
    assert rest.ids == ("a", "b", "c") and last.sample_weight.tolist() == [4]
    for part in dataset.split(2, seed=0):
        assert part.sample_weight.tolist() == [1 + image for image in part.images.ravel()]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"ids": ("a",)}, "ids must have length 2"),
        ({"ids": "ab"}, "ids must be a tuple"),
        ({"sample_weight": np.array([1.0, -1])}, "sample_weight must be finite and at least 0"),
        ({"sample_weight": np.zeros(2)}, "not all 0"),
        ({"sample_weight": np.ones(3)}, "sample_weight must be float32 of shape"),
        ({"targets": np.ones((2, 3))}, "targets must be float32 of shape"),
        ({"targets": np.array([[1, np.nan], [0, 1]])}, "targets must be finite"),
    ],
)
def test_fields_that_do_not_fit_the_images_are_refused(fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Dataset(np.zeros((2, 1, 1, 1), np.uint8), np.array([0, 1]), 2, **fields)
