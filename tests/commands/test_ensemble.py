"""`lenet5c ensemble`, and its file in other commands."""

import json

import numpy as np
import pytest

import lenet5c
from lenet5c.__main__ import main
from lenet5c.nn.ensemble import describe_kind
from lenet5c.training import mcnemar, open_model, save_model


@pytest.fixture(scope="module")
def runs(mnist_slice, tmp_path_factory):
    """Return a folder with three models of other nets and other preparations."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, activation in enumerate(("relu", "tanh", "sigmoid")):
        data = mnist_slice[0].take(np.arange(100 * seed, 1000 + 100 * seed))
        trainer = lenet5c.trainer("fast", data, seed, channels=(4, 8), activation=activation)
        trainer.run()
        (folder / activation).mkdir()
        save_model(folder / activation / "model.safetensors", trainer.trained)
    return folder


@pytest.fixture
def run(capsys):
    """Run a command in this process; return the exit code, output and errors."""

    def command(*arguments):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as error:
            code = error.code
        return (code or 0, *capsys.readouterr())

    return command


@pytest.fixture
def ensemble(run, runs, tmp_path):
    out = tmp_path / "three.safetensors"
    code, said, errors = run("ensemble", runs, "--out", out)
    assert code == 0 and not errors
    assert "Ensemble of 3 LeNet5" in said and "members relu, sigmoid, tanh" in said
    return out


def test_the_default_file(run, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, _ = run("ensemble", runs / "relu", runs / "tanh")
    assert code == 0 and said.startswith("ensemble.safetensors: Ensemble of 2 LeNet5")
    assert describe_kind(open_model("ensemble.safetensors").model) == "Ensemble of 2 LeNet5"


def test_a_file_is_replaced_only_if_asked(run, runs, ensemble):
    before = ensemble.read_bytes()
    code, _, errors = run("ensemble", runs / "relu", runs / "tanh", "--out", ensemble)
    assert code == 2 and "--out must be a new file" in errors and "--overwrite" in errors
    assert ensemble.read_bytes() == before
    twice = (runs / "relu", runs / "tanh", "--out", ensemble, "--overwrite")
    assert run("ensemble", *twice)[0] == 0
    assert ensemble.read_bytes() != before


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["relu"], "RUN must be at least two models, got 1"),
        (["relu", "none"], "which does not exist"),
        (["relu", "signs"], "member signs must have the classes ['0', '1', '2'"),
    ],
)
def test_one_line_for_what_cannot_be(run, runs, tmp_path, names, words):
    paths = [name if name == "signs" else runs / name for name in names]
    code, said, errors = run("ensemble", *paths, "--out", tmp_path / "x.safetensors")
    assert code == 2 and said == "" and len(errors.splitlines()) == 1
    assert words in errors
    assert not (tmp_path / "x.safetensors").exists()


def test_evaluate_compares_it_with_its_members(run, runs, ensemble, idx_files, tmp_path):
    options = (ensemble, "--data", idx_files, "--worst", 0)
    code, said, errors = run("evaluate", *options, "--json")
    assert code == 0, errors
    record = json.loads(said)
    test = open_test(idx_files)
    right = open_model(ensemble).predict(test.images) == test.labels
    assert record["correct"] == right.sum()
    assert [row["member"] for row in record["members"]] == ["relu", "sigmoid", "tanh"]
    for row in record["members"]:
        alone = open_model(runs / row["member"]).predict(test.images) == test.labels
        expected = mcnemar(right, alone)
        assert row["correct"] == alone.sum()
        assert (row["only_ensemble"], row["only_member"]) == (expected.only_a, expected.only_b)
        assert row["p_value"] == expected.p_value <= row["p_holm"]
    code, said, _ = run("evaluate", *options, "--out", tmp_path / "report")
    assert "Ensemble of 3 LeNet5" in said and "only ensemble" in said
    rows = [line.split() for line in said.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("relu", "sigmoid", "tanh")] == [
        *("relu", "sigmoid", "tanh")
    ]
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert "Members of the ensemble" in page


def open_test(path):
    from lenet5c.datasets.source import open_source

    return open_source(str(path)).test


def test_a_single_model_has_no_members(run, runs, idx_files):
    code, said, _ = run("evaluate", runs / "relu/model.safetensors", "--data", idx_files, "--json")
    assert code == 0 and "members" not in json.loads(said)


def test_predict_and_why(run, ensemble, mnist_slice, tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "digit.png"
    image.fromarray(255 - mnist_slice[1].images[0, 0]).resize((112, 112)).save(path)
    code, said, errors = run("predict", path, "--model", ensemble)
    assert code == 0 and not errors and said.strip()
    code, _, errors = run("predict", path, "--model", ensemble, "--why", tmp_path / "why")
    assert code == 0, errors


def test_summary_lists_the_members(run, ensemble):
    code, said, _ = run("summary", ensemble)
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()[3:7]] == [
        *("ensemble.relu", "ensemble.sigmoid", "ensemble.tanh", "ensemble")
    ]
    assert "Ensemble of 3 LeNet5" in said and "relu at temperature 1" in said


def test_onnx_of_images(run, ensemble, mnist_slice, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    out, images = tmp_path / "three.onnx", mnist_slice[1].images[:30]
    assert run("export", ensemble, "--out", out)[0] == 0
    session = runtime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    _, probabilities = session.run(None, {"image": images})
    np.testing.assert_allclose(probabilities, open_model(ensemble)(images), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "--to", "html"), "be shown on a page, got an Ensemble; show one of its"),
        (("export", "--to", "c", "--quantize", "int8"), "be computed in int8, got an Ensemble"),
        (("demo", "--no-browser", "--model"), "be shown on a page, got an Ensemble"),
        (("train", "--from"), "--from must be a single net, got an Ensemble of 3 LeNet5"),
    ],
)
def test_what_there_is_of_a_single_net_alone(
    run, ensemble, tmp_path, arguments, words, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    name, *others = arguments
    model = [*others, ensemble] if name in ("demo", "train") else [ensemble, *others]
    code, said, errors = run(name, *model)
    assert code == 2 and said == ""
    assert len(errors.splitlines()) == 1 and words in errors
