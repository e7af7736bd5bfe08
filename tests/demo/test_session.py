"""Requests of the page: any model, samples, fine-tuning."""

import io
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from drawn.demo_digits import strokes_of
from drawn_images import draw, image_of
from page_jobs import encode
from page_models import MODELS, TEN, of
from processes import run_python

from lenet5c import nn
from lenet5c.datasets import Dataset, DatasetError, Preparation, Source
from lenet5c.demo import samples as samples_module
from lenet5c.demo.samples import SampleError, SampleFolder, name_folders
from lenet5c.demo.session import Session, describe_prediction
from lenet5c.export import ExportError
from lenet5c.export.html_model import pack_weights
from lenet5c.nn import LeNet5
from lenet5c.recognition.reading import Prediction
from lenet5c.training import TrainedModel, open_model


def no_data():
    raise DatasetError("there is no data")


@pytest.mark.parametrize("name", MODELS)
def test_models(served, name):
    trained = MODELS[name]
    client = served(trained, no_data)
    facts, examples = client.bytes_of("/start")
    assert facts["tests"] == {"count": 0, "why": "there is no data"} and examples == b""
    assert client.bytes_of("/weights")[1] == pack_weights(trained)
    # A sample of any class can be saved and read again.
    rng, last = np.random.default_rng(0), len(trained.class_names) - 1
    image = rng.integers(0, 256, (1, *trained.image_shape[1:])).astype(np.uint8)
    image = np.repeat(image, trained.image_shape[0], axis=0)
    state = client.save(image, last)
    assert state["samples"][-1] == 1
    dataset, unusable = client.server.session.samples.read()
    np.testing.assert_array_equal(dataset.images, image[None])
    assert unusable == [] and dataset.labels.tolist() == [last]
    assert client.bytes_of("/read_samples") == ({"labels": [last]}, image.tobytes())
    assert "no data" in client.error("/start_tuning")


def test_a_layer_of_ones_own_has_no_page(tmp_path):
    class Own(nn.Tanh):
        pass

    net = nn.Sequential({"flat": nn.Flatten(), "mine": Own(), "out": nn.Linear(4, 2, rng=0)})
    trained = TrainedModel(net, Preparation((2, 2)), ("a", "b"), (1, 2, 2))
    with pytest.raises(ExportError, match=r"layer 'mine' .* got Own"):
        Session(trained, "a model", tmp_path, no_data)


def test_test_images(client, mnist_slice, trained):
    test = mnist_slice[1]
    wrong = set(np.flatnonzero(trained.logits(test.images).argmax(1) != test.labels).tolist())
    seen = {client.bytes_of("/test_image")[0]["test"] for _ in range(20)}
    assert len(seen) > 15
    facts, content = client.bytes_of("/test_image", wrong=True)
    assert facts["test"] in wrong and facts["among"] == len(wrong)
    assert facts["label"] == test.labels[facts["test"]]
    assert content == test.images[facts["test"]].tobytes()


def test_the_page_gets_images_to_rehearse(client, mnist_slice):
    facts, content = client.bytes_of("/start")
    images = np.frombuffer(content, np.uint8).reshape(-1, 1, 28, 28)
    assert np.bincount(facts["labels"]).tolist() == [10] * 10
    first = int(np.flatnonzero(mnist_slice[0].labels == facts["labels"][0])[0])
    np.testing.assert_array_equal(images[0], mnist_slice[0].images[first])


def test_pictures_are_read(client):
    image_module = pytest.importorskip("PIL.Image")
    ink = draw(strokes_of("7"))
    sheet = np.full((300, 500), 240, np.uint8)
    for x, digit in ((60, "3"), (280, "7")):
        sheet[90:202, x : x + 112] = 240 - draw(strokes_of(digit)) // 255 * 200
    for content, digits, text, count in (
        (image_module.fromarray(255 - ink), "one", "7", 1),
        (image_module.fromarray(sheet), "many", "37", 2),
    ):
        file = io.BytesIO()
        content.save(file, "PNG")
        status, answer = client.read(file.getvalue(), digits)
        assert status == 200 and [line["text"] for line in answer["lines"]] == [text], answer
        assert answer["size"] == list(content.size[::-1]) and len(answer["boxes"]) == count
        assert [box["label"] for box in answer["boxes"]] == list(text)
    status, answer = client.read(b"no picture")
    assert status == 422 and "picture" in answer["error"]
    status, answer = client.read(file.getvalue(), "<all>")
    assert status == 422 and "digits must be one of" in answer["error"]


def test_sums_are_described():
    steps = {"picture": np.zeros((40, 90), np.uint8)}
    sign = Prediction(label="7", probability=0.9, box=(1, 2, 3, 4))
    both = {"text": "4+3=8", "expression": "4+3=8", "value": "7", "correct": False}
    line = Prediction(**both, digits=((sign, sign),), probability=0.9)
    other = replace(line, expression="4+3=", value="7", correct=None, digits=())
    answer = describe_prediction(Prediction(sums=(line, other), steps=steps, **both))
    assert answer["lines"] == [
        {"text": "4+3=8", "verdict": "wrong: the result is 7", "correct": False},
        {"text": "4+3=8", "verdict": "= 7", "correct": None},
    ]
    assert len(answer["boxes"]) == 2 and answer["size"] == (40, 90)
    assert describe_prediction(Prediction(sums=(replace(line, correct=True),), steps=steps))[
        "lines"
    ] == [{"text": "4+3=8", "verdict": "right", "correct": True}]


def test_a_picture_without_ink_is_rejected(client):
    image_module = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image_module.fromarray(np.full((50, 60), 200, np.uint8)).save(file, "PNG")
    for digits in ("one", "many"):
        status, answer = client.read(file.getvalue(), digits)
        assert status == 200 and answer["boxes"] == []
        (line,) = answer["lines"]
        assert line["text"] is None and line["verdict"].startswith("rejected: there is no writing")


def test_other_data_is_refused(served, trained, mnist_slice):
    train, test = mnist_slice
    for part, words in (
        (
            Dataset(test.images, test.labels, 10, "letters", tuple("abcdefghij")),
            "letters must have the class names of the model",
        ),
        (
            Dataset(test.images[:, :, :20], test.labels, 10),
            "image shape of the model, (1, 28, 28), got (1, 20, 28)",
        ),
    ):
        client = served(trained, lambda part=part: Source(train, part))
        assert words in client.bytes_of("/start")[0]["tests"]["why"] and "--data" in client.error(
            "/test_image"
        )


def test_samples(client):
    folder = client.server.session.samples.path
    assert client.call("/state")["samples"] == [0] * 10 and not folder.exists()
    paths = [client.save(image_of(digit), int(digit))["saved"] for digit in "3733"]
    assert client.call("/state")["samples"] == [0, 0, 0, 3, 0, 0, 0, 1, 0, 0]
    names = [path.replace("\\", "/").split("/") for path in paths]
    assert [name for name, _ in names] == list("3733") and sorted(file for _, file in names) == [
        file for _, file in names
    ]
    assert client.call("/delete_sample")["deleted"] == paths[3]
    # What others have put there is counted where it is an image, and never deleted.
    (folder / "7" / "mine.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("notes", encoding="utf-8")
    assert client.call("/state")["samples"][7] == 2
    for path in reversed(paths[:3]):
        assert client.call("/delete_sample")["deleted"] == path
    assert "no sample" in client.error("/delete_sample")
    assert (folder / "7" / "mine.png").exists()
    for label in (-1, 10, 1.0, "1", None, True):
        assert "label must be" in client.error(
            "/save_sample", image=encode(image_of("1")), label=label
        )
    for image in (None, 5, "", "AAAA", "~" * 1048, encode(np.zeros(783, np.uint8))):
        assert "image must be base64 of 784" in client.error("/save_sample", image=image, label=1)


def test_samples_are_pictures_that_others_read(client):
    image_module = pytest.importorskip("PIL.Image")
    saved = client.save(image_of("2"), 2)["saved"]
    with image_module.open(client.server.session.samples.path / saved) as picture:
        assert picture.size == (28, 28) and picture.mode == "L"
        np.testing.assert_array_equal(
            np.asarray(picture), client.server.session.samples.read()[0].images[0, 0]
        )


def test_pictures_of_others_are_read_if_they_fit(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    folder = SampleFolder(tmp_path, TEN, (1, 28, 28))
    (tmp_path / "4").mkdir()
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.integers(0, 9, (28, 28)), axis=1).astype(np.uint8)
    images = [smooth, rng.integers(0, 256, (28, 28)).astype(np.uint8)]
    for name, image in zip("ab", images, strict=True):
        image_module.fromarray(image).save(tmp_path / "4" / f"{name}.png")
    good = (tmp_path / "4" / "a.png").read_bytes()
    image_module.fromarray(smooth[1:]).save(tmp_path / "4" / "small.png")
    image_module.fromarray(np.stack([smooth] * 3, 2)).save(tmp_path / "4" / "colored.png")
    bad = [b"", good[:20], good[:-60], good.replace(b"IDAT", b"IDAX"), b"GIF89a", good[:8]]
    for number, content in enumerate(bad):
        (tmp_path / "4" / f"damaged{number}.png").write_bytes(content)
    dataset, unusable = folder.read()
    np.testing.assert_array_equal(dataset.images[:, 0], images)
    assert dataset.labels.tolist() == [4, 4]
    assert len(unusable) == len(bad) + 2 and all(path.endswith(".png") for path in unusable)


def test_without_pillow(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert client.bytes_of("/test_image")[1]
    why = client.error("/save_sample", image=encode(image_of("3")), label=3)
    assert why.endswith("require Pillow, which is not installed: pip install 'lenet5c[images]'")


def test_names_of_folders():
    names = [
        "0",
        "a",
        "A",
        "",
        "..",
        "x/y",
        "con",
        "COM1.txt",
        "é",
        "dot.",
        "long" * 50,
        "a b",
        ".hid",
        "b\0c",
    ]
    kept = {0: "0", 8: "é", 11: "a b"}
    assert name_folders(names) == [
        kept.get(number, f"class-{number}") for number in range(len(names))
    ]


def test_a_folder_that_cannot_be_written(served, trained, tmp_path):
    taken = tmp_path / "file"
    taken.write_text("x", encoding="utf-8")
    with pytest.raises(SampleError, match="must be a folder"):
        SampleFolder(taken, TEN, (1, 28, 28))
    client = served(trained, no_data, samples=tmp_path / "file" / "below")
    assert "--samples" in client.error("/save_sample", image=encode(image_of("1")), label=1)


def test_a_folder_has_its_limit(client, monkeypatch):
    monkeypatch.setattr(samples_module, "MAXIMUM", 1)
    client.save(image_of("1"), 1)
    assert "fewer than 1 samples" in client.error(
        "/save_sample", image=encode(image_of("1")), label=1
    )


def tuned(client, **request):
    client.call("/start_tuning", **request)
    client.server.session.tuning.join(60)
    return client.call("/state")


def test_fine_tuning(client, trained, mnist_slice, tmp_path):
    session = client.server.session
    assert "no samples" in client.error("/start_tuning") and "no fine-tuned" in client.error(
        "/keep_model"
    )
    # A seven that stands for a one: something new to learn.
    for _ in range(3):
        client.save(image_of("7"), 1)
    for epochs in (0, 21, 1.5, "3", None, True):
        assert "epochs must be" in client.error("/start_tuning", epochs=epochs)
    before = trained.model.vector.copy()
    state = tuned(client, epochs=5)
    status = state["tuning"]
    assert (status["state"], state["tuned"], status["before"]["samples"]) == ("done", True, [0, 3])
    assert status["after"]["samples"] == [3, 3] and status["after"]["tests"][0] >= 485
    assert session.trained.predict(image_of("7")) == [1] and state["model"] == 1
    assert client.bytes_of("/weights")[1] == pack_weights(session.trained)
    np.testing.assert_array_equal(trained.model.vector, before)
    # The same samples, the same result; nothing of the first time is in it.
    first = session.trained.model.vector.copy()
    (session.samples.path / "2").mkdir()
    (session.samples.path / "2" / "junk.png").write_bytes(b"junk")
    assert [os.path.basename(path) for path in tuned(client, epochs=5)["tuning"]["unusable"]] == [
        "junk.png"
    ]
    np.testing.assert_array_equal(session.trained.model.vector, first)
    # Kept, as a file that predict takes; twice is once.
    kept = client.call("/keep_model")["kept"]
    assert (
        kept == client.call("/keep_model")["kept"] == str(tmp_path / "samples-model-1.safetensors")
    )
    np.testing.assert_array_equal(open_model(kept).model.vector, first)
    state = client.call("/revert_model")
    assert (state["tuned"], state["kept"], state["tuning"]) == (False, None, {"state": "none"})
    assert state["model"] == 0 and client.bytes_of("/weights")[1] == pack_weights(trained)
    tuned(client, epochs=1)
    assert client.call("/keep_model")["kept"] == str(tmp_path / "samples-model-2.safetensors")


def test_fine_tuning_is_stopped(client):
    client.save(image_of("2"), 2)
    client.call("/start_tuning", epochs=20)
    assert "already running" in client.error("/start_tuning")
    client.call("/stop_tuning")
    client.server.session.tuning.join(60)
    state = client.call("/state")
    assert state["tuning"]["state"] == "stopped" and not state["tuned"]


@pytest.mark.parametrize("name", ["1998", "batch norm, dropout"])
def test_other_nets_are_fine_tuned(served, mnist_slice, name):
    train, test = mnist_slice
    client = served(MODELS[name], lambda: Source(train.take(range(500)), test))
    client.save(image_of("2"), 2)
    status = tuned(client, epochs=6)["tuning"]
    assert status["state"] == "done" and status["after"]["tests"][0] > status["before"]["tests"][0]


def test_fine_tuning_that_fails_leaves_the_model(served, mnist_slice):
    broken = of(LeNet5(), TEN, (1, 28, 28))
    broken.model.vector[:] = 1e30
    client = served(broken, lambda: Source(*mnist_slice))
    with np.errstate(all="ignore"):
        client.save(image_of("2"), 2)
        state = tuned(client)
    assert (
        state["tuning"]["state"] == "failed"
        and "fine-tuning failed" in state["tuning"]["message"]
        and not state["tuned"]
    )


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root writes anywhere",
)
def test_a_model_that_cannot_be_kept(client, tmp_path):
    client.save(image_of("2"), 2)
    tuned(client, epochs=1)
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in client.error("/keep_model")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_leaves_nothing(trained, tmp_path):
    """A file size limit simulates a full disk, in a separate process."""
    done = run_python(
        "import resource, signal, sys\n"
        "import numpy as np\n"
        "from lenet5c.demo.session import Session\n"
        "from lenet5c.errors import UserError\n"
        "from lenet5c.training import open_model\n"
        "session = Session(open_model(), 'a model', sys.argv[1], lambda: None)\n"
        "session.use(open_model())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        "image = 'A' * 1046 + '=='\n"
        "for _ in range(3):\n"
        "    for method in (session.keep_model, session.save_sample):\n"
        "        try: method({'label': 1, 'image': image})\n"
        "        except UserError as error: print(error)",
        tmp_path / "samples",
    )
    assert done.returncode == 0, done.stderr
    kept, saved, *_ = lines = done.stdout.splitlines()
    assert len(lines) == 6 and f"{tmp_path / 'samples'}-model-1.safetensors: " in kept
    assert str(tmp_path / "samples" / "1") in saved and "another --samples" in saved
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
