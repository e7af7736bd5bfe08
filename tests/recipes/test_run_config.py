"""Run configurations: checks, files, and the command that repeats a run."""

import json
import shlex

import numpy as np
import pytest

import lenet5c
from lenet5c.commands.parser import make_parser
from lenet5c.commands.train import configure
from lenet5c.datasets import DatasetError
from lenet5c.recipes import RECIPES, RunConfig, recipe


@pytest.mark.parametrize(
    "options",
    [
        *(["--recipe", name] for name in RECIPES),
        ["--reading", "whole", "--skip-bad"],
        ["--seed", "7", "--epochs", "3", "--lr", "0.01", "--watch-test", "--validation", "0.25"],
        ["--recipe", "best", "--distortion", "none", "--average", "0.999", "--train-size", "1000"],
        ["--distortion", "pictures-mixup"],
        ["--distortion", '{"flip": 0.5, "outside": "edge", "crop_padding": 2}'],
        [
            "--distortion",
            "modern",
            "--dropout",
            "0.5",
            "--batch-norm",
            "--c5",
            "conv",
            "--activation",
            "tanh",
        ],
        [
            "--optimizer",
            "sgd",
            "--optimizer-settings",
            "nesterov=false",
            "--schedule",
            "piecewise",
            "--schedule-settings",
            "factors=[1,0.1]",
            "epochs=[0,5]",
            "--keep",
            "best",
        ],
        [
            "--recipe",
            "fast",
            "--no-batch-norm",
            "--preparation",
            "resized",
            "--init",
            "glorot_normal",
        ],
    ],
    ids=" ".join,
)
def test_the_command_gives_the_same_configuration(options):
    def config(words):
        return configure(make_parser("train").parse_args(["train", *words, "--out", "run"]))

    found = config(options)
    command = shlex.split(found.command())
    assert command[:2] == ["lenet5c", "train"]
    assert config(command[2:]) == found
    assert RunConfig.from_dict(json.loads(json.dumps(found.to_dict())), "run") == found


def test_folders_are_quoted():
    config = RunConfig(data="/my data/it's")
    assert (
        config.command() == "lenet5c train --recipe default --seed 0 --data '/my data/it'\"'\"'s'"
    )


def test_a_configuration_in_python(tmp_path):
    config = RunConfig.named("fast", data=tmp_path, seed=np.int64(3), pooling="max", epochs=5)
    assert (config.data, config.seed, type(config.seed)) == (str(tmp_path.resolve()), 3, int)
    assert config.settings == recipe("fast", pooling="max", epochs=5)
    assert RunConfig("fast").settings == RECIPES["fast"]
    assert (config.get("pooling"), config.get("c5"), config.get("seed")) == ("max", "linear", 3)
    assert config.differing({"seed": 3, "c5": "linear", "distortion": "none"}) is None
    assert config.differing({"seed": 3, "epochs": 6}) == ("epochs", 5, 6)
    wrong = {"distortion": {"tint": 1}}
    assert config.differing(wrong) == ("distortion", "none", {"tint": 1})


@pytest.mark.parametrize(
    "change, error, word",
    [
        ({"name": "best-ever"}, ValueError, "recipe must be one of default, .*'best-ever'"),
        ({"seed": -1}, ValueError, "seed must be an integer of at least 0, got -1"),
        ({"threads": 0}, ValueError, "threads must be an integer from 1 to 1024, or None, got 0"),
        ({"reading": "all"}, ValueError, "reading must be one of ink, whole, or None, got 'all'"),
        ({"data": "nowhere"}, DatasetError, "nowhere"),
        ({"epoch": 1}, TypeError, "must be fields of a recipe, got epoch; did you mean epochs"),
    ],
)
def test_impossible_configurations(change, error, word):
    with pytest.raises(error, match=word):
        RunConfig.named(**change)


def test_a_batch_is_no_larger_than_the_images_unless_the_recipe_says_so(mnist_slice):
    data = mnist_slice[0].take(np.arange(40))
    for size in (None, 64, 36):  # 64 is the recipe's own
        given = {} if size is None else {"batch_size": size}
        trainer, _ = RunConfig.named(validation=4, epochs=1, **given).build(data)
        assert trainer.steps_per_epoch == 1 and trainer.fit(progress=False).done
    for size in (37, 10**14):
        with pytest.raises(
            ValueError, match=f"at most 36, the number of training images, got {size}; "
        ):
            RunConfig.named(validation=4, batch_size=size).build(data)
    with pytest.raises(ValueError, match="batch_size must be at most 36"):
        lenet5c.trainer(data=data, validation=4, batch_size=37)
