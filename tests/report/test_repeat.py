"""The command that a report gives does the run again."""

import shlex

import pytest

from lenet5c.__main__ import make_parser
from lenet5c.commands import train
from lenet5c.recipes import RECIPES
from lenet5c.report.repeat import repeat_command


@pytest.mark.parametrize(
    "options",
    [
        *(["--recipe", name] for name in RECIPES),
        ["--reading", "whole", "--skip-bad"],
        ["--seed", "7", "--epochs", "3", "--lr", "0.01", "--watch-test", "--validation", "0.25"],
        ["--recipe", "best", "--distortion", "none", "--average", "0.999", "--train-size", "1000"],
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
    arguments = make_parser("train").parse_args(["train", *options])
    _, config = train.begin(arguments)
    command = shlex.split(repeat_command(config))
    assert command[:2] == ["lenet5c", "train"]
    _, again = train.begin(make_parser("train").parse_args(command[1:]))
    assert again == config


def test_folders_are_quoted():
    config = {
        "recipe": "default",
        "data": "/my data/it's",
        "seed": 0,
        **RECIPES["default"].to_dict(),
    }
    assert repeat_command(config) == "lenet5c train --data '/my data/it'\"'\"'s' --seed 0"
