"""An exported page in Chromium, opened as a file."""

import base64
import time

import numpy as np
import pytest
from drawn.demo_digits import DIGITS
from page_models import MODELS, of
from processes import HANGING

from lenet5c.datasets import Preparation, mnist
from lenet5c.export import import_torch, to_html
from lenet5c.export.html_model import choose_examples
from lenet5c.nn import LeNet5
from lenet5c.training import TrainedModel, open_model

pytest.importorskip("selenium", reason="needs selenium")
from browser import chromium, needs_chromium, open_page  # noqa: F401  (fixtures)

pytestmark = needs_chromium


@pytest.fixture
def open_model_page(open_page, tmp_path):  # noqa: F811
    """open_model_page(trained, examples) -> its Page, from a file."""

    def make(trained, examples=None):
        path = tmp_path / "page.html"
        path.write_text(to_html(trained, "a model", examples=examples), encoding="utf-8")
        return open_page(path.as_uri())

    return make


@pytest.fixture
def page(open_model_page):
    return open_model_page(open_model(), choose_examples(mnist()[0]))


def logits_of(page, images):
    """Return the page's results for images (N, C, h, w)."""
    script = """const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
        const size = bytes.length / arguments[1], found = [];
        for (let at = 0; at < bytes.length; at += size)
            found.push([...lenet5c.net.logits(bytes.subarray(at, at + size))]);
        return found"""
    text = base64.b64encode(images.tobytes()).decode()
    return np.array(page.driver.execute_script(script, text, len(images)))


def test_digits_are_classified_without_a_server(page):
    for digit in DIGITS:
        page.draw(digit)
        page.reads(digit)
        page.press("#clear")
        page.reads("?")
    images, trained = mnist()[1].images[:40], open_model()
    np.testing.assert_allclose(logits_of(page, images), trained.logits(images), atol=1e-4)


def test_examples(page):
    labels = set()
    for _ in range(12):
        page.press("#example")
        page.until(lambda: page.text("#sure"), lambda text: "correct" in text or "wrong" in text)
        labels.add(page.text("#pad-state"))
    assert len(labels) > 5 and all(text.startswith("Training image, true") for text in labels)
    page.press("#clear")
    page.reads("?")
    assert page.text("#pad-state") == "Use a mouse, a pen, a finger or the keyboard"


PAINTED = """const {data} = document.querySelector(arguments[0]).getContext('2d')
    .getImageData(0, 0, arguments[1], arguments[1]);
    let red = 0, blue = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 40) {
        if (data[i] > data[i + 2] + 40) red++; else if (data[i + 2] > data[i] + 40) blue++;
    }
    return [red, blue]"""


@pytest.mark.parametrize("kind", ["gradient", "occlusion"])
def test_why(page, kind):
    page.find("#why-kind").send_keys(kind)
    page.draw("3")
    page.reads("3")
    for selector, side in (("#why", 28), ("#overlay", 360)):
        found = page.until(
            lambda s=selector, n=side: page.driver.execute_script(PAINTED, s, n),
            lambda counts: counts[0] > 10,
        )
        assert kind == "occlusion" or found[1] > 10
    page.press("#why-on")
    assert page.driver.execute_script(PAINTED, "#overlay", 360) == [0, 0]
    page.press("#why-on")
    page.press("#clear")
    page.reads("?")
    page.until(lambda: page.driver.execute_script(PAINTED, "#overlay", 360), [0, 0])
    page.find("#why-kind").send_keys("gradient")


def saved_file(page, selector, folder):
    """Press a button, and return the content of the saved file."""
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
    )
    page.press(selector)
    end = time.monotonic() + HANGING
    while time.monotonic() < end:
        found = [path for path in folder.iterdir() if path.suffix != ".crdownload"]
        if found and found[0].stat().st_size:
            return found[0]
        time.sleep(0.02)
    return pytest.fail("no file was saved")


def test_the_last_layer_is_fine_tuned(page, tmp_path):
    for _ in range(2):
        page.draw("7")
        page.reads("7")
        page.press("#classes button:nth-child(2)")
    page.until(lambda: page.text("#counts"), "2 samples")
    page.press("#tune-last")
    page.reads("1")
    assert "0 of 2 before, 2 after" in page.text("#tune-last-state")
    images = mnist()[1].images[:40]
    tuned = logits_of(page, images)
    # The weights are a file that lenet5c imports.
    (tmp_path / "weights").mkdir()
    path = saved_file(page, "#save-weights", tmp_path / "weights")
    found = import_torch(path, open_model())
    np.testing.assert_allclose(found.logits(images), tuned, atol=1e-4)
    # And the page that is saved answers as this one.
    (tmp_path / "saved").mkdir()
    path = saved_file(page, "#save-page", tmp_path / "saved")
    page.press("#reset-last")
    page.reads("7")
    page.driver.get(path.as_uri())
    page.until(lambda: page.driver.execute_script("return window.lenet5c?.ready"), True)
    np.testing.assert_array_equal(logits_of(page, images), tuned)
    page.driver.get((tmp_path / "page.html").as_uri())


def test_hostile_names(open_model_page):
    names = (
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "{{script}}",
        "<img src=x>",
        "\u2028",
    )
    trained = TrainedModel(LeNet5(num_classes=5, rng=0), Preparation(size=(32, 32)), names)
    page = open_model_page(trained)
    page.draw("0")
    page.reads(lambda text: text and text != "?")
    shown = page.driver.execute_script("return lenet5c.net.classes")
    assert shown == list(names)
    assert page.driver.execute_script("return document.scripts.length") == 2


@pytest.mark.parametrize("name", ["color", "whole", "1998", "large", "layers of one's own"])
def test_other_models(open_model_page, name):
    trained = MODELS[name]
    page = open_model_page(trained)
    page.draw("2")
    page.reads(lambda text: text and text != "?")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, *trained.image_shape)).astype(np.uint8)
    expected = trained.logits(images)
    np.testing.assert_allclose(
        logits_of(page, images), expected, atol=1e-4 * max(1, abs(expected).max() / 10)
    )
    if name == "1998":
        assert not page.find("#tune-last").is_enabled()
        assert "not linear" in page.text("#tune-last-state")


def test_the_ink_of_other_images_is_chosen(open_model_page):
    """A model for whole images, without information on dark ink."""
    trained = of(LeNet5(), "0123456789", (1, 28, 28), "whole")
    trained.framing = None
    page = open_model_page(trained)
    page.draw("1")
    seen = "return lenet5c.reader.prepare(lenet5c.pad.strokes).image.reduce((a, b) => a + b) / 784"
    assert page.driver.execute_script(seen) < 60
    page.press("#inverted")
    assert page.driver.execute_script(seen) > 195
