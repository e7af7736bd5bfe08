"""The demo's page in a real browser: Chromium without a window, through Selenium."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from drawn.demo_digits import DIGITS

from lenet5c.datasets import Preparation, Source
from lenet5c.nn import LeNet5
from lenet5c.training import TrainedModel, open_model

pytest.importorskip("selenium", reason="needs selenium")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--window-size=1280,900",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
    ):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(30)
    yield driver
    driver.quit()


@pytest.fixture
def open_page(chromium):
    """Return open_page(client) -> Page.

    In the end nothing was blocked, failed or asked of anybody else.
    """
    clients = []

    def open_it(client):
        clients.append(client)
        return Page(chromium, client)

    yield open_it
    # A test that looks at pictures is told how it could do so faster.
    assert [
        entry
        for entry in chromium.get_log("browser")
        if "getImageData are faster" not in entry["message"]
    ] == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert any(address == clients[-1].server.address for address in addresses)
    assert [
        address for address in addresses if not address.startswith(("http://127.0.0.1:", "about:"))
    ] == []
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.get("about:blank")
    chromium.get_log("performance")


@pytest.fixture
def page(open_page, client):
    return open_page(client)


class Page:
    """The page as a user has it."""

    def __init__(self, driver, client):
        self.driver = driver
        driver.get(client.server.address)
        self.until(lambda: driver.execute_script("return window.lenet5cDemo?.ready"), True)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).text

    def until(self, value, expected, seconds=20):
        """Wait until `value()` is what is expected: a value, or a function that says so."""
        for _ in range(seconds * 50):
            last = value()
            if expected(last) if callable(expected) else last == expected:
                return last
            time.sleep(0.02)
        pytest.fail(f"{last!r} is not {expected!r}; the page says {self.text('#fault')!r}")

    def reads(self, expected):
        return self.until(lambda: self.text("#best"), expected)

    def press(self, selector):
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def keys(self, *keys):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def draw(self, digit, kind="mouse", **pointer):
        """Draw with real events of a mouse, a pen or a finger."""
        pad = self.find("#pad")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", pad)
        box = self.driver.execute_script(
            "const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width]", pad
        )
        for stroke in DIGITS[digit]:
            builder = ActionBuilder(
                self.driver, mouse=PointerInput(kind, f"the {kind}"), duration=0
            )
            for number, (x, y) in enumerate(stroke):
                builder.pointer_action.move_to_location(
                    round(box[0] + x * box[2]), round(box[1] + y * box[2])
                )
                if number == 0:
                    builder.pointer_action.pointer_down(**pointer)
            builder.pointer_action.pointer_up()
            builder.perform()

    def probabilities(self):
        texts = [
            element.text for element in self.driver.find_elements(By.CSS_SELECTOR, "#bars .number")
        ]
        return [float(text.strip("> %") or "nan") for text in texts]


def test_an_empty_page_has_no_answer(page):
    assert page.text("#best") == "?" and page.text("#sure") == "draw a digit"
    assert np.isnan(page.probabilities()).all()
    assert "61,706 parameters" in page.text("#model")
    layers = [
        caption.text for caption in page.driver.find_elements(By.CSS_SELECTOR, "#maps figcaption")
    ]
    assert layers == [
        "conv1 6 × 28 × 28",
        "pool1 6 × 14 × 14",
        "conv2 16 × 10 × 10",
        "pool2 16 × 5 × 5",
        "fc1 120",
        "fc2 84",
        "fc3 10",
    ]
    for selector in ("#undo", "#clear", "#tune", "#keep", "#revert", "#delete"):
        assert not page.find(selector).is_enabled()


def test_digits_by_mouse(page):
    for digit in DIGITS:
        page.draw(digit)
        page.reads(digit)
        page.until(lambda digit=digit: page.probabilities()[int(digit)], lambda share: share > 90)
        page.press("#clear")
        page.reads("?")
    assert np.isfinite(page.driver.execute_script("return window.lenet5cDemo.latencies")).all()
    assert "median" in page.find("#latency").get_attribute("textContent")


COLORED = """return [...document.querySelectorAll('#maps canvas, #seen')].map(canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const zero = canvas.id === 'seen' ? [0, 0, 0] : arguments[0];
    let red = 0, blue = 0, other = 0;
    for (let i = 0; i < data.length; i += 4) {
        if (!data[i + 3] || zero.every((value, c) => data[i + c] === value)) continue;
        const warmer = data[i] - data[i + 2];
        if (warmer > 8) red++; else if (warmer < -8) blue++; else other++;
    }
    return [red, blue, other]})"""
ZERO = {"light": [247, 247, 247], "dark": [13, 16, 21]}


@pytest.mark.parametrize("theme", ZERO)
def test_every_layer_is_colored(page, theme):
    """Positive is red, negative blue, zero as light or dark as the page."""

    def choose(name):
        for _ in range(3):
            if page.text("#theme") != f"Colors: {name}":
                page.press("#theme")

    def count(name):
        return page.driver.execute_script(COLORED, ZERO[name])

    choose(theme)
    assert not np.any(count(theme))
    page.draw("3")
    page.reads("3")
    seen, *rectified, last = count(theme)
    assert any(seen) and len(rectified) == 6
    assert all(red and not blue for red, blue, _ in rectified) and last[0] and last[1]
    bar = """const context = document.querySelector('#scale').getContext('2d');
        return [...context.getImageData(0, 0, 255, 1).data]"""
    first, *_, end = np.reshape(page.driver.execute_script(bar), (255, 4)).tolist()
    assert first[2] > first[0] and end[0] > end[2]
    other = "dark" if theme == "light" else "light"
    choose(other)
    _, *rectified, last = count(other)  # painted anew
    assert all(red and not blue for red, blue, _ in rectified) and last[0] and last[1]
    choose("auto")


@pytest.mark.parametrize("kind", ["touch", "pen"])
def test_digits_by_finger_and_pen(page, kind):
    page.draw("3", kind, **({"pressure": 0.6} if kind == "pen" else {}))
    page.reads("3")
    assert page.driver.execute_script("return scrollY") == 0 or kind == "pen"
    page.press("#undo")
    page.reads("?")


def test_digits_by_keys_alone(page):
    for _ in range(20):
        page.keys(Keys.TAB)
        if page.driver.switch_to.active_element.get_attribute("id") == "pad":
            break
    page.keys(Keys.SPACE)
    page.until(lambda: page.text("#pad-state"), "The pen is down")
    page.keys(*[Keys.DOWN] * 14)
    page.keys(Keys.ESCAPE)
    page.reads("1")
    # A seven needs a bar to the left.
    page.keys(*[Keys.UP] * 14, Keys.SPACE, *[Keys.LEFT] * 8, Keys.ESCAPE)
    page.reads("7")
    page.until(lambda: page.text("#said"), lambda text: text.startswith("7, "))
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    page.reads("1")
    page.keys(Keys.DELETE)
    page.reads("?")
    page.keys("t")
    page.until(lambda: page.text("#pad-state"), lambda text: text.startswith("Test image"))
    page.reads(lambda text: text in DIGITS or text in "0123456789")


def test_every_control_can_be_focused_and_has_a_name(page):
    page.draw("3")
    page.reads("3")
    page.driver.execute_script(
        "document.activeElement.blur(); document.querySelector('#help').open = true"
    )
    seen = []
    for _ in range(60):
        page.keys(Keys.TAB)
        element = page.driver.switch_to.active_element
        name = element.get_attribute("id") or element.text
        if element.tag_name in ("body", "html"):
            continue
        if name in seen:
            break
        seen.append(name)
        assert element.accessible_name or element.tag_name == "summary", seen[-1]
        outline = element.value_of_css_property("outline-width")
        assert outline == "3px", (seen[-1], outline)
    controls = (
        "pad undo clear random wrong slider-width slider-noise animate reset theme 0 9"
        " epochs shortcuts"
    )
    assert set(controls.split()) <= set(seen), seen


def test_sliders(page):
    page.draw("3")
    page.reads("3")
    before = page.probabilities()
    slider = page.find("input[name=rotation]")
    slider.send_keys(*[Keys.RIGHT] * 5)
    page.until(lambda: page.text("label:has([name=rotation]) output"), "+5°")
    moved = (
        "arguments[0].value = 120; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.driver.execute_script(moved, slider)
    page.until(page.probabilities, lambda now: now != before)
    page.press("#reset")
    page.until(page.probabilities, before)
    page.press("#animate")
    page.until(lambda: page.text("label:has([name=rotation]) output"), lambda text: text != "0°")
    page.press("#reset")
    page.until(lambda: page.text("label:has([name=rotation]) output"), "0°")
    assert page.find("#animate").get_attribute("aria-pressed") == "false"


def test_test_digits(page):
    page.press("#random")
    page.until(lambda: page.text("#pad-state"), lambda text: text.startswith("Test image"))
    page.until(lambda: page.text("#sure"), lambda text: "correct" in text or "wrong" in text)
    page.press("#wrong")
    page.until(lambda: page.text("#sure"), lambda text: "wrong: the true label is" in text)
    page.press("#classes button")
    page.until(lambda: page.text("#fault"), lambda text: "not saved" in text)
    page.draw("1")  # takes the place of the test image
    page.reads("1")
    page.until(lambda: page.text("#sure"), lambda text: "wrong" not in text)


def test_it_is_taught(page, client):
    page.draw("7")
    page.reads("7")
    page.keys("1")
    page.until(lambda: page.text("#counts"), "1 sample")
    page.keys("1")  # once is enough
    page.until(lambda: page.text("#fault"), lambda text: "is saved as 1" in text)
    for _ in range(2):
        page.draw("7")  # begins anew
        page.reads("7")
        page.press("#classes button:nth-child(2)")
    page.until(lambda: page.text("#counts"), "3 samples")
    page.find("#epochs").clear()
    page.find("#epochs").send_keys("5")
    page.press("#tune")
    page.until(lambda: page.text("#tune-state"), "The fine-tuned model answers now.")
    page.reads("1")
    cells = [cell.text for cell in page.driver.find_elements(By.CSS_SELECTOR, "#figures td")]
    assert cells[:2] == ["0 of 3", "3 of 3"] and cells[2].endswith(" of 500")
    page.press("#keep")
    page.until(lambda: page.text("#kept"), lambda text: "lenet5c predict --model" in text)
    assert open_model(client.server.session.kept).class_names == tuple("0123456789")
    page.press("#revert")
    page.reads("7")
    page.press("#delete")
    page.until(lambda: page.text("#counts"), "2 samples")


def test_single_keys_can_be_turned_off(page):
    page.draw("7")
    page.reads("7")
    page.press("summary")
    page.press("#shortcuts")
    page.keys("1")
    page.keys("w")
    page.press("#undo")
    page.reads("?")
    assert page.text("#counts") == "No samples yet"
    page.press("#shortcuts")


def test_every_width(page):
    page.driver.execute_script("document.querySelector('#help').open = true")
    outside = """return [...document.querySelectorAll('button, input, canvas, p, li, figcaption')]
        .filter(e => e.checkVisibility() && e.id !== 'said')
        .filter(e => e.getBoundingClientRect().right > innerWidth
            || e.getBoundingClientRect().left < 0)
        .map(e => e.outerHTML)"""
    for width in (320, 390, 620, 640, 700, 1280, 2560):
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert page.driver.execute_script(outside) == [], width
        assert page.find("#pad").size["width"] >= min(width - 60, 250)
        page.draw("3")
        page.reads("3")
        page.press("#clear")
        page.reads("?")


def test_colors(page):
    seen = []
    for _ in range(3):
        page.press("#theme")
        seen.append(
            (
                page.text("#theme"),
                page.driver.execute_script(
                    "return getComputedStyle(document.body).backgroundColor"
                ),
            )
        )
    assert [text for text, _ in seen] == ["Colors: light", "Colors: dark", "Colors: auto"]
    assert seen[0][1] != seen[1][1]


def test_names_are_text(open_page, served):
    def no_data():
        raise ValueError

    names = ("<img src=x onerror=alert(1)>", "höchst 数字", "x" * 300)
    client = served(
        TrainedModel(LeNet5(num_classes=3), Preparation(size=(32, 32)), names),
        lambda: Source(None, _Nothing()),
    )
    page = open_page(client)
    page.draw("0")
    page.reads(lambda text: text in names)
    assert page.driver.find_element(By.CSS_SELECTOR, "#maps li").text == names[0]
    assert not page.find("#random").is_enabled() and "--data" in page.text("#tune-state")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 1280


def test_many_classes_are_a_list_to_choose_from(open_page, served):
    names = tuple(f"class {i}" for i in range(47))
    page = open_page(
        served(
            TrainedModel(LeNet5(num_classes=47), Preparation(size=(32, 32)), names),
            lambda: Source(None, _Nothing()),
        )
    )
    page.draw("2")
    page.reads(lambda text: text in names)
    assert len(page.probabilities()) == 12 and page.probabilities() == sorted(
        page.probabilities(), reverse=True
    )
    # Each unit of the last layer has its name, in columns.
    units = page.driver.find_elements(By.CSS_SELECTOR, "#maps figure:last-child li")
    assert [unit.text for unit in units] == list(names)
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "#maps figure:last-child canvas")) == 4
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 1280
    page.find("#classes select").send_keys("class 40")
    page.press("#classes button")
    page.until(lambda: page.text("#counts"), "1 sample")


def test_a_demo_that_has_ended(open_page, client):
    page = open_page(client)
    client.server.token = "another demo's"
    page.draw("3")
    page.until(lambda: page.text("#fault"), lambda text: "load it again" in text)
    # The browser notes each refusal; that is what was asked for here.
    assert all("403" in entry["message"] for entry in page.driver.get_log("browser"))


class _Nothing:
    """Test images of no model."""

    name, class_names = "nothing", ()
