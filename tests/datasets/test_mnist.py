import gzip
import hashlib
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from lenet5c.datasets import DatasetError, mnist, mnist_label_errors

# The function hides the module of its name from an ordinary import.
module = importlib.import_module("lenet5c.datasets.mnist")

PUBLISHED = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
DATA = Path(module.__file__).parent / "mnist_data"


@pytest.fixture(scope="module")
def loaded():
    return mnist()


def test_the_digests_are_the_published_ones():
    assert module.SHA256 == PUBLISHED


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_package_files_match_their_digests(name):
    content = gzip.decompress((DATA / f"{name}.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == PUBLISHED[name]


def test_notice_is_beside_the_data():
    notice = (DATA / "NOTICE.md").read_text(encoding="utf-8")
    assert "CC BY-SA 3.0" in notice and "Yann LeCun" in notice
    assert all(digest in notice for digest in PUBLISHED.values())


@pytest.mark.parametrize(("part", "count"), [(0, 60000), (1, 10000)])
def test_shapes_and_types(loaded, part, count):
    data = loaded[part]
    assert len(data) == count
    assert data.images.shape == (count, 1, 28, 28) and data.images.dtype == np.uint8
    assert data.images.flags.c_contiguous
    assert data.labels.shape == (count,) and data.labels.dtype == np.int32
    assert (data.name, data.num_classes) == ("mnist", 10)
    assert data.class_names == tuple("0123456789")


def test_known_content(loaded):
    train, test = loaded
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
    assert train.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert train.images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_a_damaged_installation_asks_to_be_reinstalled(tmp_path, monkeypatch, damage):
    folder = tmp_path / "mnist_data"
    shutil.copytree(DATA, folder)
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    if damage == "missing":
        labels.unlink()
    elif damage == "truncated":
        labels.write_bytes(labels.read_bytes()[:-100])
    else:
        for kind in ("images-idx3", "labels-idx1"):
            shutil.copy(folder / f"t10k-{kind}-ubyte.gz", folder / f"train-{kind}-ubyte.gz")
    monkeypatch.setattr(module, "_FOLDER", folder)
    with pytest.raises(DatasetError, match="reinstall") as caught:
        mnist()
    assert str(folder) in str(caught.value)


def test_label_errors_are_15_positions_in_the_test_set(loaded):
    errors = mnist_label_errors()
    assert len(errors) == 15 and list(errors) == sorted(set(errors)) and sum(errors) == 68696
    assert loaded[1].labels[list(errors)].tolist() == [8, 0, 9, 4, 2, 5, 6, 6, 5, 5, 0, 1, 4, 6, 5]
