"""Misclassified images by name: links in a page, and copies in a folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from evaluations import make_evaluation

from lenet5c.datasets import Dataset
from lenet5c.errors import UserError
from lenet5c.report import page
from lenet5c.report.mistakes import check_folder, copy_mistakes, find_file, link
from lenet5c.report.results import errors_section
from lenet5c.report.tables import worst_table


@pytest.fixture
def dataset(tmp_path):
    """Return six images in files of a folder, of odd names."""
    names = ["a/1.png", "a/b/1.png", "a/x y#1.JPG", "b/<i>.png", "b/javascript:alert(1)", "b/é.png"]
    root = tmp_path / "data"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1])
    return Dataset(images, labels, 2, "data", ("a", "b"), tuple(names), root)


def evaluate(dataset, wrong):
    predictions = dataset.labels.copy()
    predictions[wrong] = 1 - predictions[wrong]
    return make_evaluation(dataset.labels, predictions, 0.75, 2)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_copied_as_they_are(tmp_path, dataset):
    out = tmp_path / "mistakes" / "of today"
    assert copy_mistakes(out, dataset, evaluate(dataset, [0, 1, 2, 4, 5]), ("a", "b")) == 5
    assert contents(out) == {
        "a-as-b-1.png": b"a/1.png",
        "a-as-b-1-2.png": b"a/b/1.png",
        "a-as-b-x y_1.JPG": b"a/x y#1.JPG",
        "b-as-a-javascript_alert_1_": b"b/javascript:alert(1)",
        "b-as-a-é.png": "b/é.png".encode(),
    }


def test_images_without_a_file_become_png_files(tmp_path, dataset):
    Image = pytest.importorskip("PIL.Image")
    color = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 9), np.uint8)
    for images, ids in ((dataset.images, None), (color, tuple("uvwxyz"))):
        data = Dataset(images, dataset.labels, 2, ids=ids)
        out = tmp_path / f"out{len(images[0])}"
        copy_mistakes(out, data, evaluate(data, [2, 3]), ("a", "b"))
        for i, name in ((2, "a-as-b"), (3, "b-as-a")):
            pixels = np.array(Image.open(out / f"{name}-{'uvwxyz'[i] if ids else i}.png"))
            assert (
                pixels.reshape(images.shape[2], -1) == images[i].transpose(1, 2, 0).reshape(8, -1)
            ).all()


@pytest.mark.parametrize(
    "name", ["..", "../..", "a/b", "a\\b", "x" * 255, "犬" * 100, "\0", ".", " "]
)
def test_classes_of_any_name_stay_in_the_folder(tmp_path, dataset, name):
    pytest.importorskip("PIL.Image")
    data = Dataset(dataset.images, dataset.labels, 2, ids=tuple(f"../{name}{i}" for i in range(6)))
    out = tmp_path / "out"
    copy_mistakes(out, data, evaluate(data, range(6)), (name, f"{name}2"))
    assert len(list(out.iterdir())) == 6 and {path.name for path in tmp_path.iterdir()} <= {
        "out",
        "data",
    }
    assert all(not path.name.startswith(".") for path in out.iterdir())


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_file_outside_of_the_data_is_not_copied(tmp_path, dataset, name):
    (tmp_path / "secret").write_text("secret")
    data = Dataset(dataset.images[:1], dataset.labels[:1], 2, ids=(name,), root=dataset.root)
    with pytest.raises(UserError, match="ids must be files in"):
        copy_mistakes(tmp_path / "out", data, evaluate(data, [0]), ("a", "b"))
    assert contents(tmp_path / "out") == {}


def test_the_folder_is_new_or_empty(tmp_path):
    check_folder(tmp_path / "new", "--errors")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", "--errors")
    (tmp_path / "empty" / "file").touch()
    with pytest.raises(UserError, match="--errors must be a new or empty folder, got"):
        check_folder(tmp_path / "empty", "--errors")
    with pytest.raises(UserError, match="--errors must be a folder, got .*, which is a file"):
        check_folder(tmp_path / "empty" / "file", "--errors")


def test_addresses_are_quoted_and_relative_inside(tmp_path, dataset):
    root = dataset.root
    assert link(root / "b/javascript:alert(1)", root / "b") == "javascript%3Aalert%281%29"
    assert link(root / "b/<i>.png", root) == "b/%3Ci%3E.png"
    assert link(root / "a/x y#1.JPG", tmp_path / "run").startswith("file:///")
    assert link(root / "a/x y#1.JPG", tmp_path / "run").endswith("/data/a/x%20y%231.JPG")
    if os.name != "nt":
        assert link(Path(os.fsdecode(b"/data/\xff.png")), Path("/data")) == "%FF.png"


def test_a_page_names_the_files(tmp_path, dataset):
    result = evaluate(dataset, [2, 3, 4])
    html = errors_section({}, dataset, result, dataset.root / "b")
    assert '<a href="%3Ci%3E.png">b/&lt;i&gt;.png</a>' in html and "<i>" not in html
    assert '<a href="javascript%3Aalert%281%29">' in html and html.count("<a href=") == 3
    in_table = Dataset(dataset.images, dataset.labels, 2, ids=dataset.ids)
    html = errors_section({}, in_table, result, tmp_path)
    assert "<a " not in html and "b/&lt;i&gt;.png" in html
    assert errors_section({}, Dataset(dataset.images, dataset.labels, 2), result, tmp_path) == ""
    hostile = page.Link('"><script>', '"><script>')
    assert "<script>" not in page.table(["x"], [[hostile]])


def test_the_table_in_text_names_the_files(dataset):
    result = evaluate(dataset, [2, 3])
    lines = worst_table(result, ("a", "b"), 5, dataset.ids).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["a/x", "y#1.JPG"], ["b/<i>.png", "b"]]
    assert find_file(dataset, 3) == dataset.root / "b/<i>.png"
