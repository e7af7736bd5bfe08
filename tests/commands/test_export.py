"""`lenet5c export` in a subprocess: files, exit codes, messages."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from exported_models import trained
from own_files import SUMMARY
from safetensors.numpy import save_file

from lenet5c import _files, nn
from lenet5c.__main__ import main
from lenet5c.export import torch_state
from lenet5c.training import open_model, save_model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_folder(path):
    """Write the files of a run that are needed for an export."""
    path.mkdir()
    model = trained(nn.LeNet5(3, 3, 40, rng=1), (3, 40, 40))
    files = {"model.safetensors": save_model(path / "model.safetensors", model)}
    values = SUMMARY | {"test_correct": 9, "test_count": 11, "files": files}
    _files.write_record(path / "summary.json", "summary", values)
    return path


def assert_bad_use(capsys, *words, code=2):
    captured = capsys.readouterr()
    (message,) = captured.err.strip().splitlines()
    assert message.startswith("lenet5c export: error: ")
    for word in words:
        assert word in message
    assert captured.out == ""


def test_onnx(here, capsys):
    onnx = pytest.importorskip("onnx")
    run_folder(here / "run")
    assert main(["export", "run", "--out", "a.onnx"]) == 0
    out = capsys.readouterr().out
    assert "a.onnx: " in out and "uint8 (N, 3, 40, 40), unscaled" in out and "float32 (N, 3)" in out
    model = onnx.load("a.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["test_accuracy"] == "9/11"
    assert main(["export", "run/model.safetensors", "--to", "onnx", "--input", "float"]) == 0
    assert "prepared float32 (N, 3, 40, 40)" in capsys.readouterr().out
    assert onnx.load("lenet5.onnx").graph.input[0].name == "input"


@pytest.mark.parametrize(("quantize", "ram"), [("weights", 9024), ("int8", 1896)])
def test_c_of_the_shipped_model(here, capsys, quantize, ram):
    options = ["--images", "200"] if quantize == "int8" else []
    arguments = ["best", "--to", "c", "--name", "digits", "--quantize", quantize, *options]
    assert main(["export", *arguments]) == 0
    out = capsys.readouterr().out
    assert "digits.c: digits_predict()" in out and f"RAM    {ram:,} bytes, static" in out
    assert ("bytes on cortex-m4" in out) == (shutil.which("arm-none-eabi-gcc") is not None)
    assert "% (99" in out and "99.65% (9965/10000) before" in out
    text = (here / "digits.c").read_text()
    assert text.startswith("/* A LeNet5 for 1 x 28 x 28 pixels and 10 classes")
    compiler = shutil.which("cc")
    if compiler and sys.platform != "win32":
        subprocess.run(
            [compiler, "-DLENET5C_MODEL_MAIN", "digits.c", "-o", "program", "-lm"], check=True
        )
        done = subprocess.run(["./program"], capture_output=True, text=True)
        assert done.returncode == 0 and "class 7 7" in done.stdout


def test_c_calibrated_on_a_folder(here, capsys):
    save_model("small.safetensors", trained(nn.LeNet5(10, input_size=20, rng=0), (1, 20, 20)))
    data = np.random.default_rng(0).integers(0, 256, (60, 20, 20), np.uint8)
    np.savez("data.npz", x_train=data, y_train=np.arange(60) % 10)
    arguments = ["small.safetensors", "--to", "c", "--quantize", "int8"]
    options = ["--calibrate", "data.npz", "--images", "20", "--ranges", "minmax"]
    assert main(["export", *arguments, *options]) == 0
    out = capsys.readouterr().out
    assert "none of floats" in out and " with int8, " in out
    assert main(["export", *arguments, "--calibrate", "none"]) == 2
    assert "--calibrate must be a file or folder" in capsys.readouterr().err


def test_c_of_other_images(here, capsys):
    run_folder(here / "run")
    assert main(["export", "run", "--out", "net.h"]) == 0
    assert "Accuracy" not in capsys.readouterr().out
    assert "lenet5_predict" in (here / "net.h").read_text()


def test_html(here, capsys):
    assert main(["export", "best", "--to", "html"]) == 0
    out = capsys.readouterr().out
    size = (here / "lenet5.html").stat().st_size
    assert f"lenet5.html: {size:,} bytes" in out and "open it in a browser: file://" in out
    assert size <= 600_000
    # A page that was written before is replaced, one of somebody else's is not.
    assert main(["export", "best", "--to", "html"]) == 0
    (here / "lenet5.html").write_text("<p>mine", encoding="utf-8")
    capsys.readouterr()
    assert main(["export", "best", "--to", "html"]) == 2
    assert_bad_use(capsys, "lenet5.html", "not written by lenet5c")


def test_to_torch_and_back(here, capsys):
    assert main(["export", "best", "--to", "torch", "--out", "net.safetensors"]) == 0
    assert "net.py: load() returns the net" in capsys.readouterr().out
    compile((here / "net.py").read_text(), "net.py", "exec")
    assert (
        main(
            [
                "export",
                "net.safetensors",
                "--to",
                "lenet5c",
                "--like",
                "best",
                "--out",
                "ours.safetensors",
            ]
        )
        == 0
    )
    assert "99.65% (9965/10000)" in capsys.readouterr().out
    np.testing.assert_array_equal(
        open_model("ours.safetensors").model.vector, open_model().model.vector
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no file that fails to be read")
def test_a_file_in_the_place_of_the_source_that_cannot_be_read(here, capsys):
    """Reading address 0 of a process is an input/output error."""
    (here / "net.py").symlink_to("/proc/self/mem")
    assert main(["export", "best", "--to", "torch", "--out", "net.safetensors"]) == 1
    error = capsys.readouterr().err
    assert "net.py" in error and len(error.splitlines()) == 1


def test_names_given_by_hand(here, capsys):
    """Layers of equal shape with uninformative names are ambiguous."""
    model = nn.LeNet5(num_classes=84, rng=3)
    model["fc2"].params["weight"][:, 84:] = 0
    like = trained(model)
    save_model(here / "like.safetensors", like)
    theirs = {"conv1": "a", "conv2": "b", "fc1": "c", "fc2": "d", "fc3": "e"}
    state = {
        f"{theirs[name.partition('.')[0]]}.{name.partition('.')[2]}": array
        for name, array in torch_state(model).items()
    }
    save_file(state, here / "theirs.safetensors")
    command = [
        "theirs.safetensors",
        "--to",
        "lenet5c",
        "--like",
        "like.safetensors",
        "--out",
        "new.safetensors",
    ]
    assert main(["export", *command, "--names", "fc2=d", "conv1=a"]) == 0
    np.testing.assert_array_equal(open_model("new.safetensors").model.vector, model.vector)
    assert open_model("new.safetensors").class_names == like.class_names
    capsys.readouterr()
    assert main(["export", *command, "--names", "fc2=e"]) == 2
    assert_bad_use(capsys, "fc2", "(84, 84)", "(84, 120)")


def test_a_net_described_by_its_settings(here, capsys):
    """The common LeNet-5 in PyTorch: 28 by 28, padding, max pooling."""
    model = nn.LeNet5(input_size=28, padding=(2, 0), activation="tanh", c5="conv", rng=1)
    save_file(torch_state(model), here / "theirs.safetensors")
    command = ["theirs.safetensors", "--to", "lenet5c", "--out", "ours.safetensors"]
    assert (
        main(
            [
                "export",
                *command,
                "--net",
                "input_size=28",
                "padding=[2,0]",
                "activation=tanh",
                "c5=conv",
                "--mean",
                "0.5",
                "--std",
                "0.5",
            ]
        )
        == 0
    )
    assert "Test accuracy on MNIST" in capsys.readouterr().out
    ours = open_model("ours.safetensors")
    assert ours.preparation.to_dict() == {
        "size": [28, 28],
        "fit": "pad",
        "mean": 0.5,
        "std": 0.5,
        "mean_image": False,
    }
    assert ours.image_shape == (1, 28, 28)
    np.testing.assert_array_equal(ours.model.vector, model.vector)
    assert main(["export", *command, "--net", "paddings=2"]) == 2
    assert_bad_use(capsys, "--net", "paddings")
    assert main(["export", *command, "--net", "padding=[2,0]"]) == 2
    assert_bad_use(capsys, "theirs.safetensors", "(120, 576)")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["best", "--to", "c", "--net", "padding=[2,0]"],
            ["--net requires --to lenet5c, got --to c"],
        ),
        (
            ["x.safetensors", "--to", "lenet5c", "--like", "best", "--std", "1"],
            ["--std requires --net"],
        ),
        (
            ["x.safetensors", "--to", "lenet5c", "--like", "best", "--net", "c5=conv"],
            ["requires --like MODEL", "or --net"],
        ),
        (["best"], ["--to must be one of onnx, c, html, torch, lenet5c"]),
        (["nothing", "--to", "c"], ["got nothing, which does not exist", "best"]),
        (["empty", "--to", "c"], ["got empty, a folder without model.safetensors"]),
        (
            ["x.safetensors", "--to", "c"],
            ["x.safetensors must be a lenet5c model file", "use a file"],
        ),
        (["best", "--to", "c", "--name", "9 lives"], ["'9 lives'"]),
        (["best", "--to", "c", "--input", "float"], ["--input requires --to onnx, got --to c"]),
        (
            ["best", "--to", "onnx", "--quantize", "int8"],
            ["--quantize requires --to c, got --to onnx"],
        ),
        (
            ["best", "--to", "c", "--quantize", "weights", "--images", "9"],
            ["--images requires --quantize int8"],
        ),
        (["best", "--to", "c", "--out", "empty"], ["which is a folder"]),
        (["best", "--to", "c", "--out", "no/such/folder/x.c"], ["x.c: No such file"]),
        pytest.param(
            ["best", "--to", "c", "--out", os.devnull],
            ["must be a regular file"],
            marks=pytest.mark.skipif(sys.platform == "win32", reason="has no file of this name"),
        ),
        (["best", "--to", "torch", "--out", "x.py"], ["must end in .safetensors"]),
        (["x.safetensors", "--to", "lenet5c"], ["requires --like MODEL"]),
        (["x.pt", "--to", "lenet5c", "--like", "best"], ["got a pickle"]),
        (
            ["gone.safetensors", "--to", "lenet5c", "--like", "best"],
            ["gone.safetensors: No such file"],
        ),
        (
            ["copy.safetensors", "--to", "torch", "--out", "copy.safetensors"],
            ["differ from the input file"],
        ),
        (
            [
                "x.safetensors",
                "--to",
                "lenet5c",
                "--like",
                "copy.safetensors",
                "--out",
                "copy.safetensors",
            ],
            ["differ from the input file"],
        ),
    ],
)
def test_bad_use_is_one_line(here, capsys, arguments, words):
    (here / "empty").mkdir()
    (here / "x.safetensors").write_bytes(b"no")
    (here / "x.pt").write_bytes(b"PK\x03\x04zip")
    save_model(here / "copy.safetensors", open_model())
    before = {path.name: path.stat().st_mtime_ns for path in here.iterdir()}
    assert main(["export", *arguments]) == 2
    assert_bad_use(capsys, *words)
    assert {path.name: path.stat().st_mtime_ns for path in here.iterdir()} == before


def test_both_ways_to_start_it():
    done = subprocess.run(
        [sys.executable, "-m", "lenet5c", "export", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "lenet5c export best --to c --quantize int8" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "lenet5c", "export", "best", "--to", "onxx"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_without_onnx(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "best", "--to", "onnx"]) == 2
    assert_bad_use(capsys, "pip install 'lenet5c[onnx]'")


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("lenet5.py", ["--to", "torch"]),
        ("train.py", ["--to", "torch", "--out", "train.safetensors"]),
        ("lenet5.c", ["--to", "c"]),
    ],
)
def test_sources_of_others_are_kept(here, capsys, name, arguments):
    (here / name).write_text("my own")
    assert main(["export", "best", *arguments]) == 2
    assert_bad_use(capsys, name, "not written by lenet5c")
    assert [path.name for path in here.iterdir()] == [name] and (
        here / name
    ).read_text() == "my own"
    (here / name).unlink()
    assert (
        main(["export", "best", *arguments]) == main(["export", "best", *arguments]) == 0
    )  # its own it replaces


@pytest.mark.parametrize(
    "name, shape, words",
    [
        ("conv1.weight", [0, 2**62], ["invalid entry of tensor", "conv1.weight"]),
        ("conv1.weight", [1] * 70, ["invalid entry of tensor", "conv1.weight"]),
        ("\x1b[2J\nx\u202e.weight", [1], ["\\x1b[2J\\nx\\u202e.weight (1,)"]),
    ],
)
def test_hostile_headers(here, capsys, name, shape, words):
    size = 0 if 0 in shape else 4
    header = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    ).encode()
    (here / "theirs.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(size)
    )
    assert (
        main(
            [
                "export",
                "theirs.safetensors",
                "--to",
                "lenet5c",
                "--like",
                "best",
                "--out",
                "ours.safetensors",
            ]
        )
        == 2
    )
    assert_bad_use(capsys, *words)
