"""Peak memory of Python code, measured in a separate process."""

import subprocess
import sys
from pathlib import Path

import pytest
from processes import HANGING

SCRIPT = """
import sys
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, JpegImagePlugin
from lenet5c.datasets import image_folder, read_picture
read_picture(np.zeros((2, 2, 4), np.uint8))

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

before = peak()
try:
    {code}
except ValueError as error:
    print(error)
print(peak() - before)
"""


def measure_peak(code, *arguments):
    """Return the peak memory of `code` in bytes, without imports, and its output lines."""
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(code=code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANGING,
    )
    assert result.returncode == 0, result.stderr
    *lines, size = result.stdout.splitlines()
    return int(size), lines
