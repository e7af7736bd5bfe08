"""The page of the demo in headless Chromium, with Selenium."""

import numpy as np
import pytest
from drawn.demo_digits import DIGITS, strokes_of
from drawn_images import draw

from lenet5c.datasets import Preparation, Source
from lenet5c.nn import LeNet5
from lenet5c.training import TrainedModel, open_model

pytest.importorskip("selenium", reason="needs selenium")
from browser import chromium, needs_chromium, open_page  # noqa: F401  (fixtures)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

pytestmark = needs_chromium


@pytest.fixture
def page(open_page, client):  # noqa: F811
    return open_page(client.server.address)


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
    assert np.isfinite(page.driver.execute_script("return window.lenet5c.latencies")).all()
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
    """Positive is red, negative blue, zero the color of the page."""

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
        "pad undo clear random wrong why-kind why-on slider-width slider-noise animate reset"
        " theme 0 9 epochs photo-file photo-kind shortcuts"
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


def test_test_images(page):
    hint = page.text("#pad-state")
    for leave in ("#clear", "#undo", None):
        page.press("#random")
        page.until(lambda: page.text("#pad-state"), lambda text: text.startswith("Test image"))
        page.until(lambda: page.text("#sure"), lambda text: "correct" in text or "wrong" in text)
        if leave:
            page.press(leave)
            page.until(lambda: page.text("#pad-state"), hint)
            page.reads("?")
        else:
            page.draw("1")  # takes the place of the test image
            page.until(lambda: page.text("#pad-state"), "")
            page.reads("1")
            page.until(lambda: page.text("#sure"), lambda text: "wrong" not in text)
    page.press("#wrong")
    page.until(lambda: page.text("#sure"), lambda text: "wrong: the true label is" in text)


def test_errors_stand_beside_what_was_pressed(page):
    page.press("#random")
    page.until(lambda: page.text("#pad-state"), lambda text: text.startswith("Test image"))
    for width, height in ((1280, 800), (390, 844)):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.press("#classes button")
        page.until(lambda: page.text("#teach-error"), lambda text: "cannot be saved" in text)
        seen = """const box = document.querySelector('#teach-error').getBoundingClientRect();
            return box.top >= 0 && box.bottom <= innerHeight"""
        assert page.driver.execute_script(seen)
    page.draw("1")
    page.until(lambda: page.errors, [])


def test_a_slow_save_marks_its_own_drawing_alone(page):
    # Saving waits until `go` is called.
    page.driver.execute_script("""
        const fetch = window.fetch;
        window.held = [];
        window.fetch = async (path, ...rest) => {
          const held = String(path).endsWith("/save_sample");
          if (held) await new Promise((go) => window.held.push(go));
          return fetch(path, ...rest);
        };""")
    page.draw("7")
    page.reads("7")
    page.keys("7")
    page.until(lambda: page.driver.execute_script("return held.length"), 1)
    page.keys("1")  # of the same drawing
    page.until(lambda: page.text("#teach-error"), "This drawing is being saved.")
    page.press("#clear")
    page.draw("1")
    page.reads("1")
    page.driver.execute_script("held.shift()()")
    page.until(lambda: page.text("#counts"), "1 sample")
    page.keys("1")  # the new drawing was not saved yet
    page.until(lambda: page.driver.execute_script("return held.length"), 1)
    page.driver.execute_script("held.shift()()")
    page.until(lambda: page.text("#counts"), "2 samples")
    page.until(lambda: page.text("#pad-state"), "Saved as 1. Draw the next one.")


def test_it_is_taught(page, client):
    page.draw("7")
    page.reads("7")
    page.keys("1")
    page.until(lambda: page.text("#counts"), "1 sample")
    page.keys("1")  # once is enough
    page.until(lambda: page.text("#teach-error"), lambda text: "has been saved as 1" in text)
    for count in (2, 3):
        page.draw("7")  # begins anew
        page.reads("7")
        page.press("#classes button:nth-child(2)")
        page.until(lambda: page.text("#counts"), f"{count} samples")
    # The last layer alone, in the page.
    page.press("#tune-last")
    page.reads("1")
    assert "0 of 3 before, 3 after" in page.text("#tune-last-state")
    page.press("#reset-last")
    page.reads("7")
    page.find("#epochs").clear()
    page.find("#epochs").send_keys("5")
    page.press("#tune")
    page.until(lambda: page.text("#tune-state"), "The fine-tuned model is now in use.")
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


def test_a_phone_shows_drawing_buttons_and_answer_at_once(page):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.driver.execute_script("scrollTo(0, 0)")
    page.draw("3")
    page.reads("3")
    for selector in ("#pad", "#undo", "#wrong", "#best", "#sure", "#seen", "#bars li:last-child"):
        box = page.find(selector).rect
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844, selector
    # What is touched is no smaller than a finger.
    small = """return [...document.querySelectorAll('button, select, summary, label:has(input)')]
        .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 44)
        .map(e => e.outerHTML)"""
    page.driver.execute_script("document.querySelector('#help').open = true")
    assert page.driver.execute_script(small) == []


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


def test_names_are_text(open_page, served):  # noqa: F811
    def no_data():
        raise ValueError

    names = ("<img src=x onerror=alert(1)>", "höchst 数字", "x" * 300)
    client = served(
        TrainedModel(LeNet5(num_classes=3), Preparation(size=(32, 32)), names),
        lambda: Source(None, _Nothing()),
    )
    page = open_page(client.server.address)
    page.draw("0")
    page.reads(lambda text: text in names)
    assert page.driver.find_element(By.CSS_SELECTOR, "#maps li").text == names[0]
    assert not page.find("#random").is_enabled() and "--data" in page.text("#tune-state")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 1280


def test_many_classes_are_a_list_to_choose_from(open_page, served):  # noqa: F811
    names = tuple(f"class {i}" for i in range(47))
    client = served(
        TrainedModel(LeNet5(num_classes=47), Preparation(size=(32, 32)), names),
        lambda: Source(None, _Nothing()),
    )
    page = open_page(client.server.address)
    page.draw("2")
    page.reads(lambda text: text in names)
    # All of them, the largest first, in a list that scrolls.
    page.until(page.probabilities, lambda shares: shares == sorted(shares, reverse=True))
    assert len(page.probabilities()) == 47
    sizes = "const e = document.querySelector('#bars'); return [e.scrollHeight, e.clientHeight]"
    whole, seen = page.driver.execute_script(sizes)
    assert whole > 2 * seen and page.find("#bars").get_attribute("tabindex") == "0"
    # Each unit of the last layer has its name, in columns.
    units = page.driver.find_elements(By.CSS_SELECTOR, "#maps figure:last-child li")
    assert [unit.text for unit in units] == list(names)
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "#maps figure:last-child canvas")) == 4
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 1280
    page.find("#classes select").send_keys("class 40")
    page.press("#classes button")
    page.until(lambda: page.text("#counts"), "1 sample")


def test_a_demo_that_has_ended(open_page, client):  # noqa: F811
    page = open_page(client.server.address)
    client.server.token = "another demo's"
    page.draw("3")
    page.reads("3")  # in the page
    page.press("#random")
    page.until(lambda: page.text("#pad-error"), lambda text: "reload it" in text)
    # The browser notes each refusal; that is what was asked for here.
    assert all("403" in entry["message"] for entry in page.driver.get_log("browser"))


def test_pictures_are_read(page, tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    sheet = np.full((200, 400), 235, np.uint8)
    for x, digit in ((30, "3"), (220, "7")):
        sheet[40:152, x : x + 112] = 235 - draw(strokes_of(digit)) // 255 * 200
    image_module.fromarray(sheet).save(tmp_path / "sheet.png")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    Select(page.find("#photo-kind")).select_by_value("many")
    page.find("#photo-file").send_keys(str(tmp_path / "sheet.png"))
    page.until(lambda: page.text("#photo-state").strip(), "37")
    marked = """const canvas = document.querySelector('#photo');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let blue = 0;
        for (let i = 0; i < data.length; i += 4) if (data[i + 2] > data[i] + 100) blue++;
        return [canvas.width, canvas.height, blue > 500]"""
    assert page.driver.execute_script(marked) == [400, 200, True]
    # It is read anew as another kind.
    Select(page.find("#photo-kind")).select_by_value("one")
    page.until(lambda: page.text("#photo-state"), lambda text: "rejected" in text)
    page.find("#photo-file").send_keys(str(tmp_path / "text.png"))
    page.until(lambda: page.text("#photo-error"), lambda text: "picture" in text)
    assert not page.find("#photo").is_displayed()
    # The browser notes the refusal; that is what was asked for here.
    assert all("422" in entry["message"] for entry in page.driver.get_log("browser"))


@pytest.mark.parametrize("way", ["camera", "drop", "paste"])
def test_a_picture_comes_by_other_ways(page, tmp_path, way):
    image_module = pytest.importorskip("PIL.Image")
    sheet = np.full((160, 160), 235, np.uint8)
    sheet[24:136, 24:136] = 235 - draw(strokes_of("7")) // 255 * 200
    file = tmp_path / "seven.png"
    image_module.fromarray(sheet).save(file)
    camera = page.find("#photo-camera")
    assert camera.get_attribute("capture") == "environment"
    assert camera.get_attribute("accept") == "image/*"
    if way == "camera":
        camera.send_keys(str(file))
    else:
        # Through a file input of its own, as no desktop is there to drag from.
        page.driver.execute_script("""
            const input = document.createElement("input");
            Object.assign(input, { type: "file", id: "from-outside" });
            document.body.append(input);""")
        page.find("#from-outside").send_keys(str(file))
        page.driver.execute_script(
            """
            const data = new DataTransfer();
            data.items.add(document.querySelector("#from-outside").files[0]);
            const options = { bubbles: true, cancelable: true };
            if (arguments[0] === "drop") {
              document.body.dispatchEvent(
                new DragEvent("dragover", { dataTransfer: data, ...options }));
              window.shown = document.body.classList.contains("dropping");
              window.taken = !document.body.dispatchEvent(
                new DragEvent("drop", { dataTransfer: data, ...options }));
            } else {
              document.body.dispatchEvent(
                new ClipboardEvent("paste", { clipboardData: data, ...options }));
            }""",
            way,
        )
    page.until(lambda: page.text("#photo-state"), lambda text: text.strip().startswith("7"))
    assert page.find("#photo").is_displayed()
    if way == "drop":
        # The browser neither left the page nor goes on showing where to drop.
        assert page.driver.execute_script("return [window.shown, window.taken]") == [True, True]
        assert "dropping" not in page.find("body").get_attribute("class")


class _Nothing:
    """An empty set of test images."""

    name, class_names = "nothing", ()
