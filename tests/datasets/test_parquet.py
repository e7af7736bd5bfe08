"""Parquet files: layouts of images, and damaged files."""

import numpy as np
import pytest
from data_files import encode_png, make_digits, write_parquet

from lenet5c.datasets import DatasetError, ReadOptions, open_source
from lenet5c.datasets.source import find

pyarrow = pytest.importorskip("pyarrow")

IMAGES, LABELS = make_digits()
ROWS = IMAGES.reshape(40, -1)
KIND = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def make_pictures(images=IMAGES):
    pytest.importorskip("PIL.Image")
    return [encode_png(image) for image in images]


def wrap(pictures):
    return pyarrow.array([{"bytes": each, "path": None} for each in pictures], KIND)


def check(path, labels=None, **options):
    found = find(str(path), ReadOptions(**options))
    first = next(iter(found.parts.values()))
    assert np.array_equal(first.images[:, 0], IMAGES) and first.images.dtype == np.uint8
    assert list(first.labels) == (LABELS.tolist() if labels is None else labels)
    return found


def test_a_data_set_of_a_hub(tmp_path):
    columns = {"image": wrap(make_pictures()), "label": LABELS}
    names = ["zero", "one", "two", "three"]
    for part, number in (("train", 0), ("train", 1), ("test", 0)):
        path = tmp_path / "mnist" / f"{part}-0000{number}-of-00002.parquet"
        write_parquet(path, columns, names)
    (tmp_path / "README.md").write_text("?")
    for place in (tmp_path, tmp_path / "mnist"):
        found = find(str(place))
        assert [len(records) for records in found.parts.values()] == [80, 40]
        assert np.array_equal(found.parts["train"].images[40:, 0], IMAGES)
        assert found.class_names == tuple(names) and found.reading == "ink"
    assert open_source(str(tmp_path)).test.class_names == tuple(names)


def test_forms_of_images(tmp_path):
    pixels = {f"pixel{i}": ROWS[:, i] for i in range(64)}
    for name, columns in (
        ("bytes", {"picture": make_pictures(), "kind": LABELS}),
        ("pixels", {"label": LABELS} | pixels),
        ("floats", {"label": LABELS} | {name: row / 255 for name, row in pixels.items()}),
        ("list", {"image": ROWS.tolist(), "label": LABELS}),
        ("nested", {"image": IMAGES.tolist(), "label": LABELS}),
        (
            "fixed",
            {"image": pyarrow.FixedSizeListArray.from_arrays(ROWS.ravel(), 64), "label": LABELS},
        ),
    ):
        check(write_parquet(tmp_path / f"{name}.parquet", columns))
    path = write_parquet(
        tmp_path / "colors.parquet",
        {"img": make_pictures(np.repeat(IMAGES[..., None], 3, 3)), "y": LABELS},
    )
    check(path)  # without colors they become gray
    text = [f"d{label}" for label in LABELS]
    dictionary = pyarrow.array(text).dictionary_encode()
    check(
        write_parquet(tmp_path / "a.parquet", {"image": ROWS.tolist(), "digit": dictionary}), text
    )


def test_columns_that_are_named(tmp_path):
    columns = {
        "id": [f"a{i}" for i in range(40)],
        "image": ROWS.tolist(),
        "label": LABELS,
        "fold": LABELS % 2,
    }
    path = write_parquet(tmp_path / "a.parquet", columns)
    found = check(path)
    assert found.parts["all"].ids[:2] == ["a0", "a1"]
    check(path, (LABELS % 2).tolist(), label_column="fold")
    check(path, (LABELS % 2).tolist(), label_column="-1")
    with pytest.raises(DatasetError, match="label_column must be a column of .*id, image, label"):
        check(path, label_column="digit")


def test_images_without_labels(tmp_path):
    write_parquet(tmp_path / "train.parquet", {"image": ROWS.tolist(), "digit": LABELS})
    write_parquet(tmp_path / "test.parquet", {"image": ROWS.tolist()})
    for options in (ReadOptions(), ReadOptions(label_column="digit")):
        assert find(str(tmp_path), options).parts["test"].labels is None
    assert len(open_source(str(tmp_path)).train) < 40


def test_pictures_that_cannot_be_read(tmp_path):
    pictures = make_pictures()
    pictures[3], pictures[5] = b"no picture", None
    columns = {"image": wrap(pictures), "label": LABELS, "id": np.arange(40)}
    path = write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(DatasetError, match="2 images that cannot be read .row 3 must be a picture"):
        find(str(path))
    records = find(str(path), ReadOptions(skip_bad=True)).parts["all"]
    left = [i for i in range(40) if i not in (3, 5)]
    assert np.array_equal(records.images[:, 0], IMAGES[left])
    assert records.labels.tolist() == LABELS[left].tolist()
    assert records.ids == list(map(str, left))
    path = write_parquet(tmp_path / "b.parquet", {"image": [b"?"] * 3, "label": [0, 1, 0]})
    with pytest.raises(DatasetError, match="no image can be read"):
        find(str(path), ReadOptions(skip_bad=True))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 2], "b": ["x", "y"]}, "must have a column of images, as picture files or lists"),
        ({"image": pyarrow.array([{"bytes": None, "path": "a.png"}], KIND)}, "only their names"),
        ({"image": [[1, 2, 3], [1, 2]]}, "lists of equal length, got 2, 3"),
        ({"image": [[1] * 16, None]}, "got 16 and rows without one"),
        ({"image": [[1, None] * 8, [1] * 16], "label": [0, 1]}, "finite numbers, got nan"),
        ({"image": [[1] * 16] * 2, "label": [0, None]}, "got none in row 1"),
        ({"image": [[1] * 16] * 2, "label": [0, 0.5]}, "must be integers, got 0.5"),
        ({"image": [[1] * 17] * 2, "label": [0, 1]}, "a square number of values"),
        ({"image": pyarrow.array([], pyarrow.binary())}, "must have rows"),
        ({f"p{i}": [1.0, float("nan")] for i in range(16)} | {"y": [0, 1]}, "got nan in image 1"),
        ({f"p{i}": ["a", "b"] for i in range(16)} | {"y": [0, 1]}, "must be an array of numbers"),
    ],
)
def test_faults_are_named_in_one_line(columns, message, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(DatasetError) as caught:
        find(str(path))
    text = str(caught.value)
    assert message in text and str(path) in text and text.isprintable()


def test_damaged_files(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", {"image": ROWS.tolist(), "label": LABELS})
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(4, len(content), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(content) - 2000, len(content) + 1)])
        try:
            open_source(str(path))
        except DatasetError as error:
            assert str(error).isprintable()
    path.write_bytes(content)
    monkeypatch.setattr("lenet5c.datasets.parquet.MEMORY", 100)
    with pytest.raises(DatasetError, match="at most 100 bytes of pixels"):
        find(str(path))
    monkeypatch.setattr("lenet5c.datasets.parquet.MAX_GROUP", 100)
    with pytest.raises(DatasetError, match="row groups of at most 100 bytes"):
        find(str(path))


@pytest.mark.parametrize("labeled", [False, True])
@pytest.mark.parametrize("form", ["pictures", "list"])
def test_soft_targets(form, labeled, tmp_path):
    soft = np.where(np.eye(4, dtype=bool)[LABELS], 0.7, 0.1).astype(np.float32)
    images = wrap(make_pictures()) if form == "pictures" else ROWS.tolist()
    columns = {"targets" if labeled else "label": soft.tolist(), "image": images}
    columns |= {"label": LABELS} if labeled else {}
    path = write_parquet(tmp_path / "train.parquet", columns)
    (records,) = check(path).parts.values()
    assert np.array_equal(records.targets, soft)
    assert open_source(str(path)).train.targets.shape[1] == 4
