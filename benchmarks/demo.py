"""Time from a movement of the pen to the displayed prediction, in headless Chromium.

    pip install selenium       and Chromium with its chromedriver
    python benchmarks/demo.py [--rounds 4] [--exact]

Measures the page written by `lenet5c export best --to html`, opened as a file, and `lenet5c demo`.
Digits are drawn by 60 mouse events per second, along the polylines of drawn/demo_digits.py. The
page measures the times from the event to the end of the frame in which prediction, maps and bars
were painted. At 60 frames per second, half a frame passes on average before one begins. The targets
are a median of 16 ms after the stroke, and 600 KB for the page. `computing` is the time of the
page's script for a prediction, including painting; the overlay is computed after it.

--exact compares the predictions of the page for all 10,000 test images with those of lenet5c.
"""

import argparse
import base64
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Table, machine, positive
from drawn.demo_digits import DIGITS
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from lenet5c.datasets import mnist
from lenet5c.training import open_model

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
POINTS, RATE = 40, 60  # of a stroke; a second


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=4,
        metavar="N",
        help="times each digit is drawn (default: %(default)s)",
    )
    parser.add_argument(
        "--exact", action="store_true", help="also compare the predictions for all test images"
    )
    options = parser.parse_args()
    browser, driver = (
        next(filter(None, map(shutil.which, BROWSERS)), None),
        shutil.which("chromedriver"),
    )
    if not (browser and driver):
        sys.exit("demo.py needs Chromium and chromedriver on the PATH")
    print(machine({}))
    print(
        f"{len(DIGITS)} digits, {options.rounds} times each; "
        "milliseconds from the pen's movement to the painted answer.\n"
    )
    columns = ("median", "95 %", "99 %", "largest")
    table = Table({"": 30, "answers": 9, **dict.fromkeys(columns, 8)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        command = [sys.executable, "-m", "lenet5c", "export", "best", "--out", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        show(table, "page", latencies(path.as_uri(), browser, driver, options.rounds))
        command = [sys.executable, "-m", "lenet5c", "demo", "--no-browser"]
        demo = subprocess.Popen(
            [*command, "--samples", str(Path(folder) / "samples")],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            address = re.search(r"http://\S+", demo.stdout.readline())[0]
            show(table, "demo", latencies(address, browser, driver, options.rounds))
        finally:
            demo.terminate()
            demo.wait()
        print(f"\nThe page has {path.stat().st_size:,} bytes.")
        if options.exact:
            compare(path.as_uri(), browser, driver)


def show(table, name, times):
    """Add the rows of a page."""
    for kind, values in zip(("while drawing", "end of a stroke", "computing"), times, strict=True):
        p95, p99 = np.quantile(values, [0.95, 0.99])
        row = (statistics.median(values), p95, p99, max(values))
        table.row(f"{name}, {kind}", len(values), *(f"{value:.1f}" for value in row))


def open_browser(browser, driver):
    """Return a driver of Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    arguments = ["--headless=new", "--window-size=1280,900"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    for argument in arguments:
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(driver))


def compare(address, browser, driver):
    """Compare the results of a page for all test images with those of lenet5c."""
    trained, test = open_model(), mnist()[1]
    script = """const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0)), found = [];
        for (let at = 0; at < bytes.length; at += 784)
            found.push([...lenet5c.net.logits(bytes.subarray(at, at + 784))]);
        return found"""
    page = open_browser(browser, driver)
    try:
        page.get(address)
        wait(lambda: page.execute_script("return window.lenet5c?.ready"))
        found, seconds = [], 0.0
        for start in range(0, len(test), 500):
            text = base64.b64encode(test.images[start : start + 500].tobytes()).decode()
            began = time.perf_counter()
            found += page.execute_script(script, text)
            seconds += time.perf_counter() - began
    finally:
        page.quit()
    logits, found = trained.logits(test.images), np.array(found)
    same = int((logits.argmax(1) == found.argmax(1)).sum())
    correct = int((found.argmax(1) == test.labels).sum())
    print(
        f"Of {len(test):,} test images the page classifies {same:,} as lenet5c does, {correct:,} "
        f"of them correctly;\nlogits differ by {abs(logits - found).max():.1e} at most; "
        f"{1000 * seconds / len(test):.2f} ms an image."
    )
    if same < len(test):
        sys.exit("the page must classify all images as lenet5c does")


def latencies(address, browser, driver, rounds):
    """Return times in ms: all predictions, the last one of each digit, computing alone."""
    page = open_browser(browser, driver)
    every, ends, computing = [], [], []
    try:
        page.get(address)
        wait(lambda: page.execute_script("return window.lenet5c?.ready"))
        left, top, width = page.execute_script(
            "const b = document.querySelector('#pad').getBoundingClientRect(); "
            "return [b.left, b.top, b.width]"
        )
        for turn in range(rounds + 1):
            for digit, strokes in DIGITS.items():
                page.execute_script("lenet5c.latencies.length = lenet5c.computing.length = 0")
                for stroke in strokes:
                    draw(page, [(left + x * width, top + y * width) for x, y in spread(stroke)])
                wait(
                    lambda digit=digit: (
                        page.execute_script("return document.querySelector('#best').innerText")
                        == digit
                    )
                )
                time.sleep(0.2)
                times = page.execute_script("return lenet5c.latencies")
                if turn:  # the first round warms up
                    every += times
                    ends.append(times[-1])
                    computing += page.execute_script("return lenet5c.computing")
                page.execute_script("document.querySelector('#clear').click()")
                time.sleep(0.1)
    finally:
        page.quit()
    return every, ends, computing


def spread(stroke):
    """Return points of a polyline at equal distances."""
    points = np.array(stroke, float)
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0, way[-1], POINTS)
    return list(
        zip(np.interp(at, way, points[:, 0]), np.interp(at, way, points[:, 1]), strict=True)
    )


def draw(page, points):
    began = time.perf_counter()
    for i, (x, y) in enumerate(points):
        kinds = ["mouseMoved"] if i else ["mouseMoved", "mousePressed"]
        kinds += ["mouseReleased"] if i == len(points) - 1 else []
        for kind in kinds:
            page.execute_cdp_cmd(
                "Input.dispatchMouseEvent",
                {
                    "type": kind,
                    "x": float(x),
                    "y": float(y),
                    "button": "left",
                    "buttons": int(kind != "mouseReleased"),
                    "clickCount": 1,
                    "pointerType": "mouse",
                },
            )
        time.sleep(max(0.0, began + (i + 1) / RATE - time.perf_counter()))


def wait(condition, seconds=20):
    for _ in range(50 * seconds):
        if condition():
            return
        time.sleep(0.02)
    raise TimeoutError("the page did not get there")


if __name__ == "__main__":
    main()
