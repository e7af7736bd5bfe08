"""`make_ensemble`: results, requirements on members, and the file."""

from dataclasses import replace

import numpy as np
import pytest

from lenet5c import _files, nn
from lenet5c.datasets import Framing, Preparation
from lenet5c.errors import RunError
from lenet5c.nn.ensemble import describe_kind
from lenet5c.training import (
    TrainedModel,
    calibrate,
    evaluate,
    make_ensemble,
    open_model,
    save_model,
)
from lenet5c.training.ensemble import list_members, open_members
from lenet5c.training.explanation import explain

NAMES = tuple("0123456789")


def member(seed, temperature=1.0, net=nn.LeNet5, **preparation):
    """Return an untrained model, whose probabilities are far from equal."""
    sized = {"input_size": preparation["size"]} if "size" in preparation else {}
    model = net(rng=seed, **sized)
    for array in model.params.values():
        array *= 2
    settings = {"size": (32, 32), "mean": 0.13, "std": 0.31} | preparation
    return TrainedModel(model, Preparation(**settings), NAMES, temperature=temperature)


MEAN_IMAGE = {"mean_image": np.full((1, 32, 32), 20, np.float32), "std": 1 / 255, "mean": 0.0}
TRIPLES = {
    "alike": [member(0), member(1), member(2)],
    "temperatures": [member(0, 0.5), member(1, 2.0), member(2, 8.0)],
    "normalization": [member(0, mean=0.1), member(1, std=0.5), member(2, mean=0.5, std=1.0)],
    "mean image": [member(0, **MEAN_IMAGE), member(1, **MEAN_IMAGE), member(2, **MEAN_IMAGE)],
    "penalties": [member(0, 20.0, nn.LeNet5_1998), member(1), member(2, 50.0, nn.LeNet5_1998)],
    "sizes": [member(0, size=(28, 28), mean=0.1), member(1), member(2, size=(31, 36))],
    "padded": [member(0, size=(28, 29)), member(1, size=(33, 30)), member(2)],
    "of the size, and padded": [member(0, size=(28, 28), fit="resize"), member(1), member(2)],
    "resized": [member(seed, fit="resize", mean=seed / 10) for seed in range(3)],
}


@pytest.fixture
def images(mnist_slice):
    return mnist_slice[1].images[:40]


@pytest.mark.parametrize("name", TRIPLES)
def test_its_probabilities_are_the_mean(name, images, tmp_path):
    members = TRIPLES[name]
    ensemble = make_ensemble(members)
    expected = np.mean([each.probabilities(images).astype(float) for each in members], axis=0)
    np.testing.assert_allclose(ensemble.probabilities(images), expected, atol=2e-5)
    assert expected.max(axis=1).mean() > 0.2  # not all alike
    assert ensemble.temperature == 1 and ensemble.class_names == NAMES
    path = tmp_path / "ensemble.safetensors"
    digest = save_model(path, ensemble)
    again = open_model(path)
    np.testing.assert_array_equal(again.logits(images), ensemble.logits(images))
    assert repr(again).startswith("<TrainedModel Ensemble of 3 LeNet5")
    assert save_model(tmp_path / "again.safetensors", again) == digest


@pytest.mark.parametrize("name", TRIPLES)
def test_its_members_answer_by_themselves(name, images):
    members = TRIPLES[name]
    found = list_members(make_ensemble(dict(zip("abc", members, strict=True))))
    assert list(found) == ["a", "b", "c"]
    for own, each in zip(members, found.values(), strict=True):
        np.testing.assert_allclose(each(images), own(images), atol=2e-5)
    assert list_members(members[0]) == {}


def test_members_stay_as_they_are(images):
    first, second = member(0), member(1)
    before = first.logits(images)
    ensemble = make_ensemble([first, second])
    ensemble.model.vector[:] = 0
    np.testing.assert_array_equal(first.logits(images), before)


def test_it_is_evaluated_and_calibrated_as_any_other(mnist_slice):
    test = mnist_slice[1]
    ensemble = make_ensemble([member(0), member(1)])
    result = evaluate(ensemble, test)
    np.testing.assert_array_equal(result.predictions, ensemble.predict(test.images))
    before = result.nll
    assert calibrate(ensemble, test).temperature == ensemble.temperature != 1
    assert evaluate(ensemble, test).nll < before


def test_its_answers_are_explained(mnist_slice):
    ensemble, image = make_ensemble([member(0), member(1)]), mnist_slice[1].images[0, 0]
    found = explain(ensemble, image, smooth=2, steps=20)
    assert found.cam is None and abs(found.saliency).max() > 0 and abs(found.occlusion).max() > 0
    assert found.label == ensemble.predict(image)[0]


def test_other_members_are_refused():
    first = member(0)
    large = member(1, fit="resize", size=(36, 36))
    named = replace(member(1), class_names=tuple("abcdefghij"))
    dark = replace(member(1), framing=Framing(paper=(255,), ink=(0,)))
    boxed = replace(member(1), framing=Framing(center="box"))
    for other, words in (
        (named, "member b must have the classes ['0', "),
        (replace(first, image_shape=(1, 20, 20)), "images of shape (1, 28, 28) like a, got (1"),
        (member(1, fit="resize"), "member b must have the preparation fit pad like a, got resize"),
        (replace(first, reading="whole"), "the reading ink like a, got whole"),
        (replace(first, white={"int": 10}), "levels of white {} like a, got {'int': 10}"),
        (replace(first, framing=None), "the framing of digits measured like a, got none"),
        (dark, "member b must have dark ink False like a, got True"),
        (boxed, "member b must have center of the ink mass like a, got box"),
        (member(1, **MEAN_IMAGE), "member b must have the mean image of a, got a different one"),
        (make_ensemble([first, member(1)]), "member b must be a single net, got an ensemble"),
    ):
        with pytest.raises(RunError) as raised:
            make_ensemble({"a": first, "b": other})
        assert words in str(raised.value)
    with pytest.raises(RunError) as raised:
        make_ensemble({"a": member(0, fit="resize"), "b": large})
    assert "member b must have the input size (32, 32) like a, got (36, 36); omit it" in str(
        raised.value
    )
    with pytest.raises(ValueError, match="models must contain at least two models, got 1"):
        make_ensemble([first])


def test_a_model_is_named_once(tmp_path):
    for place in ("runs/seed-2", "runs/seed-10"):
        (tmp_path / place).mkdir(parents=True)
        save_model(tmp_path / place / "model.safetensors", member(0))
    assert list(open_members([tmp_path / "runs"])) == ["seed-2", "seed-10"]
    again = tmp_path / "runs/../runs/seed-2/model.safetensors"
    for paths in ([tmp_path / "runs", again], ["best", "best"]):
        with pytest.raises(RunError, match=f"RUN must be different models, got {paths[-1]} twice"):
            open_members(paths)


def test_models_are_found_by_file_folder_and_folder_of_runs(tmp_path):
    for place in ("runs/b", "runs/a", "other/a", "other/empty"):
        (tmp_path / place).mkdir(parents=True)
    for seed, place in enumerate(("runs/b", "runs/a", "other/a")):
        save_model(tmp_path / place / "model.safetensors", member(seed))
    save_model(tmp_path / "v1.2.safetensors", member(3))
    paths = [tmp_path / "runs", tmp_path / "other/a", tmp_path / "v1.2.safetensors", "best"]
    found = open_members(paths)
    assert list(found) == ["a", "b", "a-2", "v1-2", "best"]
    assert found["a-2"].path == tmp_path / "other/a/model.safetensors"
    assert describe_kind(make_ensemble(found).model) == "Ensemble of 5 LeNet5"
    with pytest.raises(RunError, match="RUN must be a model file, the folder of a run, or"):
        open_members([tmp_path / "other/empty"])
    with pytest.raises(RunError, match="which does not exist"):
        open_members([tmp_path / "none"])


def test_an_unfinished_run_is_told(tmp_path):
    for name in ("done", "begun"):
        (tmp_path / name).mkdir()
    save_model(tmp_path / "done/model.safetensors", member(0))
    (tmp_path / "begun/config.json").write_text("{}")
    with pytest.raises(RunError, match="begun, a folder without model.safetensors; finish its run"):
        open_members([tmp_path])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda own: own.update(temperatures=[1]),
            "temperatures must have one value for each of the 2",
        ),
        (lambda own: own.update(temperatures=[1, -1]), "temperatures"),
        (lambda own: own.update(temperatures=["a", 1]), "temperatures"),
        (lambda own: own.update(temperatures=None, members=[]), "layers must contain at least one"),
        (lambda own: own.pop("members"), "missing 'members'"),
        (lambda own: own.update(members={"type": "ReLU"}), "must be"),
        (
            lambda own: own["members"].append({"type": "ReLU"}),
            "member '2' must be a lenet5c.nn.Seq",
        ),
        (
            lambda own: own["members"][0]["settings"].update(num_classes=9),
            "fc3.weight must have shape (9, 84), as in the model, got (10, 84)",
        ),
        (
            lambda own: own["members"][0]["settings"].update(units=[10**9]),
            "weight must have at most",
        ),
    ],
)
def test_a_file_is_not_trusted(tmp_path, change, words):
    path = tmp_path / "ensemble.safetensors"
    save_model(path, make_ensemble([member(0), member(1)]))
    tensors, metadata = _files.read_tensors(path, "model")
    change(metadata["model"]["settings"]["layers"][0]["settings"])
    _files.write_tensors(path, "model", tensors, metadata)
    with pytest.raises(RunError, match="must be a consistent model file") as raised:
        open_model(path)
    assert words in str(raised.value) and "\n" not in str(raised.value)
