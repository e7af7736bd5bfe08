import dataclasses

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c.datasets import Dataset


def make(count=50, num_classes=5):
    """Return a data set whose pixels number its images."""
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1).repeat(4, axis=3)
    labels = np.random.default_rng(3).integers(0, num_classes, count)
    return Dataset(images, labels, num_classes, "numbered")


def ids(data):
    return data.images[:, 0, 0, 0].tolist()


def test_fields():
    data = make()
    assert len(data) == 50
    assert data.labels.dtype == np.int32
    assert data.class_names == ("0", "1", "2", "3", "4")
    assert repr(data) == "<Dataset 'numbered': 50 images of shape (1, 1, 4), 5 classes>"
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"


def test_keeps_contiguous_arrays_and_copies_others():
    images = np.zeros((4, 1, 3, 3), np.uint8)
    labels = np.zeros(4, np.int32)
    data = Dataset(images, labels, 2)
    assert data.images is images and data.labels is labels
    strided = Dataset(images[::2, :, ::-1], labels[::2], 2)
    assert strided.images.flags.c_contiguous and strided.labels.flags.c_contiguous


def test_read_only_arrays_will_do():
    images, labels = np.zeros((4, 1, 3, 3), np.uint8), np.zeros(4, np.int64)
    images.flags.writeable = labels.flags.writeable = False
    assert len(Dataset(images, labels, 2).split(1, seed=0)[0]) == 3


IMAGES = np.zeros((3, 1, 2, 2), np.uint8)
LABELS = np.array([0, 1, 2])


@in_one_test
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": [[1]]}, TypeError, "images must be a NumPy array, got list"),
        ({"images": IMAGES / 255}, ValueError, "images must be uint8 .*, got float64"),
        ({"images": IMAGES[:, 0]}, ValueError, r"images .*got \(3, 2, 2\); add the channel axis"),
        ({"images": IMAGES[0, 0]}, ValueError, r"images .*got \(2, 2\)"),
        ({"images": IMAGES[:0]}, ValueError, "images .*nonempty shape"),
        ({"images": IMAGES[:, :0]}, ValueError, "images .*nonempty shape"),
        ({"labels": [0, 1, 2]}, TypeError, "labels must be a NumPy array, got list"),
        ({"labels": LABELS * 1.0}, ValueError, "labels must be integers, got float64"),
        ({"labels": LABELS > 0}, ValueError, "labels must be integers, got bool"),
        ({"labels": LABELS[:2]}, ValueError, r"labels must have shape \(3,\).*got \(2,\)"),
        ({"labels": LABELS[:, None]}, ValueError, r"labels must have shape .*got \(3, 1\)"),
        ({"labels": LABELS - 1}, ValueError, "labels must be from 0 to num_classes - 1, 2, got -1"),
        ({"labels": LABELS + 1}, ValueError, "labels must be from 0 to num_classes - 1, 2, got 3"),
        ({"labels": LABELS.astype(np.uint64) + 2**63}, ValueError, "labels must be from"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"num_classes": 3.0}, TypeError, "num_classes must be an int, got 3.0"),
        ({"num_classes": True}, TypeError, "num_classes must be an int, got True"),
        ({"name": None}, TypeError, "name must be a str, got None"),
        ({"class_names": ("a", "b")}, ValueError, "class_names must have 3 names, got 2"),
        ({"class_names": (1, 2, 3)}, TypeError, "class_names must be a tuple of str"),
        ({"class_names": "abc"}, TypeError, "class_names must be a tuple of str"),
    ],
)
def test_errors_name_the_argument(changes, error, message):
    with pytest.raises(error, match=message):
        Dataset(**{"images": IMAGES, "labels": LABELS, "num_classes": 3, **changes})


def test_take():
    data = make()
    taken = data.take([4, 2, 2])
    assert ids(taken) == [4, 2, 2]
    assert taken.labels.tolist() == data.labels[[4, 2, 2]].tolist()
    assert (taken.name, taken.num_classes, taken.class_names) == ("numbered", 5, data.class_names)
    assert not np.shares_memory(taken.images, data.images)
    assert ids(data.take(range(3))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        ([], ValueError),
        (3, ValueError),
        ([[1]], ValueError),
        ([1.0], ValueError),
        ([True] * 50, ValueError),
        ([50], IndexError),
        ([-1], IndexError),
    ],
)
def test_take_refuses(indices, error):
    with pytest.raises(error, match="indices must"):
        make().take(indices)


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(
    ("size", "count"), [(1, 1), (49, 49), (0.2, 10), (0.5, 25), (np.int64(7), 7), (0.03, 2)]
)
def test_split_is_a_partition(size, count, stratify):
    data = make()
    rest, held_out = data.split(size, 11, stratify=stratify)
    assert len(held_out) == count
    assert sorted(ids(rest) + ids(held_out)) == list(range(50))
    for part in (rest, held_out):
        assert ids(part) == sorted(ids(part))
        assert part.labels.tolist() == data.labels[ids(part)].tolist()


def test_split_is_seeded():
    data = make()
    first, again, other = (ids(data.split(20, seed)[1]) for seed in (5, 5, 6))
    assert first == again != other
    assert ids(data.split(20, np.random.default_rng(5))[1]) == first


def test_split_is_the_same_everywhere():
    data = Dataset(make(20).images, np.arange(20) % 3, 3)
    assert ids(data.split(5, seed=0)[1]) == [2, 3, 11, 13, 15]
    assert ids(data.split(5, seed=0, stratify=True)[1]) == [1, 3, 11, 13, 15]


@pytest.mark.parametrize("count", [1, 10, 17, 333, 999])
def test_stratified_shares_are_within_one(count):
    labels = np.repeat([0, 1, 3], [700, 250, 50])
    data = Dataset(np.zeros((1000, 1, 1, 1), np.uint8), labels, 4)
    _, held_out = data.split(count, seed=2, stratify=True)
    got = np.bincount(held_out.labels, minlength=4)
    assert got.sum() == count
    assert np.all(np.abs(got - count * np.bincount(labels) / 1000) < 1)


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (0, ValueError),
        (50, ValueError),
        (-1, ValueError),
        (0.0, ValueError),
        (1.0, ValueError),
        (0.001, ValueError),
        (float("nan"), ValueError),
        (True, TypeError),
        ("10", TypeError),
        (None, TypeError),
    ],
)
def test_split_refuses_sizes(size, error):
    with pytest.raises(error, match="count_or_fraction must"):
        make().split(size, seed=0)


def test_split_needs_a_seed():
    with pytest.raises(TypeError, match="seed must be"):
        make().split(5, None)


def test_split_last_takes_views():
    data = make()
    rest, last = data.split_last(10)
    assert ids(rest) == list(range(40)) and ids(last) == list(range(40, 50))
    assert last.labels.tolist() == data.labels[40:].tolist()
    assert np.shares_memory(rest.images, data.images) and np.shares_memory(last.images, data.images)


@pytest.mark.parametrize(("count", "error"), [(0, ValueError), (50, ValueError), (0.2, TypeError)])
def test_split_last_refuses(count, error):
    with pytest.raises(error, match="count must"):
        make().split_last(count)
