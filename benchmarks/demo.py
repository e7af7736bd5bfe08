"""Time of `lenet5c demo` from a movement of the pen to the painted answer, in headless Chromium.

    pip install selenium       and Chromium with its chromedriver
    python benchmarks/demo.py [--rounds 4]

Digits are drawn by mouse events, 60 a second, as polylines of drawn/demo_digits.py. The page itself
takes the times: from the event to the frame after the one in which answer, maps and bars were
drawn. The target is 50 ms.
"""

import argparse
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
    table = Table({"": 22, "answers": 9, "median": 8, "95 %": 8, "99 %": 8, "largest": 8})
    with tempfile.TemporaryDirectory() as folder:
        demo = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lenet5c",
                "demo",
                "--no-browser",
                "--samples",
                str(Path(folder) / "samples"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            address = re.search(r"http://\S+", demo.stdout.readline())[0]
            moves, last = latencies(address, browser, driver, options.rounds)
        finally:
            demo.terminate()
            demo.wait()
    for name, times in (("while drawing", moves), ("end of a stroke", last)):
        p95, p99 = np.quantile(times, [0.95, 0.99])
        table.row(
            name,
            len(times),
            *(f"{value:.0f}" for value in (statistics.median(times), p95, p99, max(times))),
        )


def latencies(address, browser, driver, rounds):
    """(of all answers, of the last of each digit), in milliseconds."""
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    arguments = ["--headless=new", "--window-size=1280,900"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    for argument in arguments:
        options.add_argument(argument)
    page = webdriver.Chrome(options=options, service=Service(driver))
    every, ends = [], []
    try:
        page.get(address)
        wait(lambda: page.execute_script("return window.lenet5cDemo?.ready"))
        left, top, width = page.execute_script(
            "const b = document.querySelector('#pad').getBoundingClientRect(); "
            "return [b.left, b.top, b.width]"
        )
        for turn in range(rounds + 1):
            for digit, strokes in DIGITS.items():
                page.execute_script("lenet5cDemo.latencies.length = 0")
                for stroke in strokes:
                    draw(page, [(left + x * width, top + y * width) for x, y in spread(stroke)])
                wait(
                    lambda digit=digit: (
                        page.execute_script("return document.querySelector('#best').innerText")
                        == digit
                    )
                )
                time.sleep(0.2)
                times = page.execute_script("return lenet5cDemo.latencies")
                if turn:  # the first round warms up
                    every += times
                    ends.append(times[-1])
                page.execute_script("document.querySelector('#clear').click()")
                time.sleep(0.1)
    finally:
        page.quit()
    return every, ends


def spread(stroke):
    """Points of a polyline at equal distances."""
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
