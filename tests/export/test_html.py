"""A model as a page: the JavaScript has the values of lenet5c."""

import copy
import json
import re

import numpy as np
import pytest
from every_layer import LAYERS
from exported_models import images, shaken, variants
from page_jobs import decode, encode, needs_node, page_of, run_jobs
from page_models import MODELS, of

from lenet5c import nn
from lenet5c.datasets import Dataset, Framing, Preparation, mnist
from lenet5c.export import ExportError, to_html
from lenet5c.export.html_bundle import read_page
from lenet5c.export.html_model import choose_examples
from lenet5c.nn import LeNet5
from lenet5c.recognition.why import occlusion, saliency
from lenet5c.training import TrainedModel, open_model

CASES = [
    (name, layer, shape)
    for name, cases in LAYERS.items()
    for layer, shape in cases
    if name != "Ensemble"  # a page shows the layers of one net
]


def model_of(layer, shape):
    """Return a net with the layer between others, and inputs for it."""
    layer = copy.deepcopy(layer)
    features = int(np.prod(layer.output_shape(shape)))
    layers = {
        "before": nn.Tanh(),
        "layer": layer,
        "after": nn.LeakyReLU(0.5),
        "flat": nn.Flatten(),
        "out": nn.Linear(features, 3, rng=0),
    }
    return shaken(nn.Sequential(layers, input_shape=shape))


def as_trained(model, shape):
    """Return a model for images of this shape, (n,) as (n, 1, 1); only its layers matter."""
    whole = (*shape, 1, 1)[:3]
    head = {} if len(shape) == 3 else {"first": nn.Flatten()}
    net = nn.Sequential({**head, "net": model}, input_shape=whole)
    return TrainedModel(net, Preparation(whole[1:]), ("a", "b", "c"), whole)


@needs_node
def test_every_layer_forward_and_backward(tmp_path):
    jobs, expected = [], []
    for name, layer, shape in CASES:
        model = model_of(layer, shape)
        x = np.random.default_rng(1).standard_normal((1, *shape)).astype(np.float32)
        page = page_of(as_trained(model, shape))
        jobs += [
            {"work": "logits", "model": page, "inputs": encode(x)},
            {"work": "slope", "model": page, "inputs": encode(x), "label": 1},
        ]
        expected.append((name, model.forward(x)[0]))
    results = run_jobs(tmp_path, jobs)
    for (name, output), forward, slope in zip(expected, results[::2], results[1::2], strict=True):
        found = decode(forward["logits"], "<f4")
        most = 2e-5 * max(1, abs(output).max())
        np.testing.assert_allclose(found, output, atol=most, err_msg=name)
        # The gradient along a random direction, and central differences, both in float64.
        assert slope["gradient"] == pytest.approx(slope["difference"], rel=1e-5, abs=1e-7), name


@needs_node
def test_every_variant_gives_the_logits_of_python(tmp_path):
    models = variants()
    jobs, expected = [], []
    for trained in models.values():
        batch = images(trained, 4)
        jobs.append({"work": "logits", "model": page_of(trained), "images": encode(batch)})
        expected.append(trained.logits(batch).ravel())
    for name, logits, result in zip(models, expected, run_jobs(tmp_path, jobs), strict=True):
        found = decode(result["logits"], "<f4")
        np.testing.assert_allclose(
            found, logits, atol=1e-4 * max(1, abs(logits).max() / 10), err_msg=name
        )


@needs_node
def test_mnist_is_classified_as_in_python(tmp_path):
    """Some test images; benchmarks/demo.py --exact compares all."""
    trained, batch = open_model(), mnist()[1].images[::50]
    job = {"work": "logits", "model": page_of(trained), "images": encode(batch)}
    found = decode(run_jobs(tmp_path, [job])[0]["logits"], "<f4").reshape(-1, 10)
    expected = trained.logits(batch)
    assert abs(found - expected).max() < 1e-4
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


COLORS = """text page, text card, quiet page, quiet card, quiet paper, accent card,
             above card, below card, accent accent-soft, on-accent accent, good accent-soft,
             bad accent-soft"""


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a, b):
    a, b = sorted(map(luminance, (a, b)))
    return (b + 0.05) / (a + 0.05)


def test_contrast():
    """WCAG 2.2, level AA: contrast of 4.5 for text, 3 for the borders of controls."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", read_page("style.css"))
    assert len(pairs) >= 10
    schemes = [{name: colors[i] for name, *colors in pairs} for i in (0, 1)]
    for scheme in schemes:
        for text, ground in map(str.split, COLORS.split(",")):
            assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)
        for ground in ("card", "page", "paper"):
            assert contrast(scheme["edge"], scheme[ground]) >= 3, ground


@needs_node
def test_the_last_layer_learns_and_forgets_little(tmp_path):
    train, _ = mnist()
    trained, held_out = open_model(), train.take(np.arange(55_000, 60_000))
    logits = trained.logits(held_out.images)
    wrong = np.flatnonzero(logits.argmax(1) != held_out.labels)[:5]
    chosen = held_out.take(wrong)
    job = {"work": "tune", "model": page_of(trained, choose_examples(train))}
    job |= {"images": encode(chosen.images), "labels": chosen.labels.tolist()}
    (result,) = run_jobs(tmp_path, [job])
    last = trained.model["fc3"].params
    last["weight"][...] = decode(result["weight"], "<f4").reshape(last["weight"].shape)
    last["bias"][...] = decode(result["bias"], "<f4")
    np.testing.assert_array_equal(trained.predict(chosen.images), chosen.labels)
    before = (logits.argmax(1) == held_out.labels).mean()
    after = (trained.predict(held_out.images) == held_out.labels).mean()
    assert after > before - 0.003


@needs_node
def test_examples_are_unpacked(tmp_path):
    rng = np.random.default_rng(0)
    images = np.where(rng.random((6, 3, 20, 31)) < 0.9, 255, rng.integers(0, 256, (6, 3, 20, 31)))
    images[0] = 255  # a run of more than 256
    dataset = Dataset(images.astype(np.uint8), np.arange(6), 6)
    model = TrainedModel(
        LeNet5(num_classes=6, in_channels=3), Preparation((32, 32)), tuple("abcdef"), (3, 20, 31)
    )
    (found,) = run_jobs(tmp_path, [{"work": "examples", "model": page_of(model, dataset)}])
    assert [each["label"] for each in found] == list(range(6))
    pixels = [decode(each["image"], np.uint8) for each in found]
    np.testing.assert_array_equal(np.reshape(pixels, images.shape), images)
    with pytest.raises(ExportError, match=r"examples must be images of shape \(1, 28, 28\)"):
        to_html(open_model(), examples=dataset)


@needs_node
def test_why_is_that_of_explanation(tmp_path):
    dark = of(LeNet5(rng=0), "0123456789", (1, 28, 28))
    dark.framing = Framing(paper=(255,), ink=(0,))
    models = [(open_model(), mnist()[1].images[0]), (dark, 255 - mnist()[1].images[1])]
    rng = np.random.default_rng(0)
    for name in ("whole", "color", "1998"):
        shape = MODELS[name].image_shape
        models.append((MODELS[name], rng.integers(0, 256, shape).astype(np.uint8)))
    jobs = [
        {"work": "why", "model": page_of(trained), "image": encode(image), "label": 1}
        for trained, image in models
    ]
    for (trained, image), result in zip(models, run_jobs(tmp_path, jobs), strict=True):
        gradient = saliency(trained, image, 1).sum(axis=0).ravel()
        if trained.preparation.fit == "pad":
            most = 1e-4 * abs(gradient).max()
            np.testing.assert_allclose(result["gradient"], gradient, atol=most)
        else:
            # Python's is of levels that are not rounded after resizing: other sides of some kinks.
            lengths = np.linalg.norm(result["gradient"]) * np.linalg.norm(gradient)
            assert np.dot(result["gradient"], gradient) > 0.999 * lengths
        falls = occlusion(trained, image, 1).ravel()
        most = 2e-5 * max(1, abs(trained.logits(image[None])).max())
        np.testing.assert_allclose(result["occlusion"], falls, atol=most)


def test_what_has_no_page():
    class Own(nn.Tanh):
        pass

    net = nn.Sequential({"flat": nn.Flatten(), "mine": Own(), "out": nn.Linear(4, 2, rng=0)})
    trained = TrainedModel(net, Preparation((2, 2)), ("a", "b"), (1, 2, 2))
    with pytest.raises(ExportError, match=r"layer 'mine' must have .*, got Own"):
        to_html(trained)


def test_the_page_of_the_package_is_small_and_asks_nobody():
    page = to_html(open_model(), examples=choose_examples(mnist()[0]))
    assert len(page.encode()) <= 600_000
    assert set(re.findall(r"https?://[^\s\"'`)%]*", page)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\sstyle=|\son\w+=\"|innerHTML|\beval\(|new Function", page)
    assert '<html lang="en">' in page and "unsafe" not in page


def test_names_end_no_tag():
    names = ("</script><b>", "<!--", "{{script}} & more", "\u2028")
    trained = TrainedModel(LeNet5(num_classes=4), Preparation((32, 32)), names)
    page = to_html(trained, "<i>&")
    text = re.search(r'<script id="model-data" type="application/json">(.*?)</script>', page)[1]
    assert json.loads(text)["classes"] == list(names) and json.loads(text)["name"] == "<i>&"
    assert page.count("</script>") == 2 and page.count("<script") == 2
