"""Commands with IDX files and arrays: transposed images, single files, memory-mapped images."""

import json
import sys

import numpy as np
import pytest
from idx_files import write_idx_files

from lenet5c.__main__ import main
from lenet5c.datasets import Dataset
from lenet5c.datasets.idx_folder import read_idx_folder
from lenet5c.datasets.mapped import MappedImages
from lenet5c.datasets.source import open_source


@pytest.fixture
def command(capsys):
    """Run a command in this process; return the exit code, output and errors."""

    def run(*arguments):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def sideways(tmp_path, mnist_slice):
    """Return digits in four IDX files, with rows and columns exchanged."""
    sets = [
        Dataset(part.images.swapaxes(2, 3), part.labels, 10)
        for part in (each for each in mnist_slice)
    ]
    return write_idx_files(tmp_path / "sideways", *sets)


def test_evaluate_warns_of_sideways_images_and_turns_them(command, sideways):
    code, out, _ = command("evaluate", "best", "--data", sideways, "--json")
    record = json.loads(out)
    assert code == 0 and record["accuracy"] < 0.5
    assert any("use --transpose" in note for note in record["notes"])
    code, out, _ = command("evaluate", "best", "--data", sideways, "--transpose", "--json")
    record = json.loads(out)
    assert code == 0 and record["accuracy"] > 0.98 and record["notes"] == []


def test_inspect_warns_of_sideways_images(command, sideways):
    code, out, _ = command("data", "inspect", sideways, "--strict")
    assert code == 1 and "use --transpose" in out
    code, out, _ = command("data", "inspect", sideways, "--strict", "--transpose")
    assert code == 0 and "No warnings." in out


def test_train_warns_of_sideways_images_and_records_the_option(command, sideways, tmp_path):
    some = ["--epochs", 1, "--train-size", 200, "--no-report", "--data", sideways]
    code, out, _ = command("train", *some, "--out", tmp_path / "a")
    assert code == 0 and "warning: images seem to be stored transposed" in out
    code, out, _ = command("train", *some, "--out", tmp_path / "b", "--transpose")
    assert code == 0 and "seem to be stored" not in out
    recorded = [json.loads((tmp_path / name / "config.json").read_text()) for name in "ab"]
    assert [each["transpose"] for each in recorded] == [None, True]
    # The run's own data are read as the run read them.
    code, out, _ = command("evaluate", tmp_path / "b", "--json")
    assert json.loads(out)["notes"] == [] and code == 0


def test_evaluate_reads_emnists_names_upright(command, sideways):
    for path in list(sideways.iterdir()):
        path.rename(sideways / f"emnist-digits-{path.name}")
    code, out, _ = command("evaluate", "best", "--data", sideways, "--json")
    record = json.loads(out)
    assert code == 0 and record["accuracy"] > 0.98
    assert any("they are transposed back" in note for note in record["notes"])


def test_evaluate_measures_a_test_pair_alone_and_a_single_file(command, idx_files):
    for path in idx_files.glob("train-*"):
        path.unlink()
    for data in (idx_files, idx_files / "t10k-images-idx3-ubyte"):
        code, out, _ = command("evaluate", "best", "--data", data, "--json")
        assert code == 0 and json.loads(out)["count"] == 500


def test_names_that_are_expected_are_listed(command, idx_files):
    for path in list(idx_files.iterdir()):
        path.rename(idx_files / path.name.replace("-images-", "-pics-").replace("-labels-", "-y-"))
    code, out, errors = command("train", "--data", idx_files)
    assert code == 2 and out == ""
    (message,) = errors.splitlines()
    assert "expected train-images-idx3-ubyte, train-labels-idx1-ubyte" in message


def test_runs_on_images_in_a_file_and_in_memory_have_the_same_bytes(
    command, idx_files, tmp_path, monkeypatch
):
    def run(name):
        options = ["--epochs", 1, "--validation", 0.1, "--distortion", "modern", "--no-report"]
        code, *_ = command("train", *options, "--data", idx_files, "--out", tmp_path / name)
        assert code == 0
        names = ("model.safetensors", "metrics.jsonl", "config.json")
        return [(tmp_path / name / each).read_bytes() for each in names]

    expected = run("memory")
    monkeypatch.setattr(sys.modules[read_idx_folder.__module__], "MAPPED", 1)
    assert isinstance(open_source(str(idx_files)).train.images, MappedImages)
    assert run("file") == expected


def test_large_arrays_stay_on_disk(tmp_path, mnist_slice, monkeypatch):
    monkeypatch.setattr("lenet5c.datasets.arrays.MAPPED", 1)
    train, test = mnist_slice
    arrays = {
        "x_train": train.images[:300, 0],
        "y_train": train.labels[:300],
        "x_test": test.images[:100].transpose(0, 2, 3, 1),
        "y_test": np.eye(10)[test.labels[:100]],
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    source = open_source(str(tmp_path))
    for found, expected in ((source.train, train.images[:300]), (source.test, test.images[:100])):
        assert isinstance(found.images, MappedImages)
        np.testing.assert_array_equal(found.images, expected)
    np.testing.assert_array_equal(source.test.labels, test.labels[:100])
