"""Text tables: separators, column names, labels and ids, and errors in files."""

import gzip
import os

import numpy as np
import pytest
from data_files import make_digits, make_table, name_pixels, write

from lenet5c.datasets import DatasetError, ReadOptions, open_source
from lenet5c.datasets.columns import find_columns
from lenet5c.datasets.source import find

IMAGES, LABELS = make_digits()
COUNT = IMAGES[0].size
NAMED = make_table(IMAGES, LABELS, name_pixels(COUNT))


def read(path, **options):
    """Return the only part of a table: images (N, H, W), labels as a list, and the rest."""
    found = find(str(path), ReadOptions(**options))
    (records,) = found.parts.values()
    labels = None if records.labels is None else list(records.labels)
    return np.asarray(records.images)[:, 0], labels, records.ids, found


def check(path, **options):
    images, labels, _, found = read(path, **options)
    assert images.dtype == np.uint8 and np.array_equal(images, IMAGES)
    assert labels == LABELS.tolist() and found.reading == "ink"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.csv", NAMED),
        ("plain.csv", make_table(IMAGES, LABELS)),
        ("last.csv", make_table(IMAGES, LABELS, last=True)),
        ("semicolons.csv", make_table(IMAGES, LABELS, separator=";")),
        ("bars.csv", make_table(IMAGES, LABELS, separator="|")),
        ("tabs.tsv.gz", make_table(IMAGES, LABELS, separator="\t")),
        ("names.csv.gz", NAMED),
        ("spaces.txt", make_table(IMAGES, LABELS, separator="  ")),
        ("windows.csv", make_table(IMAGES, LABELS, end="\r\n")),
        ("excel.csv", "\ufeff" + NAMED),
        ("optdigits.tra", make_table(IMAGES, LABELS, last=True)),
        ("blank-lines.csv", "\n\n" + NAMED.replace("\n", "\n\n") + "\n"),
        ("no-end.csv", NAMED.rstrip("\n")),
        ("numbers.csv", make_table(IMAGES, LABELS, ["label", *map(str, range(COUNT))])),
        ("all-numbers.csv", make_table(IMAGES, LABELS, map(str, range(COUNT + 1)))),
        ("pandas.csv", make_table(IMAGES, LABELS, ["0", *(f"0.{i + 1}" for i in range(COUNT))])),
        ("sides.csv", make_table(IMAGES, LABELS, ["y", *(f"{i}x{i}" for i in range(COUNT))])),
        ("own-name.csv", make_table(IMAGES, LABELS, name_pixels(COUNT, ["kind of digit"]))),
        ("float-labels.csv", make_table(IMAGES, LABELS.astype(float))),
        ("spaced.csv", NAMED.replace(",", ", ")),
        ("quoted.csv", "\n".join(f'"{line}"' for line in NAMED.replace(",", '","').split("\n"))),
    ],
)
def test_forms(name, content, tmp_path):
    if name == "quoted.csv":
        content = content.replace('\n""', "\n")
    check(write(tmp_path / name, content))


def test_labels_that_are_named(tmp_path):
    names = name_pixels(COUNT, ["digit", "parity"])
    rows = [
        f"{label},{label % 2},{row}" for label, row in zip(LABELS, rows_of(IMAGES), strict=True)
    ]
    path = write(tmp_path / "a.csv", "\n".join([",".join(names), *rows]))
    check(path)
    check(path, label_column="digit")
    check(path, label_column="Digit")
    check(path, label_column="0")
    assert read(path, label_column="parity")[1] == (LABELS % 2).tolist()
    assert read(path, label_column="1")[1] == (LABELS % 2).tolist()
    assert read(path)[3].notes == ("1 column not read: parity",)
    path = write(tmp_path / "b.csv", make_table(IMAGES, LABELS, last=True))
    check(path, label_column="-1")
    with pytest.raises(DatasetError, match=r"a position from 0 to 64, got 'digit'"):
        read(path, label_column="digit")


def rows_of(images):
    return make_table(images).splitlines()


def test_ids_and_indices(tmp_path):
    names = name_pixels(COUNT, ["ImageId", "label"])
    rows = [f"a{i},{LABELS[i]},{row}" for i, row in enumerate(rows_of(IMAGES))]
    path = write(tmp_path / "a.csv", "\n".join([",".join(names), *rows]))
    assert read(path)[2][:3] == ["a0", "a1", "a2"]
    check(path)
    check(write(tmp_path / "b.csv", "\n".join(rows)))
    counted = [f"{i},{LABELS[i]},{row}" for i, row in enumerate(rows_of(IMAGES))]
    path = write(tmp_path / "c.csv", "\n".join([",".join(["", *names[1:]]), *counted]))
    assert read(path)[2][:3] == ["0", "1", "2"]
    path = write(
        tmp_path / "d.csv", "\n".join(f"{i},{row}" for i, row in enumerate(rows_of(IMAGES)))
    )
    images, labels, _, _ = read(path)  # as labels, unless the heading says that they are ids
    assert np.array_equal(images, IMAGES) and labels == list(range(40))


def test_labels_that_are_texts(tmp_path):
    texts = [f"letter {'ABCD'[label]}" for label in LABELS]
    path = write(tmp_path / "a.csv", make_table(IMAGES, texts))
    source = open_source(str(path))
    assert source.train.class_names == ("letter A", "letter B", "letter C", "letter D")
    path = write(tmp_path / "b.csv", make_table(IMAGES, np.where(LABELS == 3, 9, LABELS)))
    source = open_source(str(path))
    assert source.train.class_names == ("0", "1", "2", "9")
    assert source.notes[0] == "4 classes, numbered in the order of their labels: 0, 1, 2, 9"


def test_floats_and_other_depths(tmp_path):
    for name, values in (
        ("one.csv", np.round(IMAGES / 255, 6)),
        ("float.csv", IMAGES.astype(float)),
        ("signed.csv", np.round(IMAGES / 127.5 - 1, 6)),
        ("deep.csv", IMAGES.astype(int) * 257),
    ):
        check(write(tmp_path / name, make_table(values, LABELS)))
    text = make_table(np.round(IMAGES / 255, 6), LABELS, separator=";").replace(".", ",")
    check(write(tmp_path / "comma.csv", text))
    sixteen = IMAGES // 16
    images = read(write(tmp_path / "dim.csv", make_table(sixteen, LABELS)))[0]
    assert np.array_equal(images, np.rint(sixteen * (255 / 16)))


def test_blocks_of_a_large_table(tmp_path, monkeypatch):
    monkeypatch.setattr("lenet5c.datasets.text_lines.BLOCK", 700)
    monkeypatch.setattr("lenet5c.datasets.tables.BLOCK", 700)
    monkeypatch.setattr("lenet5c.datasets.tables._SAMPLE", 5)
    check(write(tmp_path / "a.csv", NAMED))
    # Blocks of bytes beside blocks of other numbers.
    lines = NAMED.splitlines()
    lines[30] = lines[30].replace(",0,", ",0.0,", 1)
    check(write(tmp_path / "b.csv", "\r\n".join(lines)))
    lines[31] += ",1"
    path = write(tmp_path / "c.csv", "\n".join(lines))
    with pytest.raises(DatasetError, match="65 values in each row, got 66 in line 32;"):
        read(path)


def test_images_that_are_no_squares(tmp_path):
    wide = IMAGES[:, 1:6]
    path = write(tmp_path / "a.csv", make_table(wide, LABELS))
    images, labels, _, _ = read(path, image_shape="5x8")
    assert np.array_equal(images, wide) and labels == LABELS.tolist()
    with pytest.raises(DatasetError, match="image_shape"):
        read(path)
    with pytest.raises(DatasetError, match=r"must be HxW or CxHxW, such as 28x20, got '6,8'"):
        read(path, image_shape="6,8")


def test_colors_in_either_order(tmp_path):
    slope = np.arange(16) * 8
    gray = slope[:, None] + slope[None]
    images = np.stack([gray // 4 + 50 * i + np.array([[[0]], [[40]], [[90]]]) for i in range(2)])
    for name, rows, order in (
        ("planes.csv", images, "3 x 16 x 16, channels first"),
        ("pixels.csv", images.transpose(0, 2, 3, 1), "16 x 16 x 3, channels last"),
    ):
        found = find(str(write(tmp_path / name, make_table(rows, [0, 1]))))
        assert np.array_equal(found.parts["all"].images, images) and found.reading == "whole"
        assert found.notes == (f"768 values are read as {order}",)
    shape = ReadOptions(image_shape="3x16x16")
    found = find(str(tmp_path / "pixels.csv"), shape)
    assert not np.array_equal(found.parts["all"].images, images) and found.notes == ()


def test_a_competition(tmp_path):
    write(tmp_path / "train.csv", NAMED)
    write(tmp_path / "test.csv", make_table(IMAGES[:8], header=name_pixels(COUNT, [])))
    write(tmp_path / "sample_submission.csv", "ImageId,Label\n1,0\n")
    for options in (ReadOptions(), ReadOptions(label_column="label")):
        found = find(str(tmp_path), options)
        assert found.parts["test"].labels is None and len(found.parts["test"]) == 8
        assert found.notes == ("not read, in addition to train and test: sample_submission.csv",)
    source = open_source(str(tmp_path))
    assert len(source.train) + len(source.test) == 40
    assert "the test images have no labels; use them with lenet5c predict --data" in source.notes
    write(tmp_path / "test.csv", make_table(IMAGES[:8], LABELS[:8]))
    assert len(open_source(str(tmp_path)).test) == 8


def test_emnist_is_stood_upright(tmp_path):
    sideways = IMAGES.swapaxes(1, 2)
    path = write(tmp_path / "emnist-letters-train.csv", make_table(sideways, LABELS + 1))
    images, labels, _, found = read(path)
    assert np.array_equal(images, IMAGES) and labels == LABELS.tolist()
    assert found.class_names[:2] == ("A", "B") and "transposed back" in found.notes[0]
    assert np.array_equal(read(path, transpose=False)[0], sideways)
    path = write(tmp_path / "other.csv", make_table(sideways, LABELS))
    check(path, transpose=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "an empty file"),
        ("\n" * 99, "an empty file"),
        (NAMED.splitlines()[0], "only a header"),
        (bytes(999), "binary data"),
        (NAMED.encode("utf-16"), "save it as CSV UTF-8"),
        (NAMED + "1,2,3\n", "must have 65 values in each row, got 3 in line 42; repair"),
        (NAMED + NAMED, "got 'pixel0' in line 42, column 1 (pixel0);"),
        (NAMED + "0," + ",".join(["nan"] * COUNT), "got 'nan' in line 42, column 1 (pixel0)"),
        (NAMED + "0," + ",".join(["9" * 60] * COUNT), "finite numbers as pixels"),
        (NAMED.replace(",0,", ",,", 1), "got '' in line 2, column 1 (pixel0)"),
        (make_table(IMAGES, ["", *LABELS[1:]]), "got none in row 1 of the data"),
        (
            make_table(IMAGES, LABELS / 3, name_pixels(COUNT)),
            "integers or names as labels, got 0.3",
        ),
        ("a,b,label\n1,2,x\n", "with a column for each pixel, got 3 columns (a, b, label)"),
        ("file,label\ncat/1.png,cat\n", "sort its files into a folder for each class"),
        (make_table(IMAGES[:, 1:]), "got 56 columns, of which 56 may be pixels"),
        ("1," * 9_000_000, "lines of at most 16,777,216 bytes"),
        (gzip.compress(NAMED.encode(), mtime=0)[:-200], "the gzip data is damaged"),
    ],
)
def test_faults_are_named_in_one_line(content, message, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DatasetError) as caught:
        read(path)
    text = str(caught.value)
    assert message in text and str(path) in text and text.isprintable()


def test_names_of_columns_are_printable(tmp_path):
    names = name_pixels(COUNT, ["la\x1b[31mbel", "label"], "pi\x07xel")
    rows = [f"x,{label},{row}" for label, row in zip(LABELS, rows_of(IMAGES), strict=True)]
    path = write(tmp_path / "a.csv", "\n".join([",".join(names), *rows]))
    with pytest.raises(DatasetError) as caught:
        read(path)
    assert str(caught.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DatasetError, match="regular file"):
        find(str(tmp_path / "a.csv"))


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lenet5c.datasets.archives.SMALL", 1000)
    monkeypatch.setattr("lenet5c.datasets.archives.MAX_RATIO", 2)
    with pytest.raises(DatasetError, match="must unpack to at most"):
        read(write(tmp_path / "a.csv.gz", NAMED))
    monkeypatch.setattr("lenet5c.datasets.tables.MAX_PIXELS", 1000)
    with pytest.raises(DatasetError, match="at most 1,000 bytes of pixels"):
        read(write(tmp_path / "a.csv", NAMED))


def test_columns_of_numbers_that_may_be_labels():
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (500, COUNT))
    labels = rng.integers(0, 10, 500)
    for last in (False, True):
        rows = [line.split(",") for line in make_table(photos, labels, last=last).splitlines()]
        assert find_columns("a", None, rows, ReadOptions()).label == (COUNT if last else 0)
    # Sorted by class; and with a corner that is not always blank.
    blank = photos * (rng.random(photos.shape) < 0.02)
    for values, numbers in ((photos, np.zeros(500, int)), (blank, labels)):
        rows = [line.split(",") for line in make_table(values, numbers).splitlines()]
        assert find_columns("a", None, rows, ReadOptions()).label == 0


def test_carriage_returns_alone_end_lines(tmp_path):
    check(write(tmp_path / "mac.csv", NAMED.replace("\n", "\r")))
    check(write(tmp_path / "no-end.csv", NAMED.replace("\n", "\r").rstrip()))


PIXELS = [" ".join(map(str, image.ravel().tolist())) for image in IMAGES]


@pytest.mark.parametrize("form", ["plain", "quoted", "list", "spaced", "tabs", "no names"])
def test_pixels_in_one_column(form, tmp_path):
    """As in FER2013."""
    texts = {
        "quoted": [f'"{each}"' for each in PIXELS],
        "list": [f'"[{each.replace(" ", ", ")}]"' for each in PIXELS],
        "spaced": [f"{each.replace(' ', '  ')} " for each in PIXELS],
    }.get(form, PIXELS)
    lines = [] if form == "no names" else ["emotion,pixels"]
    lines += [f"{label},{text}" for label, text in zip(LABELS, texts, strict=True)]
    content = "\n".join(lines)
    check(write(tmp_path / "a.csv", content.replace(",", "\t") if form == "tabs" else content))


def test_a_column_divides_the_data(tmp_path):
    words = ["Training"] * 20 + ["PublicTest"] * 12 + ["PrivateTest"] * 8
    rows = zip(LABELS, PIXELS, words, strict=True)
    content = "\n".join(["emotion,pixels,Usage", *(f"{a},{b},{c}" for a, b, c in rows)])
    names = [*name_pixels(COUNT), "split"]
    rows = zip(NAMED.split("\n")[1:], words, strict=False)
    plain = "\n".join([",".join(names), *(f"{row},{word}" for row, word in rows)])
    for each in (content, plain):
        path = write(tmp_path / "fer.csv", each)
        found = find(str(path))
        sizes = {part: len(records) for part, records in found.parts.items()}
        assert sizes == {"train": 20, "validation": 12, "test": 8} and not found.notes
        for start, part in ((0, "train"), (20, "validation"), (32, "test")):
            records = found.parts[part]
            end = start + len(records)
            assert np.array_equal(records.images[:, 0], IMAGES[start:end])
            assert np.array_equal(records.labels, LABELS[start:end])
    assert len(open_source(str(path)).validation) == 12
    lines = content.split("\n")
    for line, words in (
        ("2,1 2 3,Training", "must have 64 values in each row, got 3 in line 1,902"),
        (f"2,{PIXELS[0]}", "must have 3 values in each row, got 2 in line 1,902"),
        (f"2,{PIXELS[0]},Holdout", "must have train, validation or test"),
    ):
        # The sample by which columns are found is over.
        path = write(tmp_path / "fer.csv", "\n".join([lines[0], *(lines[1:] * 48)[:1900], line]))
        with pytest.raises(DatasetError, match=words):
            find(str(path))


@pytest.mark.parametrize("form", ["last", "first", "names", "classes", "floats", "ids"])
def test_one_hot_columns(form, tmp_path):
    names = [f"label_{i}" for i in range(4)] if form != "classes" else ["cat", "dog", "fox", "owl"]
    header = form in ("names", "classes", "floats", "ids")
    lines = [",".join([*(["id"] * (form == "ids")), *name_pixels(COUNT, ()), *names])] * header
    for i, (row, label) in enumerate(zip(rows_of(IMAGES), LABELS, strict=True)):
        hot = ",".join("01"[int(j == label)] + ".0" * (form == "floats") for j in range(4))
        fields = [hot, row] if form == "first" else [row, hot]
        lines.append(",".join([*([str(i)] * (form == "ids")), *fields]))
    images, labels, ids, _ = read(write(tmp_path / "a.csv", "\n".join(lines)))
    assert np.array_equal(images, IMAGES) and (ids is None) == (form != "ids")
    assert labels == ([names[i] for i in LABELS] if form == "classes" else LABELS.tolist())
    lines[-1] = lines[-1].replace("1", "0") if form != "floats" else lines[-1]
    if form in ("names", "ids"):
        path = write(tmp_path / "b.csv", "\n".join([lines[0], *(lines[1:-1] * 60), lines[-1]]))
        with pytest.raises(DatasetError, match="must have a single 1 among the 4 class columns of"):
            find(str(path))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_train.csv", "y_train.csv"),
        ("csvTrainImages 40x64.csv", "csvTrainLabel 40x1.csv"),
        ("images.csv", "labels.csv"),
    ],
)
@pytest.mark.parametrize("form", ["plain", "name", "ids", "one-hot"])
def test_images_and_labels_in_files_of_their_own(images, labels, form, tmp_path):
    write(tmp_path / images, make_table(IMAGES))
    lines = {
        "plain": map(str, LABELS),
        "name": ["label", *map(str, LABELS)],
        "ids": ["id,label", *(f"{i},{label}" for i, label in enumerate(LABELS))],
        "one-hot": (",".join("01"[int(i == label)] for i in range(4)) for label in LABELS),
    }[form]
    lines = list(lines)
    path = write(tmp_path / labels, "\n".join(lines))
    check(tmp_path)
    path.write_text("\n".join(lines[:-2]))
    with pytest.raises(DatasetError, match="must have a row for each of the 40 images, got"):
        find(str(tmp_path))
