"""The model in the package matches the description in its files."""

import json

import numpy as np
import pytest

from lenet5c.datasets import mnist
from lenet5c.datasets.framing import MNIST
from lenet5c.datasets.sign_names import CLASS_NAMES
from lenet5c.recipes import RECIPES
from lenet5c.recipes.recipe import Recipe
from lenet5c.training import evaluate, open_model
from lenet5c.training.model_file import BEST_FOLDER as FOLDER


def told(name):
    return json.loads((FOLDER / name).read_text())


def test_it_reaches_what_it_is_said_to_reach():
    trained, summary = open_model(), told("summary.json")
    _, test = mnist()
    found = evaluate(trained, test)
    assert (found.correct, found.count) == (summary["test_correct"], summary["test_count"])
    assert f"{summary['test_correct']:,}" in (FOLDER / "README.md").read_text()
    assert trained.class_names == tuple("0123456789")
    assert (trained.image_shape, trained.reading) == ((1, 28, 28), "ink")


def test_its_temperature_is_that_of_its_files():
    trained, summary = open_model(), told("summary.json")
    assert trained.temperature == summary["temperature"] == told("config.json")["temperature"]
    assert f"--temperature {trained.temperature:g}" in (FOLDER / "README.md").read_text()
    assert trained.temperature != 1


def test_it_is_of_the_recipe_as_it_stands():
    config = told("config.json")
    assert (config["recipe"], config["seed"], config["data"]) == ("best", 0, "mnist")
    recipe = RECIPES["best"].change(temperature=open_model().temperature).to_dict()
    assert {name: config[name] for name in recipe} == json.loads(json.dumps(recipe))
    assert set(recipe) == set(Recipe.settings())


def test_the_model_of_signs_reaches_what_it_is_said_to_reach():
    trained, (_, test) = open_model("signs"), mnist()
    assert trained.class_names == CLASS_NAMES and trained.framing == MNIST
    assert trained.image_shape == (1, 28, 28) and trained.model.num_params == 76_368
    found = trained.probabilities(test.images)
    right = found.argmax(axis=1) == test.labels, found[:, :10].argmax(axis=1) == test.labels
    text = (FOLDER / "README.md").read_text()
    assert all(f"{each.mean():.2%}".replace("%", " %") in text for each in right)


@pytest.mark.slow
def test_the_command_for_signs_makes_as_good_a_model(tmp_path):
    from lenet5c.__main__ import main

    options = ["--recipe", "signs", "--data", "signs", "--seed", "0", "--quiet", "--no-report"]
    assert main(["train", *options, "--out", str(tmp_path)]) == 0
    _, test = mnist()
    again, shipped = (
        np.mean(open_model(name).predict(test.images) == test.labels)
        for name in (tmp_path / "model.safetensors", "signs")
    )
    assert abs(again - shipped) < 0.002


@pytest.mark.slow
def test_its_command_writes_the_same_weights(tmp_path):
    from lenet5c.__main__ import main

    assert (
        main(
            [
                "train",
                "--recipe",
                "best",
                "--seed",
                "0",
                "--temperature",
                str(open_model().temperature),
                "--out",
                str(tmp_path),
                "--quiet",
                "--no-report",
            ]
        )
        == 0
    )
    again, shipped = open_model(tmp_path / "model.safetensors"), open_model()
    np.testing.assert_array_equal(again.model.vector, shipped.model.vector)
    assert again.temperature == shipped.temperature
