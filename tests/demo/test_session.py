"""Requests of the page: any model, samples, fine-tuning."""

import json
import os
import sys

import numpy as np
import pytest
from drawn.demo_digits import strokes_of
from processes import run_python

from lenet5c import nn
from lenet5c.datasets import Dataset, DatasetError, Preparation, Source
from lenet5c.demo import samples as samples_module
from lenet5c.demo.answer import Reader, shrink
from lenet5c.demo.drawing import parse_strokes, render
from lenet5c.demo.samples import SampleError, SampleFolder, name_folders
from lenet5c.demo.transform import Transform
from lenet5c.nn import LeNet5, LeNet5_1998
from lenet5c.training import TrainedModel, open_model

TEN = tuple("0123456789")


def no_data():
    raise DatasetError("there is no data")


def of(model, names, shape, reading="ink", **preparation):
    return TrainedModel(
        model, Preparation(**{"size": (32, 32), **preparation}), tuple(names), shape, reading
    )


MODELS = {
    "tanh, average": of(LeNet5(activation="tanh", pooling="avg"), TEN, (1, 28, 28)),
    "three classes": of(LeNet5(num_classes=3), ("<b>cat</b>", "höchst", ""), (1, 28, 28)),
    "C5 as a convolution": of(LeNet5(c5="conv", without_activation=["conv2"]), TEN, (1, 28, 28)),
    "batch norm, dropout": of(LeNet5(batch_norm=True, dropout=0.5), TEN, (1, 28, 28)),
    "28 x 28": of(LeNet5(input_size=28, kernel_size=3, padding=1), TEN, (1, 28, 28), size=(28, 28)),
    "whole": of(LeNet5(num_classes=2), "ab", (1, 60, 40), "whole", fit="resize"),
    "color": of(LeNet5(in_channels=3), TEN, (3, 32, 32), "whole"),
    "large": of(
        LeNet5(input_size=150, num_classes=40), map(str, range(40)), (1, 100, 140), size=(150, 150)
    ),
    "mean image": of(LeNet5(), TEN, (1, 28, 28), mean_image=np.full((1, 32, 32), 30, np.float32)),
    "1998": of(LeNet5_1998(), TEN, (1, 28, 28), mean=0.1, std=0.8),
    "1998, four classes": of(LeNet5_1998(num_classes=4), "abcd", (1, 28, 28)),
    "layers of one's own": of(
        nn.Sequential(
            {
                "first": nn.Tanh(),
                "block": nn.Sequential(
                    nn.Conv2d(3, 40, 5, stride=3, rng=0), nn.BatchNorm2d(40), nn.ReLU()
                ),
                "pool": nn.AvgPool2d((3, 2), padding="same"),
                "flat": nn.Flatten(),
                "out": nn.Linear(40 * 5 * 10, 12, rng=1),
            }
        ),
        map(str, range(12)),
        (3, 48, 64),
        "whole",
        size=(48, 64),
    ),
    "activations alone": of(
        nn.Sequential(nn.Flatten(), nn.ScaledTanh()), "abcd", (1, 2, 2), size=(2, 2)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(served, name):
    trained = MODELS[name]
    client = served(trained, no_data)
    model = client.call("/model")
    assert model["classes"] == list(trained.class_names) and model["tests"] == {
        "count": 0,
        "why": "there is no data",
    }
    facts, probabilities, rest = client.answer(strokes=strokes_of("2"))
    picture = client.server.session.reader.prepare(render(parse_strokes(strokes_of("2"))))
    assert picture.shape == trained.image_shape
    np.testing.assert_array_equal(probabilities, trained.probabilities(picture[None])[0])
    assert facts["best"] == probabilities.argmax()
    shown = sum(np.prod(stage["shown"]) for stage in model["stages"])
    assert len(rest) == np.prod(model["input"]) + picture.size + shown
    assert all(max(stage["shown"][1:]) <= 64 for stage in model["stages"])
    last = np.frombuffer(rest, np.uint8)[-len(probabilities) :]
    assert last[facts["best"]] == 255 and last.min() == 1
    assert client.answer(strokes=[])[0] == {"blank": True}
    # A sample of any class can be saved and read again.
    state = client.call("/save_sample", strokes=strokes_of("2"), label=len(probabilities) - 1)
    assert state["samples"][-1] == 1
    dataset, unusable = client.server.session.samples.read()
    np.testing.assert_array_equal(dataset.images, picture[None])
    assert unusable == [] and dataset.labels.tolist() == [len(probabilities) - 1]
    assert "no data" in client.error("/start_tuning")


def test_stages_are_named_and_end_behind_their_activation(trained):
    reader = Reader(trained)
    assert [(stage.name, stage.shape) for stage in reader.stages] == [
        ("conv1", (6, 28, 28)),
        ("pool1", (6, 14, 14)),
        ("conv2", (16, 10, 10)),
        ("pool2", (16, 5, 5)),
        ("fc1", (120,)),
        ("fc2", (84,)),
        ("fc3", (10,)),
    ]
    answer = reader.answer(np.full((1, 28, 28), 99, np.uint8), Transform())
    x = trained.model["conv1"].forward(trained.preparation(np.full((1, 1, 28, 28), 99, np.uint8)))
    np.testing.assert_array_equal(answer.maps[0], np.maximum(x, 0)[0])
    names = [stage.name for stage in Reader(MODELS["1998"]).stages]
    assert names == ["c1", "s2", "c3", "s4", "c5", "f6", "output"]


def test_large_maps_are_averaged():
    values = np.arange(2 * 130 * 70, dtype=np.float32).reshape(2, 130, 70)
    small = shrink(values)
    assert small.shape == (2, 44, 24)
    assert (
        small[1, 0, 0] == values[1, :3, :3].mean()
        and small[0, -1, -1] == values[0, 129:, 69:].mean()
    )


@pytest.mark.parametrize(
    "strokes", [[], [[]], [[0.5, 0.5, 1]], [[0.5, 0.5, 1, 0.501, 0.5, 1]], [[1.5, 1.5, 1]]]
)
def test_an_empty_drawing_has_no_answer(client, strokes):
    assert client.answer(strokes=strokes)[0] == {"blank": True}
    assert "draw a digit" in client.error("/save_sample", strokes=strokes, label=1)


def test_what_cannot_be_a_digit_is_rejected(client):
    hatching = [[0.1, y, 1, 0.9, y, 1] for y in (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)]
    hatching += [[x, 0.1, 1, x, 0.9, 1] for x in (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)]
    blot = [
        number for a in range(40) for number in (0.5 + 0.05 * np.cos(a), 0.5 + 0.05 * np.sin(a), 3)
    ]
    assert "full of lines" in client.answer(strokes=hatching)[0]["rejected"]
    assert "blot" in client.answer(strokes=[blot])[0]["rejected"]
    assert all(client.answer(strokes=strokes_of(digit))[0]["rejected"] is None for digit in "01237")


@pytest.mark.parametrize("digit", ["0", "1", "2", "3", "7"])
@pytest.mark.parametrize("size", [0.3, 0.6, 1.2])
def test_digits_of_any_size_and_place_are_read(client, digit, size):
    for dx in (-0.3, 0.0):
        strokes = (np.array(stroke).reshape(-1, 3) for stroke in strokes_of(digit))
        moved = [
            ((s - [0.5, 0.5, 0]) * [size, size, 1] + [0.5 + dx * (1 - min(size, 1)), 0.5, 0])
            .ravel()
            .tolist()
            for s in strokes
        ]
        facts, probabilities, _ = client.answer(strokes=moved)
        assert facts["best"] == int(digit) and probabilities.max() > 0.8


def test_sliders_act(client):
    plain = client.answer(strokes=strokes_of("3"))[2]
    for change in (
        {"width": 4},
        {"shift_x": 2},
        {"shift_y": -2},
        {"rotation": 20},
        {"scale": 0.8},
        {"noise": 0.3},
    ):
        assert client.answer(strokes=strokes_of("3"), transform=change)[2] != plain
        assert client.answer(test=3, transform=change)[2] != client.answer(test=3)[2]
    assert (
        client.answer(strokes=strokes_of("7"), transform={"rotation": 8, "shift_x": 1})[0]["best"]
        == 7
    )


def test_test_digits(client, mnist_slice, trained):
    test = mnist_slice[1]
    wrong = set(np.flatnonzero(trained.logits(test.images).argmax(1) != test.labels).tolist())
    seen = {client.call("/test_digit")["test"] for _ in range(20)}
    assert len(seen) > 15
    chosen = client.call("/test_digit", wrong=True)
    assert chosen["test"] in wrong and chosen["among"] == len(wrong)
    assert chosen["label"] == test.labels[chosen["test"]]
    facts, probabilities, rest = client.answer(test=chosen["test"])
    assert facts["best"] != chosen["label"]
    np.testing.assert_array_equal(
        probabilities, trained.probabilities(test.images[[chosen["test"]]])[0]
    )
    assert rest[1024 : 1024 + 784] == test.images[chosen["test"]].tobytes()


def test_other_data_is_refused(served, trained, mnist_slice):
    train, test = mnist_slice
    for part, words in (
        (
            Dataset(test.images, test.labels, 10, "letters", tuple("abcdefghij")),
            "letters must have the model's class names",
        ),
        (
            Dataset(test.images[:, :, :20], test.labels, 10),
            "image shape, (1, 28, 28), got (1, 20, 28)",
        ),
    ):
        client = served(trained, lambda part=part: Source(train, part))
        assert words in client.call("/model")["tests"]["why"] and "--data" in client.error(
            "/test_digit"
        )
        assert client.answer(strokes=strokes_of("0"))[0]["best"] == 0


def test_samples(client):
    folder = client.server.session.samples.path
    assert client.call("/state")["samples"] == [0] * 10 and not folder.exists()
    paths = [
        client.call("/save_sample", strokes=strokes_of(digit), label=int(digit))["saved"]
        for digit in "3733"
    ]
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
        assert "label must be" in client.error("/save_sample", strokes=strokes_of("1"), label=label)


def test_samples_are_pictures_that_others_read(client):
    image_module = pytest.importorskip("PIL.Image")
    saved = client.call("/save_sample", strokes=strokes_of("2"), label=2)["saved"]
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
    assert client.answer(strokes=strokes_of("3"))[0]["best"] == 3
    assert client.answer(test=3)[1] is not None
    why = client.error("/save_sample", strokes=strokes_of("3"), label=3)
    assert why.endswith("need Pillow, which is not installed: pip install 'lenet5c[images]'")


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
    assert "--samples" in client.error("/save_sample", strokes=strokes_of("1"), label=1)


def test_a_folder_has_its_limit(client, monkeypatch):
    monkeypatch.setattr(samples_module, "MOST", 1)
    client.call("/save_sample", strokes=strokes_of("1"), label=1)
    assert "fewer than 1 samples" in client.error("/save_sample", strokes=strokes_of("1"), label=1)


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
        client.call("/save_sample", strokes=strokes_of("7"), label=1)
    for epochs in (0, 21, 1.5, "3", None, True):
        assert "epochs must be" in client.error("/start_tuning", epochs=epochs)
    before = trained.model.vector.copy()
    state = tuned(client, epochs=5)
    status = state["tuning"]
    assert (status["state"], state["tuned"], status["before"]["samples"]) == ("done", True, [0, 3])
    assert status["after"]["samples"] == [3, 3] and status["after"]["tests"][0] >= 485
    assert client.answer(strokes=strokes_of("7"))[0]["best"] == 1
    np.testing.assert_array_equal(trained.model.vector, before)
    # The same samples, the same result; nothing of the first time is in it.
    first = session.reader.trained.model.vector.copy()
    (session.samples.path / "2").mkdir()
    (session.samples.path / "2" / "junk.png").write_bytes(b"junk")
    assert [os.path.basename(path) for path in tuned(client, epochs=5)["tuning"]["unusable"]] == [
        "junk.png"
    ]
    np.testing.assert_array_equal(session.reader.trained.model.vector, first)
    # Kept, as a file that predict takes; twice is once.
    kept = client.call("/keep_model")["kept"]
    assert (
        kept == client.call("/keep_model")["kept"] == str(tmp_path / "samples-model-1.safetensors")
    )
    np.testing.assert_array_equal(open_model(kept).model.vector, first)
    state = client.call("/revert_model")
    assert (state["tuned"], state["kept"], state["tuning"]) == (False, None, {"state": "none"})
    assert client.answer(strokes=strokes_of("7"))[0]["best"] == 7
    tuned(client, epochs=1)
    assert client.call("/keep_model")["kept"] == str(tmp_path / "samples-model-2.safetensors")


def test_fine_tuning_is_stopped(client):
    client.call("/save_sample", strokes=strokes_of("2"), label=2)
    client.call("/start_tuning", epochs=20)
    assert "under way" in client.error("/start_tuning")
    client.call("/stop_tuning")
    client.server.session.tuning.join(60)
    state = client.call("/state")
    assert state["tuning"]["state"] == "stopped" and not state["tuned"]


@pytest.mark.parametrize("name", ["1998", "batch norm, dropout"])
def test_other_nets_are_fine_tuned(served, mnist_slice, name):
    train, test = mnist_slice
    client = served(MODELS[name], lambda: Source(train.take(range(500)), test))
    client.call("/save_sample", strokes=strokes_of("2"), label=2)
    status = tuned(client, epochs=6)["tuning"]
    assert status["state"] == "done" and status["after"]["tests"][0] > status["before"]["tests"][0]


def test_fine_tuning_that_fails_leaves_the_model(served, mnist_slice):
    broken = of(LeNet5(), TEN, (1, 28, 28))
    broken.model.vector[:] = np.nan
    client = served(broken, lambda: Source(*mnist_slice))
    with np.errstate(invalid="ignore"):
        client.call("/save_sample", strokes=strokes_of("2"), label=2)
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
    client.call("/save_sample", strokes=strokes_of("2"), label=2)
    tuned(client, epochs=1)
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in client.error("/keep_model")
    finally:
        tmp_path.chmod(0o700)


def test_all_of_the_model_is_json(client):
    assert (
        json.loads(json.dumps(client.call("/model")))["ranges"].keys()
        == Transform.__dataclass_fields__.keys()
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_leaves_nothing(trained, tmp_path):
    """A file that may not grow stands for the disk; in a process of its own."""
    done = run_python(
        "import resource, signal, sys\n"
        "import numpy as np\n"
        "from lenet5c.demo.session import Session\n"
        "from lenet5c.errors import UserError\n"
        "from lenet5c.training import open_model\n"
        "session = Session(open_model(), 'a model', sys.argv[1], lambda: None)\n"
        "session.use(open_model())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        "strokes = [[0.5, 0.2, 1, 0.5, 0.8, 1]]\n"
        "for _ in range(3):\n"
        "    for method in (session.keep_model, session.save_sample):\n"
        "        try: method({'label': 1, 'strokes': strokes})\n"
        "        except UserError as error: print(error)",
        tmp_path / "samples",
    )
    assert done.returncode == 0, done.stderr
    kept, saved, *_ = lines = done.stdout.splitlines()
    assert len(lines) == 6 and f"{tmp_path / 'samples'}-model-1.safetensors: " in kept
    assert str(tmp_path / "samples" / "1") in saved and "another --samples" in saved
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
