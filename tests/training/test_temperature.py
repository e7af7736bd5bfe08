"""Softmax temperature: its fit, its storage in the model file, and its effects."""

import json

import numpy as np
import pytest

from lenet5c import _files, nn
from lenet5c.datasets import Dataset, Preparation
from lenet5c.errors import RunError
from lenet5c.kernels.softmax import softmax
from lenet5c.recipes import RunConfig, train
from lenet5c.training import (
    TrainedModel,
    calibrate,
    evaluate,
    fit_temperature,
    measure_reliability,
    open_model,
    save_model,
)


def naive_objective(logits, labels, temperature):
    """Return the explicit objective: the likelihood, and the prior of log T."""
    z = logits.astype(np.float64) / temperature
    z -= z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    likelihood = 0.999 * p[np.arange(len(z)), labels] + 0.001 / z.shape[1]
    return -np.log(likelihood).sum() + 0.5 * (np.log(temperature) / np.log(2)) ** 2


def draw_labels(probabilities, rng):
    return (probabilities.cumsum(axis=1) < rng.random((len(probabilities), 1))).sum(axis=1)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("classes", [2, 10, 300])
def test_it_is_the_minimum_of_a_fine_grid(scale, classes):
    rng = np.random.default_rng(classes)
    logits = 2 * rng.standard_normal((400, classes)).astype(np.float32)
    labels = draw_labels(softmax(logits), rng)
    fitted = fit_temperature(scale * logits, labels)
    grid = np.concatenate([np.geomspace(0.01, 100, 400), np.linspace(0.9, 1.1, 401)])
    grid[400:] *= fitted.temperature
    best = grid[np.argmin([naive_objective(scale * logits, labels, t) for t in grid])]
    assert fitted.temperature == pytest.approx(best, rel=1e-3)
    assert fitted.count == 400 and not fitted.at_bound
    assert fitted.nll_after <= fitted.nll_before + 1e-3


def test_it_undoes_a_scale_and_makes_probabilities_honest():
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((20_000, 10))
    labels = draw_labels(softmax(logits), rng)
    fitted = fit_temperature(4 * logits, labels)
    assert fitted.temperature == pytest.approx(4, rel=0.03)
    right = logits.argmax(axis=1) == labels
    before, after = (
        measure_reliability(softmax(4 * logits / t).max(axis=1), right)
        for t in (1, fitted.temperature)
    )
    assert before.ece > 0.1 and after.ece < 2 * after.ece_by_chance


def test_a_single_wrong_label_has_little_to_say():
    rng = np.random.default_rng(0)
    logits = 8 * rng.standard_normal((2000, 10))
    labels = draw_labels(softmax(logits), rng)
    sure = int(np.argmax(np.sort(logits)[:, -1] - np.sort(logits)[:, -2]))
    plain = fit_temperature(logits, labels).temperature
    labels[sure] = logits[sure].argmin()
    wrong = fit_temperature(logits, labels).temperature
    assert wrong == pytest.approx(plain, rel=0.01)


def test_huge_logits_are_no_trouble():
    logits = np.tile([1e30, 0.0, -1e30], (20, 1))
    fitted = fit_temperature(logits, np.arange(20) % 2)
    assert 0.01 <= fitted.temperature <= 100
    assert np.isfinite([fitted.nll_before, fitted.nll_after]).all()


def test_all_right_does_not_make_it_sure_of_everything():
    logits = np.tile([4.0, 0.0, 0.0], (50, 1))
    fitted = fit_temperature(logits, np.zeros(50, int))
    assert 0.4 < fitted.temperature < 1
    one = fit_temperature(logits[:1], [0])
    assert fitted.temperature < one.temperature < 1


def test_all_wrong_ends_at_the_bound_and_says_so():
    fitted = fit_temperature(np.tile([300.0, 0.0], (60, 1)), np.ones(60, int))
    assert fitted.temperature == 100 and fitted.at_bound
    assert "the limit of the allowed range" in str(fitted)
    assert np.isfinite([fitted.nll_before, fitted.nll_after]).all()


def test_equal_logits_say_nothing():
    assert fit_temperature(np.zeros((5, 3)), [0, 1, 2, 0, 1]).temperature == 1


@pytest.mark.parametrize(
    "logits, labels, words",
    [
        (np.zeros((0, 3)), [], "logits must be numbers"),
        (np.zeros((2, 0)), [0, 0], "logits must be numbers"),
        (np.zeros(3), [0], "logits must be numbers"),
        ([["a"]], [0], "logits must be numbers"),
        (np.zeros((2, 3)), [0], "labels must be int"),
        (np.zeros((2, 3)), [0.0, 1.0], "labels must be int"),
        (np.zeros((2, 3)), [0, 3], "labels must be from 0 to 2, got 0 to 3"),
        (np.zeros((2, 3)), [-1, 0], "labels must be from 0 to 2, got -1 to 0"),
        ([[np.nan, 0.0]], [0], "logits must be finite"),
    ],
)
def test_arguments_that_do_not_fit(logits, labels, words):
    with pytest.raises(ValueError, match=words):
        fit_temperature(logits, labels)


@pytest.fixture
def trained():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=0), input_shape=(1, 8, 8))
    return TrainedModel(model, Preparation((8, 8), "resize"), tuple("abcde"))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (60, 1, 8, 8), np.uint8)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 0.999, 1.0, 1.0001, 3.7, 100])
def test_no_temperature_changes_a_label(temperature):
    rng = np.random.default_rng(0)
    logits = (10 * rng.standard_normal((200, 12))).astype(np.float32)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 12, rng=0), input_shape=(1, 2, 2))
    trained = TrainedModel(
        model, Preparation((2, 2), "resize"), tuple("abcdefghijkl"), temperature=temperature
    )
    probabilities = trained.softmax(logits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    places = np.arange(200), logits.argmax(axis=1)
    assert (probabilities[places] == probabilities.max(axis=1)).all()


def test_probabilities_are_those_of_the_divided_logits(trained, images):
    plain = trained.probabilities(images)
    np.testing.assert_array_equal(plain, softmax(trained.logits(images)))
    trained.temperature = 2.5
    expected = softmax(trained.logits(images).astype(np.float64) / 2.5)
    np.testing.assert_allclose(trained.probabilities(images), expected, rtol=1e-5)
    np.testing.assert_array_equal(trained(images), trained.probabilities(images))
    data = Dataset(images, trained.predict(images), 5)
    result = evaluate(trained, data)
    np.testing.assert_array_equal(result.probabilities, trained.probabilities(images))
    assert result.accuracy == 1
    assert result.loss == evaluate(trained.model, data, trained.preparation).loss
    assert result.nll == pytest.approx(-np.log(expected.max(axis=1)).mean(), rel=1e-4)


def test_it_is_kept_in_the_file(trained, images, tmp_path):
    path = tmp_path / "model.safetensors"
    plain = save_model(path, trained)
    assert b"temperature" not in path.read_bytes()
    trained.temperature = 1.37
    assert save_model(path, trained) != plain
    again = open_model(path)
    assert again.temperature == 1.37
    np.testing.assert_array_equal(again(images), trained(images))


WRONG = [float("nan"), 0, -1.0, float("inf"), 1e-9, 1e9, "1", True, None, [1.0], {}]


@pytest.mark.parametrize("value", WRONG)
def test_a_file_with_a_wrong_one_is_refused(trained, value, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, trained)
    tensors, metadata = _files.read_tensors(path, "model")
    del metadata["digest"], metadata["format"]
    _files.write_tensors(path, "model", tensors, metadata | {"temperature": value})
    with pytest.raises(RunError, match="temperature must be a number from 0.01 to 100, got"):
        open_model(path)


@pytest.mark.parametrize("value", WRONG)
def test_a_model_with_a_wrong_one_is_neither_made_nor_saved(trained, value, tmp_path):
    with pytest.raises(ValueError, match="temperature must be"):
        TrainedModel(trained.model, trained.preparation, trained.class_names, temperature=value)
    trained.temperature = value
    with pytest.raises(ValueError, match="temperature must be"):
        save_model(tmp_path / "model.safetensors", trained)


def test_calibrate_sets_what_it_fits(trained, images):
    rng = np.random.default_rng(2)
    labels = draw_labels(softmax(trained.logits(images) / 3), rng)
    fitted = calibrate(trained, Dataset(images, labels, 5))
    assert trained.temperature == fitted.temperature > 1
    expected = fit_temperature(trained.logits(images), labels)
    assert fitted == expected


def test_training_fits_it_on_the_images_held_out(tmp_path):
    run = train(RunConfig.named("default", epochs=1, train_size=1500, folder=tmp_path / "run"))
    held_out = run.trainer.validation_set
    logits = run.trained.model.logits(
        run.trained.model.outputs(run.trained.preparation.samples(held_out.images))
    )
    fitted = fit_temperature(logits, held_out.labels)
    assert run.trainer.calibration == fitted
    assert run.trained.temperature == fitted.temperature != 1
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["temperature"] == fitted.temperature
    assert summary["calibration_count"] == len(held_out)
    assert (summary["nll_before"], summary["nll_after"]) == (fitted.nll_before, fitted.nll_after)
    assert open_model(tmp_path / "run").temperature == fitted.temperature


@pytest.mark.parametrize("given", [None, 1.7])
def test_training_without_images_held_out_has_the_one_it_is_told(given):
    run = train(RunConfig.named("fast", epochs=1, train_size=500, temperature=given))
    assert run.trainer.validation_set is None and run.trainer.calibration is None
    assert run.trained.temperature == (given or 1)


def test_a_given_one_is_not_fitted_over():
    config = RunConfig.named("default", epochs=1, train_size=800, temperature=1.7)
    run = train(config)
    assert run.trainer.validation_set is not None and run.trainer.calibration is None
    assert run.trained.temperature == 1.7


@pytest.mark.parametrize("value", [0, -1, float("nan"), 1000, "warm"])
def test_a_recipe_refuses_a_wrong_one(value):
    with pytest.raises(ValueError, match="temperature must be a number from 0.01 to 100"):
        RunConfig.named("fast", temperature=value)


def test_a_model_to_start_from_does_not_pass_its_own_on():
    start = open_model()
    start.temperature = 3.0
    run = train(RunConfig.named("fast", epochs=1, train_size=500), start=start)
    assert run.trained.temperature == 1 and start.temperature == 3
