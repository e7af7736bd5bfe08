"""`lenet5c predict --why`: explanations of predictions as pictures."""

import numpy as np
import pytest

from lenet5c.__main__ import main
from lenet5c.commands import why as reasons
from lenet5c.datasets import mnist
from lenet5c.datasets.preparation import Preparation
from lenet5c.nn import LeNet5
from lenet5c.recognition.why import Neighbors
from lenet5c.training import TrainedModel, save_model

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def few_neighbors(monkeypatch, mnist_slice):
    """Search only some MNIST images for the nearest ones, to save time."""
    made = []

    def find(trained, dataset=None):
        made.append(dataset)
        return Neighbors(trained, mnist_slice[0] if dataset is None else dataset)

    monkeypatch.setattr(reasons, "Neighbors", find)
    return made


def paper(*digits):
    row = np.concatenate([np.pad(digit, 8) for digit in digits], axis=1)
    return Image.fromarray(255 - row.repeat(4, axis=0).repeat(4, axis=1))


@pytest.fixture
def seven(tmp_path):
    paper(mnist()[1].images[0, 0]).save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


def run(capsys, *arguments):
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def height(path):
    with Image.open(path) as image:
        return image.size[1]


def test_a_digit(seven, tmp_path, capsys, few_neighbors):
    code, out, err = run(capsys, seven, "--why", tmp_path / "why.png")
    assert code == 0 and out[0].split()[1] == "7" and err == []
    assert height(tmp_path / "why.png") < 300
    run(capsys, seven, seven, "--why", tmp_path / "many", "--explain", tmp_path / "many")
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == [
        "seven.png-2.steps.png",
        "seven.png-2.why.png",
        "seven.png.steps.png",
        "seven.png.why.png",
    ]
    assert few_neighbors == [None, None]  # read once a call


def test_the_least_probable_of_a_number(tmp_path, capsys, monkeypatch):
    paper(*mnist()[1].images[:3, 0]).save(tmp_path / "number.png")
    seen, explain = [], reasons.explain
    monkeypatch.setattr(reasons, "MAX_DIGITS", 2)
    monkeypatch.setattr(
        reasons, "explain", lambda *a, **k: seen.append(explain(*a, **k)) or seen[-1]
    )
    code, out, _ = run(
        capsys, tmp_path / "number.png", "--digits", "many", "--why", tmp_path / "why.png"
    )
    assert code == 0 and "721" in out[0]
    labels = [each.label for each in seen]
    assert len(labels) == 2 and labels == [n for n in (7, 2, 1) if n in labels]
    assert height(tmp_path / "why.png") > 300


def test_what_the_net_did_not_see_has_no_reasons(tmp_path, capsys):
    Image.fromarray(np.full((50, 50), 200, np.uint8)).save(tmp_path / "blank.png")
    code, _, err = run(capsys, tmp_path / "blank.png", "--why", tmp_path / "why.png")
    assert code == 3 and "no explanation" in err[0]
    assert not (tmp_path / "why.png").exists()


def test_another_model_and_its_data(seven, tmp_path, capsys, idx_files, few_neighbors):
    names = tuple(f"digit {i}" for i in range(10))
    trained = TrainedModel(LeNet5(rng=0), Preparation.named("default"), names)
    save_model(tmp_path / "model.safetensors", trained)
    own = [seven, "--model", tmp_path / "model.safetensors", "--reject", "0"]
    assert run(capsys, *own, "--why", tmp_path / "why.png")[0] == 0
    assert few_neighbors == []  # not known to be digits
    run(capsys, *own, "--why", tmp_path / "why.png", "--neighbors", idx_files)
    assert len(few_neighbors[0]) == 2000
    trained = TrainedModel(LeNet5(in_channels=3, rng=0), Preparation.named("default"), names)
    save_model(tmp_path / "model.safetensors", trained)
    code, _, err = run(capsys, *own, "--why", tmp_path / "why.png", "--neighbors", idx_files)
    assert code == 2 and "--neighbors" in err[-1] and "(N, 3, h, w)" in err[-1]


def test_digits_of_mnist_are_larger(seven, tmp_path, capsys):
    """A net for smaller digits has no nearest images in MNIST."""
    preparation = Preparation((20, 20), "pad")
    trained = TrainedModel(LeNet5(input_size=20, rng=0), preparation, tuple("0123456789"))
    save_model(tmp_path / "model.safetensors", trained)
    own = [seven, "--model", tmp_path / "model.safetensors", "--reject", "0"]
    code, _, err = run(capsys, *own, "--why", tmp_path / "why.png")
    assert code == 0 and err == [] and (tmp_path / "why.png").exists()


def test_what_is_refused(seven, tmp_path, capsys):
    code, _, err = run(capsys, seven, "--neighbors", "mnist")
    assert code == 2 and "--neighbors requires --why" in err[0]
    code, _, err = run(capsys, seven, seven, "--why", tmp_path / "why.png")
    assert code == 2 and "--why must be a folder for 2 pictures" in err[0]
    code, _, err = run(capsys, seven, "--why", seven.parent, "--digits", "sum")
    assert code == 2 and "--why requires --digits one or many, got sum" in err[0]
    code, _, err = run(capsys, seven, "--why", seven.parent, "--data", "mnist")
    assert code == 2
