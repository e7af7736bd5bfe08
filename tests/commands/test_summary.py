"""lenet5c summary."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lenet5c import nn
from lenet5c.__main__ import main
from lenet5c.datasets import Framing, Preparation
from lenet5c.recipes import RECIPES
from lenet5c.training import TrainedModel, save_model


def shown(capsys, *arguments):
    assert main(["summary", *arguments]) == 0
    return capsys.readouterr().out


def test_the_net_of_the_default_recipe(capsys):
    text = shown(capsys)
    assert text.rstrip("\n") == nn.LeNet5(**RECIPES["default"].model).summary()
    assert text.split()[-4:] == ["8,094", "61,706", "429,342", "416,520"]


def test_the_net_of_1998_has_the_papers_numbers(capsys):
    assert shown(capsys, "--recipe", "paper1998").split()[-3:] == ["60,000", "340,908", "328,096"]


@pytest.mark.parametrize("name", RECIPES)
def test_json_adds_up(name, capsys):
    found = json.loads(shown(capsys, "--recipe", name, "--json"))
    channels = 3 if name == "small-color" else 1
    assert found["layers"][0]["output"] == [channels, *RECIPES[name].default_size]
    for key, total in found["total"].items():
        assert total == sum(row[key] for row in found["layers"][1:])


def test_a_net_of_other_images(capsys):
    found = json.loads(
        shown(
            capsys, "--in-channels", "3", "--input-size", "48", "64", "--num-classes", "5", "--json"
        )
    )
    assert found["layers"][0]["output"] == [3, 48, 64] and found["layers"][-1]["output"] == [5]
    assert found["total"]["parameters"] == nn.LeNet5(5, 3, (48, 64)).num_params


def test_a_model_file_a_run_and_the_model_of_the_package(tmp_path, capsys):
    model = nn.LeNet5(num_classes=3, in_channels=3)
    trained = TrainedModel(
        model,
        Preparation(size=(32, 32), fit="resize"),
        ("ant", "bee", "\u202ecat"),
        (3, 40, 20),
        "whole",
        Framing((255, 250, 240), (30, 20, 90), (0.5, 0.5), center="box"),
    )
    save_model(tmp_path / "model.safetensors", trained)
    text = shown(capsys, str(tmp_path))
    assert text == shown(capsys, str(tmp_path / "model.safetensors"))
    assert text.startswith(model.summary()) and "3 x 40 x 20" in text and "whole" in text
    assert "3: ant, bee, \\u202ecat" in text  # what would turn the line around is spelt out
    assert "ink of 30, 20, 90 on 255, 250, 240, 20 x 10 pixels, centered by box" in text
    found = json.loads(shown(capsys, str(tmp_path), "--json"))
    assert found["framing"] == trained.framing.to_dict()
    assert "61,706" in shown(capsys, "best")
    save_model(tmp_path / "model.safetensors", replace(trained, framing=None))
    assert "not trained on digits on a plain background" in shown(capsys, str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing-here"], "got nothing-here, which does not exist"),
        (["."], "a folder without model.safetensors"),
        (["best", "--num-classes", "3"], "--num-classes cannot be combined with a trained model"),
        (["--input-size", "8"], "at least 16 pixels"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["summary", *arguments]) == 2
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1


@pytest.mark.parametrize("text", ["", "0", "axb", "1 2 3"])
def test_an_input_size_that_is_none(text, capsys):
    with pytest.raises(SystemExit):
        main(["summary", "--input-size", *text.split(" ")])
    assert "--input-size" in capsys.readouterr().err


def test_a_net_by_its_name_and_options(tmp_path, capsys):
    found = json.loads(shown(capsys, "--net", "small_color", "--input-size", "48", "64", "--json"))
    assert found["layers"][0]["output"] == [3, 48, 64]
    assert found["total"]["parameters"] == nn.SmallColor().num_params
    rows = {row["layer"]: row for row in found["layers"]}
    assert rows["conv2"]["multiply-adds"] == 9 * np.prod([*rows["pool1"]["output"][:1]]) * np.prod(
        rows["conv2"]["output"]
    )
    options = ["--channels", "4", "8", "16", "--units", "--kernel-size", "3", "--padding", "1"]
    found = json.loads(shown(capsys, *options, "--json"))
    model = nn.LeNet5(channels=(4, 8, 16), units=(), kernel_size=3, padding=1)
    assert found["total"]["parameters"] == model.num_params
    assert found["total"]["multiply-adds"] == model.multiply_adds((1, 32, 32))
    path = tmp_path / "net.json"
    path.write_text(json.dumps(nn.describe(model)))
    assert json.loads(shown(capsys, "--net", str(path), "--json")) == found
