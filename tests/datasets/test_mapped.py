import threading
from itertools import pairwise

import numpy as np
import pytest

from lenet5c._files import digest
from lenet5c.datasets import Dataset, Preparation
from lenet5c.datasets import mapped as module
from lenet5c.datasets.mapped import MappedImages, blocks, count_at_hand
from lenet5c.datasets.pixels import convert_images
from lenet5c.recipes.build import pixel_statistics

IMAGES = np.random.default_rng(0).integers(0, 256, (500, 1, 6, 5), dtype=np.uint8)


@pytest.fixture
def images(tmp_path):
    """Return `IMAGES` in a file, with an offset of 7 bytes."""
    path = tmp_path / "images"
    path.write_bytes(b"7 bytes" + IMAGES.tobytes())
    return MappedImages(path, 7, 500, (1, 6, 5))


INDICES = [
    3,
    -1,
    np.int64(7),
    slice(None),
    slice(10, 20),
    slice(None, None, -3),
    slice(5, 5),
    [4, 499, 0, 4],
    np.array([-1, -500]),
    np.arange(500) % 7 == 0,
    np.random.default_rng(1).permutation(500),
    np.array([], int),
    np.array([0, 499], np.uint16),
]


@pytest.mark.parametrize("index", INDICES, ids=range(len(INDICES)))
def test_an_index_gives_what_it_gives_of_an_array(images, index):
    found = images[index]
    np.testing.assert_array_equal(found, IMAGES[index], strict=True)
    assert found.flags.writeable
    some = images.take(np.arange(499, -1, -1))
    np.testing.assert_array_equal(some[index], IMAGES[::-1][index])


@pytest.mark.parametrize("index", [500, -501, [0, 500], np.array([-501])])
def test_indices_out_of_range_are_refused(images, index):
    with pytest.raises(IndexError, match="index must be"):
        images[index]


@pytest.mark.parametrize("index", [[0.5], [[0]], np.zeros(499, bool), "text", None])
def test_other_indices_are_refused(images, index):
    with pytest.raises(
        IndexError, match="index must be an int, a slice, a mask or a one-dimensional"
    ):
        images[index]


def test_it_is_like_an_array(images):
    assert (len(images), images.shape, images.ndim) == (500, (500, 1, 6, 5), 4)
    assert (images.size, images.dtype) == (IMAGES.size, np.uint8)
    np.testing.assert_array_equal(np.asarray(images), IMAGES)
    np.testing.assert_array_equal(np.array(images, np.float32), IMAGES)
    np.testing.assert_array_equal(list(images), list(IMAGES))
    with pytest.raises(
        ValueError, match="copy must be True or None for images in a file, got False"
    ):
        np.array(images, copy=False)


def test_take_and_apply_read_nothing(images, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(MappedImages, "_read", None)
        some = images.take([9, 3, 3]).take(slice(1, None)).apply(lambda batch: batch[:, :, 1:] // 2)
        some = some.apply(lambda batch: batch.swapaxes(2, 3))
    assert some.shape == (2, 1, 5, 5)
    np.testing.assert_array_equal(some[:], (IMAGES[[3, 3], :, 1:] // 2).swapaxes(2, 3))


def test_values_of_other_types(tmp_path):
    values = (IMAGES[:40, 0] / 255).astype(">f4")
    (tmp_path / "values").write_bytes(values.tobytes())
    stored = MappedImages(tmp_path / "values", 0, 40, (6, 5), ">f4")
    assert stored.dtype == ">f4"
    np.testing.assert_array_equal(stored[3:9], values[3:9])
    found, *_ = convert_images({"images": stored})
    assert isinstance(found["images"], MappedImages) and found["images"].dtype == np.uint8
    np.testing.assert_array_equal(found["images"][:], IMAGES[:40])


@pytest.mark.parametrize("shape", [(40, 4, 4, 3), (40, 3, 4, 4), (40, 48), (40, 16), (40, 5, 4)])
def test_arrangement_is_that_of_an_array(tmp_path, shape):
    # Smooth along the pixels, so that the order of the values of a row shows.
    values = np.cumsum(np.full(shape, 3), axis=1, dtype=np.uint8)
    (tmp_path / "values").write_bytes(values.tobytes())
    found, notes, levels = convert_images(
        {"x": MappedImages(tmp_path / "values", 0, 40, shape[1:])}
    )
    expected, expected_notes, expected_levels = convert_images({"x": values})
    assert levels == expected_levels
    np.testing.assert_array_equal(found["x"][:], expected["x"])
    assert notes == expected_notes


def test_a_changed_file_is_an_error(images):
    with open(images.path, "r+b") as file:
        file.truncate(1000)
    for index in (slice(None), [0, 400]):
        with pytest.raises(OSError, match="it has changed since it was opened") as raised:
            images[index]
        assert raised.value.filename == str(images.path)
    with pytest.raises(
        OSError, match="it has 1,000 bytes, fewer than the 15,007 that its images need"
    ):
        MappedImages(images.path, 7, 500, (1, 6, 5))
    with pytest.raises(FileNotFoundError):
        MappedImages(images.path.with_name("nowhere"), 7, 500, (1, 6, 5))


def test_blocks(images, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 100 * 30)
    for each in (images, IMAGES):
        found = list(blocks(each))
        assert [len(block) for block in found] == [100] * 5
        np.testing.assert_array_equal(np.concatenate(found), IMAGES)
    assert [len(block) for block in blocks(images.take(np.arange(302)))] == [75, 76, 75, 76]
    assert [len(block) for block in blocks(IMAGES[:0])] == [0]
    assert (count_at_hand(images), count_at_hand(IMAGES)) == (100, 500)
    monkeypatch.setattr(module, "_BLOCK", 1)
    assert max(len(block) for block in blocks(images)) == 16
    np.testing.assert_array_equal(np.asarray(images), IMAGES)
    assert digest(blocks(images)) == digest(IMAGES)


def test_images_in_an_order_that_is_known_before(images, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 20 * 30)
    order = np.random.default_rng(2).permutation(500)
    images.expect(order)
    starts = np.cumsum([0, 5, 0, 15, 1, 60, 19, 200])
    for start, end in pairwise(starts):
        found = images[order[start:end]]
        np.testing.assert_array_equal(found, IMAGES[order[start:end]])
        assert found.flags.writeable
        np.testing.assert_array_equal(images[[3, 4]], IMAGES[[3, 4]])  # others in between
        np.testing.assert_array_equal(images[order[:7]], IMAGES[order[:7]])
    images.expect(order[490:])
    np.testing.assert_array_equal(images[order[490:]], IMAGES[order[490:]])
    np.testing.assert_array_equal(images[order[490:]], IMAGES[order[490:]])
    images.expect(order[:0])
    np.testing.assert_array_equal(images[order], IMAGES[order])


def test_an_error_ahead_is_raised_where_the_images_are_wanted(images):
    with open(images.path, "r+b") as file:
        file.truncate(1000)
    images.expect(np.arange(100, 110))
    with pytest.raises(OSError, match="it has changed"):
        images[np.arange(100, 110)]


def test_threads_share_a_file(images):
    faults = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            index = rng.integers(0, 500, 20)
            if not np.array_equal(images[index], IMAGES[index]):
                faults.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_systems_without_pread(images, monkeypatch):
    monkeypatch.setattr(module, "_preadv", module._seek_and_read)
    for index in (slice(None), [0, 499], np.arange(500)[::5]):
        np.testing.assert_array_equal(images[index], IMAGES[index])


# ---- what is made of them ----


@pytest.fixture
def datasets(images):
    labels = np.arange(500) % 3
    return Dataset(images, labels, 3), Dataset(IMAGES, labels, 3)


@pytest.mark.parametrize(
    "part",
    [
        lambda data: data.take([5, 3]),
        lambda data: data.split(100, 1)[0],
        lambda data: data.split(0.1, 1, stratify=True)[1],
        lambda data: data.split_last(30)[0],
        lambda data: data.split_last(30)[1],
        lambda data: data.split(200, 1)[1].split_last(30)[0].take([9]),
    ],
)
def test_parts_of_a_data_set_stay_in_the_file(datasets, part):
    found, expected = map(part, datasets)
    assert isinstance(found.images, MappedImages)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("name", ["default", "resized", "mean-image"])
def test_preparation(datasets, name):
    found, expected = datasets
    prepare = Preparation.named(name, found.images)
    same = Preparation.named(name, expected.images)
    assert prepare.to_dict() == same.to_dict()
    assert np.array_equal(prepare.offset(1), same.offset(1))
    fitted = prepare.fit_images(found.images)
    assert isinstance(fitted, MappedImages) and fitted.shape == (500, 1, *prepare.size)
    np.testing.assert_array_equal(fitted, same.fit_images(expected.images))
    index = np.array([4, 499, 7])
    np.testing.assert_array_equal(
        prepare.samples(found.images, index).values(), same.samples(IMAGES, index).values()
    )
    np.testing.assert_array_equal(prepare(found.images), same(IMAGES))


def test_images_that_cannot_be_padded_are_refused_unread(images):
    with pytest.raises(ValueError, match="at most 4 by 4 pixels to be padded, got 6 by 5"):
        Preparation(size=(4, 4)).fit_images(images)


def test_pixel_statistics(images):
    assert pixel_statistics(images) == pixel_statistics(IMAGES)


def test_others_in_memory_follow_those_in_the_file(images):
    others = IMAGES[5:8] // 2
    joined = images.join(others)
    expected = np.concatenate([images[:], others])
    assert isinstance(joined, MappedImages) and joined.shape == expected.shape
    np.testing.assert_array_equal(joined[:], expected)
    np.testing.assert_array_equal(np.asarray(joined), expected)
    index = np.array([0, len(images) + 2, 3, len(images), 3])
    np.testing.assert_array_equal(joined[index], expected[index])
    np.testing.assert_array_equal(joined.take(index)[:], expected[index])
    np.testing.assert_array_equal(joined.take(index).join(others)[-4:], expected[[3, -3, -2, -1]])
    np.testing.assert_array_equal(joined.apply(lambda batch: 255 - batch)[:], 255 - expected)
    joined.expect(index)
    np.testing.assert_array_equal(joined[index[:2]], expected[index[:2]])
    np.testing.assert_array_equal(joined[index[2:]], expected[index[2:]])
    np.testing.assert_array_equal(images.take([2, 1]).join(others)[:2], expected[[2, 1]])
