"""Headless Chromium, with Selenium."""

import json
import os
import shutil
import time

import pytest
from drawn.demo_digits import DIGITS
from processes import HANGING

pytest.importorskip("selenium", reason="needs selenium")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"
)


@pytest.fixture(scope="module")
def chromium():
    """Return a driver of Chromium."""
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
    driver.set_page_load_timeout(HANGING)
    yield driver
    driver.quit()


@pytest.fixture
def open_page(chromium):
    """Return open_page(address) -> Page.

    On exit, checks that no request was blocked, failed or sent to other hosts.
    """
    opened = []

    def open_it(address):
        opened.append(address)
        return Page(chromium, address)

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
    assert opened[-1] in addresses
    own = (opened[-1].rpartition("/")[0], "about:", "data:", "blob:")
    assert [each for each in addresses if not each.startswith(own)] == []
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.get("about:blank")
    chromium.get_log("performance")


class Page:
    """A page in a browser, with the actions of a user."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(address)
        self.until(lambda: driver.execute_script("return window.lenet5c?.ready"), True)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).text

    def until(self, value, expected):
        """Wait until `value()` is what is expected: a value, or a function that says so."""
        end = time.monotonic() + HANGING
        while True:
            last = value()
            if expected(last) if callable(expected) else last == expected:
                return last
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        pytest.fail(f"{last!r} is not {expected!r}; the page says {self.errors!r}")

    @property
    def errors(self):
        """Displayed errors."""
        found = self.driver.find_elements(By.CSS_SELECTOR, ".error:not([hidden])")
        return [element.text for element in found]

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
