"""`lenet5c evaluate`: figures, comparison, files and messages."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_idx_files

from lenet5c import _files, nn
from lenet5c.__main__ import main
from lenet5c.commands import evaluate
from lenet5c.commands.parser import make_parser
from lenet5c.datasets import Dataset, Preparation
from lenet5c.report import comparison
from lenet5c.training import TrainedModel, mcnemar, open_model, save_model, wilson_interval


@pytest.fixture
def run(capsys):
    """Run the command in this process; return the exit code, output and errors."""

    def command(*arguments):
        try:
            code = main(["evaluate", *arguments])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def other(tmp_path):
    """Return a model file: the shipped model with some weights changed."""
    trained = open_model()
    trained.model.vector[:] += 0.1 * np.random.default_rng(0).standard_normal(
        trained.model.num_params
    )
    save_model(tmp_path / "other.safetensors", trained)
    return tmp_path / "other.safetensors"


def assert_bad_use(result, *words):
    code, said, complained = result
    assert code == 2 and said == ""
    (message,) = complained.splitlines()
    assert message.startswith("lenet5c evaluate: error: ")
    for word in words:
        assert str(word) in message


def test_json_has_what_a_naive_count_finds(run, idx_files, mnist_slice):
    _, test = mnist_slice
    code, said, complained = run("--data", idx_files, "--json", "--worst", 3)
    assert code == 0 and complained == ""
    record = json.loads(said)
    probabilities = open_model().probabilities(test.images)
    predictions = probabilities.argmax(axis=1)
    right = int((predictions == test.labels).sum())
    assert (record["count"], record["correct"], record["accuracy"]) == (500, right, right / 500)
    assert record["interval"] == list(wilson_interval(right, 500))
    for a in range(10):
        assert record["confusion"][a] == [
            int(((test.labels == a) & (predictions == b)).sum()) for b in range(10)
        ]
    of_its_label = probabilities[np.arange(500), test.labels].astype(np.float64)
    found = record["probabilities"]
    assert found["nll"] == pytest.approx(-np.log(of_its_label).mean(), rel=1e-4)
    assert found["temperature"] == open_model().temperature
    wrong = sorted(
        np.flatnonzero(predictions != test.labels), key=lambda i: -probabilities[i].max()
    )
    assert [each["index"] for each in record["worst"]] == wrong[:3]
    assert [each["name"] for each in record["classes"]] == list("0123456789")


def test_text_without_options_is_the_shipped_model_on_mnist(run):
    code, said, _ = run()
    assert code == 0 and "Accuracy: 99.65% (9965/10000), 95% interval 99.51 to 99.75%" in said
    assert max(map(len, said.splitlines())) <= 100
    assert "The 10 most confident of 35 misclassified images:" in said and "mean of classes" in said


def test_a_comparison_is_mcnemars(run, idx_files, mnist_slice, other):
    _, test = mnist_slice
    _, said, _ = run("best", "--data", idx_files, "--compare", other, "--json")
    compared = json.loads(said)["compare"]
    a, b = (
        m.probabilities(test.images).argmax(axis=1) == test.labels
        for m in (open_model(), open_model(other))
    )
    expected = mcnemar(a, b)
    assert (compared["only_first"], compared["only_second"], compared["p_value"]) == (
        expected.only_a,
        expected.only_b,
        expected.p_value,
    )
    assert (compared["both_correct"], compared["both_wrong"]) == (
        int((a & b).sum()),
        int((~a & ~b).sum()),
    )
    said = run("best", "--data", idx_files, "--compare", other)[1]
    assert "McNemar's exact test: p = " in said and "Equally good models" in said
    assert (
        "Both models classify the same images correctly"
        in run("--data", idx_files, "--compare", "best")[1]
    )


@pytest.mark.parametrize(
    "only_first, only_second, words",
    [
        (5, 4, "the difference is not significant"),
        (20, 2, "A is better"),
        (2, 20, "B is better"),
        (200, 2, "less than 1 of 10,000"),
    ],
)
def test_a_p_value_in_words(only_first, only_second, words):
    test = mcnemar(
        [True] * only_first + [False] * only_second, [False] * only_first + [True] * only_second
    )
    other = {
        "model": "B",
        "only_first": only_first,
        "only_second": only_second,
        "p_value": test.p_value,
    }
    assert words in comparison.interpret("A", other)


def test_files(run, tmp_path, idx_files, other):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "folder"
    code, said, complained = run(other, "--data", idx_files, "--out", out, "--compare", "best")
    assert code == 0 and complained == "" and str(out) in said
    pictures = ("confusion", "errors", "reliability", "rejections", "roc")
    names = {"evaluation.json", "evaluation.html", *(f"{name}.png" for name in pictures)}
    assert {path.name for path in out.iterdir()} == names
    before = {name: (out / name).read_bytes() for name in names}
    run(other, "--data", idx_files, "--out", out, "--compare", "best")
    assert {name: (out / name).read_bytes() for name in names} == before
    html = before["evaluation.html"].decode()
    assert html.count("data:image/png;base64,") == len(pictures) and "McNemar" in html
    assert json.loads(before["evaluation.json"])["compare"]["model"] == "best"


def test_without_matplotlib_figures_are_written_without_pictures(
    run, tmp_path, idx_files, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, complained = run("--data", idx_files, "--out", tmp_path / "out")
    assert (
        code == 0 and "pip install 'lenet5c[plots]'" in complained and complained.count("\n") == 1
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluation.json",
        "evaluation.html",
    }


def test_a_broken_matplotlib_costs_the_pictures_alone(run, tmp_path, idx_files, monkeypatch):
    broken = tmp_path / "broken" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise ImportError("of another\\nNumPy")')
    monkeypatch.syspath_prepend(broken.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    code, _, complained = run("--data", idx_files, "--out", tmp_path / "out")
    assert (
        code == 0
        and complained == "lenet5c evaluate: warning: no pictures: ImportError of another NumPy\n"
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluation.json",
        "evaluation.html",
    }


def test_the_folder_of_a_run_brings_its_data(run, tmp_path, idx_files):
    save_model(tmp_path / "model.safetensors", open_model())
    _files.write_record(tmp_path / "config.json", "config", {"data": str(idx_files)})
    assert json.loads(run(tmp_path, "--json")[1])["count"] == 500
    assert json.loads(run(tmp_path, "--json", "--part", "train")[1])["count"] == 2000
    for text in ("[[", json.dumps({"data": "mnist"})):  # not the data of another run in silence
        (tmp_path / "config.json").write_text(text)
        assert_bad_use(run(tmp_path, "--json"), "config.json must be the configuration of a run of")
        assert json.loads(run(tmp_path, "--json", "--data", "mnist")[1])["count"] == 10000
    (tmp_path / "config.json").unlink()
    assert json.loads(run(tmp_path, "--json")[1])["count"] == 10000


@pytest.fixture
def digits(tmp_path, mnist_slice):
    """Return a folder of pictures of the test images, a folder for each class."""
    Image = pytest.importorskip("PIL.Image")
    _, test = mnist_slice
    for i, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        path = tmp_path / "digits" / str(label) / f"no {i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    return tmp_path / "digits"


def test_mistakes_have_the_names_of_their_files(run, tmp_path, digits, other):
    code, said, complained = run(other, "--data", digits, "--worst", 3)
    assert (code, complained) == (0, "")
    code, text, _ = run(other, "--data", digits, "--json", "--worst", 1000)
    record = json.loads(text)
    assert record["count"] == 500 and any("not divided" in note for note in record["notes"])
    assert record["part"] is None and "digits: 500 images, 10 classes" in said
    for mistake in record["worst"]:
        path = digits / mistake["id"]
        assert mistake["file"] == str(path) and path.parent.name == str(mistake["label"])
    assert [line.split("  ")[0] for line in said.splitlines()[-3:]] == [
        mistake["id"] for mistake in record["worst"][:3]
    ]
    out, errors = tmp_path / "out", tmp_path / "errors"
    code, said, complained = run(
        other, "--data", digits, "--out", out, "--errors", errors, "--worst", 0
    )
    assert (code, complained) == (0, "")
    assert f"Copied to {errors}: {len(record['worst'])} misclassified images" in said
    copies = {
        f"{each['label']}-as-{each['predicted']}-{each['id'].partition('/')[2]}": each["file"]
        for each in record["worst"]
    }
    assert {path.name for path in errors.iterdir()} == set(copies)
    for name, file in copies.items():
        assert (errors / name).read_bytes() == Path(file).read_bytes()
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert " on 500 images of " in page and "test accuracy" not in page
    assert page.count('<a href="file:///') == min(40, len(copies))
    assert "digits/" in page and "no%20" in page
    # The folder has files now.
    assert_bad_use(run(other, "--data", digits, "--errors", errors), "new or empty folder")


def test_mistakes_of_arrays_become_pictures(run, tmp_path, idx_files, mnist_slice, other):
    Image = pytest.importorskip("PIL.Image")
    _, test = mnist_slice
    code, said, _ = run(other, "--data", idx_files, "--errors", tmp_path / "errors", "--json")
    mistakes = json.loads(said)["worst"]
    assert code == 0 and all("file" not in each and "id" not in each for each in mistakes)
    for each in mistakes:
        i = each["index"]
        path = tmp_path / "errors" / f"{each['label']}-as-{each['predicted']}-{i}.png"
        assert (np.array(Image.open(path)) == test.images[i, 0]).all()


def test_no_mistake_at_all(run, tmp_path, mnist_slice):
    train, test = mnist_slice
    right = np.flatnonzero(open_model().probabilities(test.images).argmax(axis=1) == test.labels)
    folder = write_idx_files(tmp_path / "right", train, test.take(right))
    code, said, complained = run("--data", folder, "--out", tmp_path / "out")
    assert code == 0 and complained == "" and "100.00%" in said and "misclassified" not in said


def test_models_of_other_kinds(run, tmp_path):
    rng = np.random.default_rng(0)
    shape, names = (3, 40, 40), ("犬", "<b>", "x" * 60)

    def part(count):
        return Dataset(
            rng.integers(0, 256, (count, *shape), np.uint8),
            np.arange(count) % 3,
            3,
            class_names=names,
        )

    trained = TrainedModel(
        nn.LeNet5_1998(3, 3), Preparation((32, 32), fit="resize"), names, shape, "whole"
    )
    save_model(tmp_path / "model.safetensors", trained)
    data = Dataset(part(20).images, part(20).labels, 3)
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "t10k"):
        images, labels = data.images, data.labels.astype(np.uint8)
        (folder / f"{name}-images-idx4-ubyte").write_bytes(
            bytes([0, 0, 8, 4]) + np.array(images.shape, ">u4").tobytes() + images.tobytes()
        )
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + np.array(labels.shape, ">u4").tobytes() + labels.tobytes()
        )
    code, said, complained = run(tmp_path, "--data", folder, "--out", tmp_path / "out")
    assert code == 0 and complained == "" and "matched by number" in said and "x" * 60 not in said
    page = (tmp_path / "out/evaluation.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;" in page and "犬" in page
    assert_bad_use(run("best", "--data", folder), "1 channel", "got 3")
    assert_bad_use(run(tmp_path, "--data", "mnist"), "3 channels", "got 1")


def test_bad_use(run, tmp_path, idx_files):
    assert_bad_use(run("nowhere"), "nowhere", "best")
    assert_bad_use(run(""), "a folder without model.safetensors")
    assert_bad_use(run("--data", "nowhere"), "--data", "nowhere")
    assert_bad_use(run("--data", idx_files, "--compare", "nowhere"), "nowhere")
    assert_bad_use(run("--part", "validation"), "--part", "test or train")
    assert_bad_use(run("--worst", "-1"), "--worst")
    assert_bad_use(run("--map", "cat"), "--map", "must be DATA=MODEL, such as cat=3, got 'cat'")
    (tmp_path / "config.json").write_text("{}")
    assert_bad_use(run("--out", tmp_path), "--out", "contains a run")
    (tmp_path / "file").write_text("")
    assert_bad_use(run("--out", tmp_path / "file"), "--out", "which cannot be created")
    (tmp_path / "empty").mkdir()
    assert_bad_use(run(tmp_path / "empty"), "a folder without model.safetensors")
    two = TrainedModel(nn.LeNet5(2), Preparation((32, 32)), ("cat", "dog"))
    save_model(tmp_path / "two.safetensors", two)
    assert_bad_use(
        run(tmp_path / "two.safetensors", "--data", idx_files), "'cat' and 'dog'", "--map 0=CLASS"
    )


@pytest.fixture
def write_digits(tmp_path, mnist_slice):
    """Return a function that makes a folder of 100 test images with these names of classes."""
    Image = pytest.importorskip("PIL.Image")
    _, test = mnist_slice

    def make(name, class_names):
        for i in range(100):
            folder = tmp_path / name / class_names[test.labels[i]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(test.images[i, 0]).save(folder / f"{i}.png")
        return tmp_path / name

    return make


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.mark.parametrize("where", ["words", "words/test", "words/dataset/Test Images"])
def test_digits_in_words_are_the_models(run, write_digits, where, tmp_path):
    write_digits(where, WORDS)
    code, said, _ = run("best", "--data", tmp_path / "words", "--json")
    record = json.loads(said)
    assert code == 0 and record["count"] == 100 and record["accuracy"] > 0.98
    assert any("matched by name: 'eight' is the model's '8'" in note for note in record["notes"])


def test_classes_that_are_not_the_models_are_refused_unless_mapped(run, write_digits, tmp_path):
    from_one = write_digits("from-one", [str(i + 1) for i in range(10)])
    assert_bad_use(run("best", "--data", from_one), "got '10'", "--map 10=0, or 1=0 2=1")
    mapping = [f"{i + 1}={i}" for i in range(10)]
    code, said, _ = run("best", "--data", from_one, "--json", "--map", *mapping)
    assert code == 0 and json.loads(said)["accuracy"] > 0.98
    pets = write_digits("pets", ["cat", "dog"] * 5)
    assert_bad_use(run("best", "--data", pets), "got 'cat' and 'dog'", "--map cat=CLASS dog=CLASS")
    assert_bad_use(run("best", "--data", pets, "--map", "cow=3"), "--map", "got 'cow'")


@pytest.mark.parametrize("value", [np.nan, 3e38])
def test_a_model_that_went_wrong_is_told(run, tmp_path, idx_files, value):
    trained = open_model()
    trained.model.vector[:] = value
    save_model(tmp_path / "model.safetensors", trained)
    assert_bad_use(
        run(tmp_path, "--data", idx_files),
        "outputs of the model must be finite, got NaN or infinity for 500 of 500",
    )


def test_the_examples_in_its_help_are_commands():
    epilog = evaluate.EXAMPLES
    lines = [line.strip() for line in epilog.splitlines()[1:]]
    assert len(lines) >= 4
    for line in lines:
        assert line.startswith("lenet5c evaluate")
        make_parser("evaluate").parse_args(shlex.split(line)[1:])


@pytest.mark.skipif(os.name == "nt", reason="POSIX shell")
def test_as_a_process_with_a_pipe_that_closes(idx_files):
    python, data = shlex.quote(sys.executable), shlex.quote(str(idx_files))
    command = f"{python} -m lenet5c evaluate --data {data} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("best: LeNet5") and done.stderr == ""
