"""Image folders: layouts, classes, sizes, splits, and stray files."""

import os

import numpy as np
import pytest
from pictures_on_disk import write_pictures

from lenet5c.datasets import Dataset, DatasetError, image_folder, open_source
from lenet5c.datasets.conversion import to_image
from lenet5c.datasets.folder_files import list_folder, natural_key
from lenet5c.datasets.records import hold_out

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def root(tmp_path):
    """Make two classes of six pictures."""
    for seed, name in enumerate(("cat", "dog")):
        write_pictures(tmp_path / "pets" / name, 6, seed=seed)
    return tmp_path / "pets"


def in_parts(
    folder, parts=("train", "val", "test"), counts=(6, 2, 3), classes=("cat", "dog"), **options
):
    for i, (part, count) in enumerate(zip(parts, counts, strict=True)):
        for j, name in enumerate(classes):
            write_pictures(folder / part / name, count, seed=10 * i + j, **options)
    return folder


def test_a_folder_for_each_class(root):
    source = image_folder(root)
    assert (
        source.train.class_names == source.test.class_names == ("cat", "dog")
        and source.train.name == "pets"
    )
    assert (len(source.train), len(source.test), source.validation, source.reading) == (
        10,
        2,
        None,
        "whole",
    )
    assert sorted(source.test.labels) == [0, 1] and source.train.images.shape[1:] == (1, 12, 12)
    assert source.notes == ("no test set: 2 of 12 images are held out",)


@pytest.mark.parametrize(
    "parts",
    [("train", "val", "test"), ("Train", "valid", "TEST"), ("training", "validation", "testing")],
)
def test_folders_for_parts(parts, tmp_path):
    source = open_source(str(in_parts(tmp_path / "pets", parts)))
    assert [len(part) for part in (source.train, source.validation, source.test)] == [12, 4, 6]
    assert source.train.labels.tolist() == [0] * 6 + [1] * 6 and source.notes == ()
    expected = np.asarray(Image.open(tmp_path / "pets" / parts[2] / "dog" / "1.png"))
    assert (source.test.images[4, 0] == expected).all()


def test_train_alone_gives_some_images_to_the_test(tmp_path):
    source = image_folder(in_parts(tmp_path / "pets", ("train", "val"), (12, 3)))
    assert (len(source.train), len(source.test), len(source.validation)) == (20, 4, 6)


def test_the_split_is_that_of_the_names(root):
    one, other = image_folder(root), image_folder(root)
    assert (one.test.images == other.test.images).all()
    assert any(
        (image_folder(root, seed=seed).test.images != one.test.images).any() for seed in range(1, 5)
    )
    assert len(image_folder(root, test_fraction=0.5).test) == 6
    names, labels = [f"{i:04}.png" for i in range(1000)], np.arange(1000) % 10
    chosen = hold_out(with_ids(names, labels), 0.2, 0)
    assert np.bincount(labels[chosen]).tolist() == [20] * 10
    # Few others change sides when one image is added.
    more = hold_out(with_ids([*names, "new.png"], np.append(labels, 0)), 0.2, 0)
    assert len(set(chosen) ^ set(more)) <= 2
    # Always the same, on every system.
    assert chosen[:5].tolist() == FIRST_CHOSEN


def with_ids(names, labels):
    images = np.zeros((len(names), 1, 1, 1), np.uint8)
    return Dataset(images, labels, 10, ids=tuple(names))


FIRST_CHOSEN = [4, 8, 17, 24, 26]


def test_a_split_leaves_each_class_an_image(tmp_path):
    for name, count in (("many", 30), ("three", 3), ("two", 2), ("one", 1)):
        write_pictures(tmp_path / name, count)
    source = image_folder(tmp_path)
    names = source.train.class_names
    assert names == ("many", "one", "three", "two")
    assert np.bincount(source.test.labels, minlength=4).tolist() == [5, 0, 1, 0]
    assert np.bincount(source.train.labels, minlength=4).tolist() == [25, 1, 2, 2]


def test_tiny_sets(tmp_path):
    for name in "ab":
        write_pictures(tmp_path / "two" / name, 2)
        write_pictures(tmp_path / "one" / name, 1)
    assert len(image_folder(tmp_path / "two").test) == 2
    with pytest.raises(DatasetError, match="at least two images to hold some out"):
        image_folder(tmp_path / "one")


def test_classes_are_sorted_as_people_do(tmp_path):
    names = ["10", "2", "b", "A", "a", "é", "猫", "B2", "b10"]
    for name in names:
        write_pictures(tmp_path / name, 3)
    found = image_folder(tmp_path).train.class_names
    assert found == ("2", "10", "A", "a", "b", "B2", "b10", "é", "猫")
    backward = list(reversed(names))  # equal keys would keep this order
    assert sorted(backward, key=natural_key) == list(found)


def test_a_class_is_its_name_in_one_form_of_unicode(tmp_path):
    write_pictures(tmp_path / "e\u0301", 3)
    write_pictures(tmp_path / "z", 3)
    assert image_folder(tmp_path).train.class_names == ("z", "é")
    (tmp_path / "é").mkdir(exist_ok=True)
    if len(list(tmp_path.iterdir())) == 3:  # not where the file system knows that they are one
        with pytest.raises(DatasetError, match="equivalent Unicode name"):
            image_folder(tmp_path)


def test_more_classes_than_a_byte_counts(tmp_path):
    for i in range(300):
        write_pictures(tmp_path / str(i), 1, (2, 2))
    for name in ("0", "299"):
        write_pictures(tmp_path / name, 2, (2, 2))
    source = image_folder(tmp_path)
    assert source.train.num_classes == 300 and source.train.labels.max() == 299
    assert source.train.class_names[299] == "299"


def test_colors_and_grays(tmp_path):
    gray = in_parts(tmp_path / "gray", ("train", "test"), (3, 2))
    Image.fromarray(np.full((12, 12, 3), 9, np.uint8)).save(gray / "train" / "cat" / "5.png")
    assert image_folder(gray).train.images.shape == (7, 1, 12, 12)
    assert image_folder(gray, channels=3).train.images.shape == (7, 3, 12, 12)
    color = in_parts(tmp_path / "color", ("train", "test"), (3, 2))
    picture = write_pictures(color / "test" / "dog", 1, channels=3)[0]
    source = image_folder(color)
    assert source.train.images.shape == (6, 3, 12, 12)
    assert (source.train.images[:, 0] == source.train.images[:, 2]).all()
    assert (source.test.images[2] == picture.transpose(2, 0, 1)).all()
    assert (image_folder(color, channels=1).test.images[2] == to_image(picture, (1, 12, 12))).all()


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ([(20, 20)], (20, 20)),
        ([(100, 37)], (100, 37)),
        ([(1, 1)], (1, 1)),
        ([(128, 128)], (128, 128)),
        ([(129, 20)], (128, 20)),
        ([(12, 12), (13, 12)], (32, 32)),
        ([(12, 12), (12, 12), (300, 200)], (48, 34)),
        ([(300, 200), (200, 300)], (109, 104)),
    ],
)
def test_sizes(sizes, shape, tmp_path):
    pictures = [
        write_pictures(tmp_path / "train" / f"{i}", 2, size) for i, size in enumerate(sizes * 2)
    ]
    write_pictures(tmp_path / "test" / "0", 1, sizes[0])
    images = image_folder(tmp_path).train.images
    assert images.shape[2:] == shape
    # What `predict` does with such a picture.
    expected = [to_image(picture, (1, *shape)) for group in pictures for picture in group]
    assert (images == np.array(expected)).all()


def test_a_size_that_is_asked_for(root):
    assert image_folder(root, size=(7, 9)).train.images.shape[2:] == (7, 9)


def test_what_is_left_lying_about(root):
    for name in (".DS_Store", "Thumbs.db", "cat/.hidden.png", "dog/desktop.ini"):
        (root / name).write_bytes(b"?")
    write_pictures(root / "__MACOSX" / "cat", 1)
    write_pictures(root / ".git" / "cat", 1)
    assert (
        image_folder(root).notes == image_folder(root).notes[:1]
        and len(image_folder(root).train) == 10
    )
    (root / "cat" / "notes.txt").write_text("?")
    (root / "cat" / "LICENSE").write_text("?")
    Image.new("L", (12, 12)).save(root / "stray.png")
    notes = "\n".join(image_folder(root).notes)
    assert "2 files without the name of an image, not read: 1 .txt, 1 no suffix" in notes
    assert "1 image outside the class folders" in notes


def test_folders_in_a_class_belong_to_it(root):
    write_pictures(root / "cat" / "kittens" / "small", 6)
    assert len(image_folder(root).train) + len(image_folder(root).test) == 18


def test_classes_beside_parts_are_not_read(tmp_path):
    write_pictures(in_parts(tmp_path / "pets") / "bird", 3)
    assert image_folder(tmp_path / "pets").notes == (
        "not read, in addition to train, val and test: bird",
    )


def test_a_class_may_be_called_test_or_train(tmp_path):
    for name in ("train", "car", "test"):
        write_pictures(tmp_path / name, 3)
    assert image_folder(tmp_path).train.class_names == ("car", "test", "train")


@pytest.mark.parametrize(
    "suffix",
    [".png", ".jpg", ".JPEG", ".jfif", ".bmp", ".gif", ".tif", ".webp", ".pgm", ".jp2", ".avif"],
)
def test_formats(suffix, tmp_path):
    form = Image.registered_extensions().get(suffix.lower())
    if form not in Image.SAVE:
        pytest.skip("this Pillow cannot write it")
    for name in "ab":
        write_pictures(tmp_path / name, 3, suffix=suffix)
    assert len(image_folder(tmp_path).train) == 4


def damage(root):
    (root / "cat" / "0.png").write_bytes(b"no picture")
    (root / "dog" / "1.png").write_bytes((root / "dog" / "1.png").read_bytes()[:60])
    (root / "dog" / "2.png").write_bytes(b"")


def test_bad_files(root):
    damage(root)
    with pytest.raises(DatasetError) as error:
        image_folder(root)
    line = str(error.value)
    assert "3 files cannot be read" in line and "--skip-bad" in line and "\n" not in line
    assert f"cat{os.sep}0.png" in line and f"dog{os.sep}1.png" in line
    source = image_folder(root, skip_bad=True)
    assert len(source.train) + len(source.test) == 9
    assert "3 files that cannot be read, skipped" in source.notes[0]


def test_a_class_of_bad_files_only(root):
    for path in (root / "cat").iterdir():
        path.write_bytes(b"?")
    with pytest.raises(DatasetError, match="no image of 'cat'"):
        image_folder(root, skip_bad=True)


needs_links = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@pytest.fixture
def linked(root, tmp_path):
    """Add links out of the folder, circular links and broken links."""
    outside = tmp_path / "outside"
    write_pictures(outside, 3, seed=7)
    (root / "cat" / "link.png").symlink_to(outside / "0.png")
    (root / "bird").symlink_to(outside)
    (root / "cat" / "round").symlink_to(root)
    (root / "cat" / "gone.png").symlink_to(root / "nothing")
    (root / "cat" / "again.png").symlink_to(root / "cat" / "0.png")
    return root


@needs_links
def test_links_out_of_the_folder_are_not_followed(linked):
    source = image_folder(linked)
    assert source.train.class_names == ("cat", "dog") and len(source.train) + len(source.test) == 13
    assert source.notes[:2] == (
        "3 links to folders or out of the folder, not followed without --follow-links",
        "1 link to a missing file",
    )


@needs_links
def test_links_are_followed_but_not_in_circles(linked):
    with pytest.raises(DatasetError, match="gone.png cannot be read .No such file"):
        image_folder(linked, follow_links=True)
    source = image_folder(linked, follow_links=True, skip_bad=True)
    assert source.train.class_names == ("bird", "cat", "dog")
    assert sorted(np.bincount([*source.train.labels, *source.test.labels])) == [3, 6, 8]
    assert "1 link to a parent folder, not followed" in source.notes
    (linked / "cat" / "self").symlink_to("self")
    assert "2 links to a parent folder" in list_folder(linked, follow_links=True).notes[0]


@needs_links
def test_a_class_of_links_alone_names_the_option(root):
    for name in ("0", "1"):
        (root / "cat" / f"{name}.png").rename(root.parent / f"{name}.png")
    for path in (root / "cat").iterdir():
        path.unlink()
    (root / "cat" / "0.png").symlink_to(root.parent / "0.png")
    with pytest.raises(DatasetError, match="'cat' has no images .*1 link .*--follow-links"):
        image_folder(root)


@needs_links
def test_links_from_folder_to_folder_end(tmp_path):
    for name in "ab":
        write_pictures(tmp_path / name, 2)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    files = list_folder(tmp_path, follow_links=True)
    names = [path.relative_to(tmp_path).as_posix() for *_, path in files.entries()]
    assert names == [
        *("a/0.png", "a/1.png", "a/b/0.png", "a/b/1.png"),
        *("b/0.png", "b/1.png", "b/a/0.png", "b/a/1.png"),
    ]


def test_pictures_are_known_by_their_files(root):
    write_pictures(root / "cat" / "more", 1)
    source = image_folder(root)
    names = (*source.train.ids, *source.test.ids)
    assert {"cat/0.png", "cat/more/0.png", "dog/5.png"} <= set(names) and len(names) == 13
    for dataset in (source.train, source.test):
        assert dataset.root == root
        for i, name in enumerate(dataset.ids):
            picture = np.asarray(Image.open(dataset.root / name))
            assert (dataset.images[i, 0] == picture).all() and dataset.describe(i) == name


def test_circles_of_pictures_of_mixed_sizes_stay_circles(tmp_path):
    for size in ((60, 60), (60, 120), (300, 90)):
        y, x = np.mgrid[: size[0], : size[1]]
        radius = 0.4 * min(size)
        inside = np.hypot(y - (size[0] - 1) / 2, x - (size[1] - 1) / 2) < radius
        picture = np.where(inside, 40, 210).astype(np.uint8)
        for name in "ab":
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / name / f"{size[1]}.png")
    source = image_folder(tmp_path)
    images = np.concatenate([source.train.images, source.test.images])[:, 0]
    assert images.shape == (6, 83, 73) and (images[:, 0, 0] == 210).all()
    for image in images:
        rows, columns = np.nonzero(image < 125)
        assert np.ptp(rows) == np.ptp(columns) > 5


def test_files_that_are_no_images_are_those_of_their_class(root):
    (root / "cat" / "notes.txt").write_text("?")
    (root / "bird").mkdir()
    (root / "bird" / "sketch.psd").write_bytes(b"8BPS")
    for name in ("__pycache__", ".ipynb_checkpoints", ".git"):
        (root / name).mkdir()
    with pytest.raises(DatasetError) as caught:
        image_folder(root)
    assert "'bird' has no images to train on (1 picture in unsupported formats);" in str(
        caught.value
    )


def test_memory_is_not_taken_without_limit(tmp_path):
    for name in "ab":
        write_pictures(tmp_path / name, 20, (64, 64), 3)
    with pytest.raises(DatasetError, match="40 images of .* pixels"):
        image_folder(tmp_path, memory=100_000)
    assert image_folder(tmp_path, memory=500_000)
    assert image_folder(tmp_path, memory=200_000, size=(32, 32))


def layouts():
    def empty_class(folder):
        write_pictures(folder / "cat", 3)
        (folder / "dog").mkdir()

    def one_class(folder):
        write_pictures(folder / "cat", 3)

    def flat(folder):
        write_pictures(folder, 3)

    def strange_class(folder):
        in_parts(folder, ("train", "test"), (3, 3))
        write_pictures(folder / "test" / "bird", 1)

    def test_only(folder):
        in_parts(folder, ("test",), (3,))

    def two_tests(folder):
        in_parts(folder, ("train", "test", "testing"), (3, 3, 3))

    def empty_test(folder):
        in_parts(folder, ("train",), (3,))
        (folder / "test" / "cat").mkdir(parents=True)

    def nothing(folder):
        folder.mkdir()

    def only_text(folder):
        (folder / "cat").mkdir(parents=True)
        (folder / "cat" / "a.txt").write_text("?")

    def control_sign(folder):
        write_pictures(folder / "cat", 3)
        write_pictures(folder / "\x1b[31m", 3)

    return [
        (empty_class, "the class 'dog' has no images"),
        (one_class, "got only 'cat'"),
        (flat, "but no folders"),
        (strange_class, "'bird' has images in test, but none in train"),
        (test_only, "test with a folder for each class, but no train"),
        (two_tests, "test and testing"),
        (empty_test, "folder for test has no images"),
        (nothing, "no images in folders"),
        (only_text, "1 file without the name of an image, not read: 1 .txt"),
        pytest.param(
            control_sign,
            "cannot be shown",
            marks=pytest.mark.skipif(os.name == "nt", reason="no such name"),
        ),
    ]


@pytest.mark.parametrize(("make", "said"), layouts())
def test_other_layouts_are_errors_of_one_line(make, said, tmp_path):
    make(tmp_path / "data")
    with pytest.raises(DatasetError) as error:
        open_source(str(tmp_path / "data"))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(FileNotFoundError):
        image_folder(tmp_path / "nothing")
    (tmp_path / "file").write_text("?")
    with pytest.raises(DatasetError, match="not a folder"):
        list_folder(tmp_path / "file")


def test_bad_arguments(root):
    for options in ({"channels": 2}, {"test_fraction": 0}, {"test_fraction": 1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            image_folder(root, **options)
