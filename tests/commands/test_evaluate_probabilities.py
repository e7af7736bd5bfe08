"""`lenet5c evaluate`: probabilities, rejections, corruptions and calibration."""

import json

import numpy as np
import pytest
from idx_files import write_idx_files

from lenet5c import nn
from lenet5c.__main__ import main
from lenet5c.datasets import Dataset, Preparation
from lenet5c.datasets.corruptions import CORRUPTIONS
from lenet5c.training import TrainedModel, evaluate, fit_temperature, holm, open_model, save_model


@pytest.fixture
def run(capsys):
    """Run the command in this process; return the exit code, output and errors."""

    def command(*arguments):
        try:
            code = main(["evaluate", *map(str, arguments)])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Return a model file, by a short name: the shipped model with some weights changed."""
    monkeypatch.chdir(tmp_path)
    trained = open_model()
    noise = np.random.default_rng(0).standard_normal(trained.model.num_params)
    trained.model.vector[:] += 0.1 * noise
    save_model("other.safetensors", trained)
    return "other.safetensors"


def test_json_has_what_the_api_finds(run, idx_files, mnist_slice, other):
    _, test = mnist_slice
    code, said, complained = run(other, "--data", idx_files, "--json")
    assert code == 0 and complained == ""
    record = json.loads(said)["probabilities"]
    result = evaluate(open_model(other), test)
    assert (record["nll"], record["brier"]) == (result.nll, result.brier)
    assert record["ece"]["equal_width"]["value"] == result.ece
    assert record["ece"]["equal_mass"]["value"] == result.reliability(equal="mass").ece
    for equal in ("equal_width", "equal_mass"):
        bins = record["reliability"][equal]
        assert sum(each["count"] for each in bins) == 500
        assert sum(each["correct"] for each in bins) == result.correct
        assert all(each["interval"][0] <= each["accuracy"] <= each["interval"][1] for each in bins)
    assert record["auc"]["macro"] == result.auc
    areas = [each["auc"] for each in record["auc"]["classes"]]
    assert areas == pytest.approx(result.areas.tolist())
    rows = record["rejections"]["table"]
    assert record["rejections"]["area"] == result.rejections.area
    for row in rows:
        if row["rejected"] is not None:
            left = result.confidences >= row["threshold"]
            wrong = int((result.labels != result.predictions)[left].sum())
            assert (row["accepted"], row["errors"]) == (int(left.sum()), wrong)
            assert wrong / left.sum() <= row["error_rate"]
    curve = np.array(record["rejections"]["curve"])
    assert (np.diff(curve[:, 0]) > 0).all() and curve[0].tolist() == [0, 1 - result.accuracy]


def test_text_has_the_scores_and_the_rejections(run, idx_files, other):
    _, said, _ = run(other, "--data", idx_files)
    assert max(len(line) for line in said.splitlines() if str(idx_files) not in line) <= 100
    for words in ("Probabilities, at temperature", "by chance alone", "Error-reject curve"):
        assert words in said


@pytest.mark.parametrize("classes", [2, 1000])
def test_few_images_of_some_of_many_classes(run, tmp_path, classes, mnist_slice):
    train, test = mnist_slice
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, classes, rng=0), input_shape=(1, 28, 28))
    names = tuple(map(str, range(classes)))
    trained = TrainedModel(net, Preparation((28, 28), "resize"), names)
    save_model(tmp_path / "model.safetensors", trained)
    keep = np.flatnonzero(test.labels < 2)[:9]
    folder = write_idx_files(
        tmp_path / "data", train.take(np.flatnonzero(train.labels < 2)), test.take(keep)
    )
    model = tmp_path / "model.safetensors"
    code, said, complained = run(model, "--data", folder, "--out", tmp_path / "out")
    assert code == 0 and complained == "" and "of 2 classes" in said
    record = json.loads((tmp_path / "out/evaluation.json").read_text())["probabilities"]
    assert sum(each["auc"] is not None for each in record["auc"]["classes"]) == 2
    low, high = record["auc"]["classes"][0]["interval"]
    assert high - low > 0.1  # nine images do not say more


def test_one_class_alone_has_no_roc(run, tmp_path, mnist_slice):
    train, test = mnist_slice
    keep = np.flatnonzero(test.labels == 1)[:5]
    folder = write_idx_files(tmp_path / "data", train, test.take(keep))
    code, said, complained = run("--data", folder, "--out", tmp_path / "out")
    assert code == 0 and complained == "" and "AUC" not in said
    record = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert record["probabilities"]["auc"]["macro"] is None
    assert not (tmp_path / "out/roc.png").exists()


def test_corruptions_of_two_models(run, idx_files, other, tmp_path):
    given = ("best", "--data", idx_files, "--compare", other, "--corrupt-images", 60)
    code, said, complained = run(*given, "--corruptions", 5, 1, 5, "--json")
    assert code == 0 and complained == ""
    record = json.loads(said)["corruptions"]
    assert (record["images"], record["severities"]) == (60, [1, 5])
    rows, tests = record["rows"], record["compare"]["tests"]
    assert [(row["kind"], row["severity"]) for row in rows] == [
        (kind, severity) for kind in CORRUPTIONS for severity in (1, 5)
    ]
    assert record["mean_corruption_error"] == pytest.approx(np.mean([r["error"] for r in rows]))
    for row, theirs, test in zip(rows, record["compare"]["rows"], tests, strict=True):
        assert row["increase"] == pytest.approx(row["error"] - record["clean"]["error"])
        assert row["correct"] - theirs["correct"] == test["only_first"] - test["only_second"]
    assert [test["holm_p"] for test in tests] == pytest.approx(
        holm([test["p_value"] for test in tests])
    )
    code, said, complained = run(*given, "--corruptions", "--out", tmp_path / "out")
    assert code == 0 and complained == ""
    told = [line for line in said.splitlines() if str(tmp_path) not in line]
    assert max(len(line) for line in told if str(idx_files) not in line) <= 100
    assert "Corrupted, severity 3: 60 images, seed 0" in said and "Holm" in said
    page = (tmp_path / "out/evaluation.html").read_text(encoding="utf-8")
    assert "Corrupted images" in page and page.count("data:image/png;base64,") == 6
    assert (tmp_path / "out/corruptions.png").exists()


def test_corruptions_of_images_in_color(run, tmp_path):
    rng = np.random.default_rng(0)
    trained = TrainedModel(
        nn.LeNet5(2, 3, rng=0), Preparation((32, 32), "resize"), ("a", "b"), (3, 20, 24), "whole"
    )
    save_model(tmp_path / "model.safetensors", trained)
    images = rng.integers(0, 256, (30, 20, 24, 3), np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(30) % 2)
    model, data = tmp_path / "model.safetensors", tmp_path / "data.npz"
    code, said, complained = run(
        model, "--data", data, "--map", "0=a", "1=b", "--corruptions", "2", "--out", tmp_path / "o"
    )
    assert code == 0 and complained == "" and "Corrupted, severity 2" in said


def test_calibrate_writes_the_model_with_its_temperature(run, idx_files, mnist_slice, tmp_path):
    train, _ = mnist_slice
    out = tmp_path / "calibrated.safetensors"
    code, said, complained = run("--data", idx_files, "--part", "train", "--calibrate", out)
    assert code == 0 and complained == ""
    assert f"written to {out} with temperature" in " ".join(said.split())
    plain, fitted = open_model(), open_model(out)
    expected = fit_temperature(plain.logits(train.images), train.labels)
    assert fitted.temperature == expected.temperature
    np.testing.assert_array_equal(fitted.model.vector, plain.model.vector)


def test_calibrate_refuses_test_images_those_of_the_training_and_the_model_itself(
    run, idx_files, tmp_path, other
):
    out = tmp_path / "calibrated.safetensors"
    for given, words in (
        (("best",), "the test images of mnist, kept for testing"),
        (("best", "--part", "train"), "the train images of mnist, used to train the model"),
        (("signs", "--data", "signs", "--part", "train"), "used to train the model"),
        (("best", "--data", idx_files), "kept for testing"),
    ):
        code, said, complained = run(*given, "--calibrate", out)
        assert code == 2 and said == "" and "--calibrate must have unused images" in complained
        assert words in complained
    code, _, complained = run(other, "--data", idx_files, "--part", "train", "--calibrate", other)
    assert code == 2 and "--calibrate must differ from the model file" in complained
    # A model in the folder of its run, named as a file.
    run_folder = tmp_path / "run"
    assert main(["train", "--data", str(idx_files), "--epochs", "1", "--out", str(run_folder)]) == 0
    for model in (run_folder, run_folder / "model.safetensors"):
        given = (model, "--data", idx_files, "--part", "train", "--calibrate", out)
        code, _, complained = run(*given)
        assert code == 2 and "used to train the model" in complained
    assert not out.exists()


@pytest.mark.parametrize("value", ["0", "6", "x"])
def test_severities_are_1_to_5(run, value):
    code, said, complained = run("--corruptions", value)
    assert code == 2 and said == "" and "--corruptions" in complained


def test_calibration_of_given_labels(mnist_slice):
    """A model with doubled logits is calibrated at twice the temperature."""
    from lenet5c.training import calibrate

    data = mnist_slice[1]
    once, twice = open_model(), open_model()
    last = list(twice.model.layers.values())[-1]
    for array in last.params.values():
        array *= 2
    rng = np.random.default_rng(0)
    labels = (
        once.softmax(once.logits(data.images) / 8).cumsum(axis=1) < rng.random((len(data), 1))
    ).sum(axis=1)
    data = Dataset(data.images, labels, 10)
    a, b = calibrate(once, data).temperature, calibrate(twice, data).temperature
    assert b == pytest.approx(2 * a, rel=0.01)
