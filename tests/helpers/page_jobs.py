"""Modules of an exported page, run by Node.js."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from processes import HANGING

from lenet5c.export.html_bundle import PAGE, bundle
from lenet5c.export.html_model import describe_page

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(not NODE, reason="needs node")


def run_jobs(tmp_path, jobs):
    """Return the results of jobs, dicts with the name of the `work`, in order."""
    script = tmp_path / "driver.mjs"
    script.write_text(bundle("page_driver.js", (Path(__file__).parent, PAGE)), encoding="utf-8")
    done = subprocess.run(
        [NODE, script], input=json.dumps(jobs), capture_output=True, text=True, timeout=HANGING
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def encode(array):
    """Return the bytes of an array as base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def decode(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def page_of(trained, examples=None):
    """Return the data of a model's page after a JSON round trip."""
    return json.loads(json.dumps(describe_page(trained, "a model", examples)))
