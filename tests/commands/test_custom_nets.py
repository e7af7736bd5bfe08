"""Commands with a custom net: described in a file, trained, resumed, summarized, exported."""

import json

import numpy as np
import pytest
from own_files import change_record

from lenet5c import nn, recipes
from lenet5c.__main__ import main
from lenet5c.datasets.source import Source
from lenet5c.recipes import RunConfig
from lenet5c.training import open_model
from lenet5c.training.run_folder import RunFolder


def custom_net(classes=10, norm=True):
    return nn.Sequential(
        {
            "stem": nn.Conv2d(1, 6, 5, stride=2, rng=0),
            "block": nn.Residual(
                nn.Conv2d(6, 6, 3, padding=1, rng=1),
                nn.BatchNorm2d(6) if norm else nn.Tanh(),
                nn.ReLU(),
                shortcut=nn.Conv2d(6, 6, 1, rng=2),
            ),
            "pools": nn.Sequential(nn.MaxPool2d(3, padding=1), nn.Dropout(0.1, rng=0)),
            "flat": nn.Flatten(),
            "out": nn.Linear(96, classes, rng=3),
        },
        input_shape=(1, 28, 28),
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(nn.describe(custom_net())), encoding="utf-8")
    return path


OPTIONS = ["--recipe", "fast", "--train-size", "600", "--epochs", "2", "--no-report", "--quiet"]


def layer(kind, **settings):
    return {"type": kind, "settings": settings}


def run(*words):
    return main([str(word) for word in words])


def test_a_run_and_all_that_can_be_done_with_it(tmp_path, file, idx_files, capsys):
    folder = tmp_path / "run"
    options = [*OPTIONS, "--data", idx_files]
    assert run("train", "--net", file, "--out", folder, *options) == 0
    capsys.readouterr()
    model = open_model(folder)
    assert nn.describe(model.model) == nn.describe(custom_net())
    assert model.preparation.size == (28, 28)
    assert run("summary", folder) == 0
    assert "block" in capsys.readouterr().out
    assert run("evaluate", folder) in (0, 1)
    for form, name in (("onnx", "net.onnx"), ("c", "net.c"), ("torch", "net.safetensors")):
        if form == "onnx":
            pytest.importorskip("onnx")
        assert run("export", folder, "--to", form, "--out", tmp_path / name) == 0
    # The same by what config.json says, by the command that it gives, and in Python.
    config = RunConfig.read(RunFolder(folder))
    assert config.settings.net == nn.describe(custom_net())
    words = config.options()
    assert json.loads(words[words.index("--net") + 1]) == config.settings.net
    again = tmp_path / "again"
    assert run("train", *words, "--out", again, "--no-report", "--quiet") == 0
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_it_is_resumed_to_the_same_bytes(tmp_path, file, mnist_slice):
    source = Source(mnist_slice[0], mnist_slice[1])
    net = json.loads(file.read_text())

    def config(folder):
        return RunConfig.named("fast", net=net, epochs=2, train_size=600, folder=folder)

    whole = recipes.train(config(tmp_path / "whole"), source)
    stopped = recipes.train(config(tmp_path / "cut"), source, stop=lambda: True)
    assert stopped.interrupted
    back = RunConfig.read(RunFolder(tmp_path / "cut"))
    recipes.train(back, source, resume=True)
    names = ("model.safetensors", "checkpoint.safetensors", "metrics.csv", "config.json")
    for name in names:
        files = [(tmp_path / part / name).read_bytes() for part in ("whole", "cut")]
        assert files[0] == files[1], name
    assert whole.accuracy > 0.11


def test_the_net_in_memory_is_the_one_that_is_trained(mnist_slice):
    import lenet5c

    net = custom_net()
    before = net.vector.copy()
    trainer = lenet5c.trainer("fast", data=mnist_slice[0], net=net, epochs=1, train_size=300)
    assert trainer.model is net and (net.vector == before).all()
    trainer.fit(progress=False)
    assert trainer.trained.model is net and (net.vector != before).any()


@pytest.mark.parametrize("classes", [10, 3])
def test_training_from_it_on(tmp_path, mnist_slice, classes):
    import lenet5c

    trainer = lenet5c.trainer(
        "fast", data=mnist_slice[0], net=custom_net(), epochs=1, train_size=600
    )
    trainer.fit(progress=False)
    data = mnist_slice[0].take(np.flatnonzero(mnist_slice[0].labels < classes))
    names = mnist_slice[0].class_names[:classes]
    if classes < 10:
        names = ("zero", "eins", "zwei")
    from lenet5c.datasets import Dataset

    data = Dataset(data.images, data.labels, classes, class_names=names)
    tuner = lenet5c.trainer(data=data, start=trainer.trained, rehearse="none", epochs=1)
    old, new = trainer.model.state_dict(), tuner.model.state_dict()
    assert (old["stem.weight"] == new["stem.weight"]).all()
    known = 10 if classes == 10 else 3
    assert new["out.weight"].shape == (known, 96)
    assert (old["out.weight"][0] == new["out.weight"][0]).all()
    tuner.fit(progress=False)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("nothing.json", "or a JSON file with the description of a net, got nothing.json"),
        ("{", "--net must be a description of a net as JSON"),
        ("[" * 1000, "File name too long"),
        ('{"type":' * 1000, "--net must be a description of a net as JSON"),
        ('{"type": "ReLU"}', "net must be a Sequential, got ReLU"),
        ('{"type": "AlexNet"}', "type of the net must be one of"),
        (
            json.dumps(nn.describe(custom_net(classes=7))),
            "net must have 10 outputs, one for each class",
        ),
        (
            json.dumps(nn.describe(nn.Sequential(nn.Flatten(), nn.Linear(1024, 10, rng=0)))),
            "samples of shape (1, 28, 28): samples must have shape (1024,)",
        ),
        (
            '{"type":"Sequential","settings":{"layers":[{"type":"Linear","settings":'
            '{"in_features":1000000,"out_features":1000000}}]}}',
            "weight must have at most",
        ),
    ],
)
def test_a_net_that_cannot_be_trained_is_an_error_of_one_line(
    tmp_path, capsys, idx_files, net, words
):
    try:
        code = run("train", "--net", net, "--out", tmp_path / "run", "--data", idx_files, *OPTIONS)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert not (tmp_path / "run").exists()


def test_a_tampered_configuration_is_an_error_of_one_line(tmp_path, file, idx_files, capsys):
    folder = tmp_path / "run"
    assert run("train", "--net", file, "--out", folder, "--data", idx_files, *OPTIONS) == 0

    def change(values):
        values["net"]["settings"]["layers"][0]["settings"]["out_channels"] = 10**12
        return values

    change_record(folder / "config.json", "config", change)
    capsys.readouterr()
    assert run("train", "--resume", "--out", folder) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "config.json must be the configuration of a run" in line


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (
            {"layers": [layer("Linear", in_features=9, out_features=2)], "input_shape": [1, 4, 4]},
            "its net must accept samples of shape (1, 4, 4)",
        ),
        ({"layers": [layer("Flatten")], "input_shape": [784]}, "(channels, height, width)"),
        ({"layers": [layer("Flatten")], "input_shape": [1, 2, 2, 2]}, "(channels, height, width)"),
        (
            {"layers": [layer("Flatten") | {"name": "a\x1b[31m"}], "input_shape": [1, 4, 4]},
            "printable",
        ),
    ],
    ids=["layers that do not fit", "rows", "four axes", "a name that is an escape"],
)
def test_a_summary_of_a_net_that_does_not_fit_is_one_line(net, words, tmp_path, capsys):
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"type": "Sequential", "settings": net}))
    assert run("summary", "--net", path) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_summary_of_a_net_without_an_input_shape(tmp_path, capsys):
    settings = {"layers": [layer("Flatten"), layer("Linear", in_features=12, out_features=2)]}
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"type": "Sequential", "settings": settings}))
    assert run("summary", "--net", path) == 2
    assert "use --input-size" in capsys.readouterr().err
    assert run("summary", "--net", path, "--input-size", 2, 2, "--in-channels", 3) == 0
    assert capsys.readouterr().out.split()[-3:] == ["26", "26", "24"]
    assert run("summary", "--net", path, "--input-size", 12, 1, "--num-classes", 2) == 2
    assert "--num-classes cannot be combined" in capsys.readouterr().err
    path.write_text(
        json.dumps({"type": "Sequential", "settings": settings | {"input_shape": [1, 3, 4]}})
    )
    assert run("summary", "--net", path) == 0
    capsys.readouterr()
    assert run("summary", "--net", path, "--input-size", 2, 6) == 2
    assert "cannot be combined with a net that has an input_shape" in capsys.readouterr().err


@pytest.mark.parametrize("units", [("1000000", "1000000"), ("20000", "20000")])
def test_a_summary_makes_no_net_that_could_not_be_trained(units, capsys):
    assert run("summary", "--units", *units) == 2
    assert "model must have at most 8,388,608 parameters" in capsys.readouterr().err
