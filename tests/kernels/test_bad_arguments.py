"""Bad arguments to compiled modules raise an exception and never crash."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lenet5c import nn

PROGRAM = Path(__file__).parents[1] / "helpers" / "bad_arguments.py"


def test_every_compiled_function_refuses_bad_arguments():
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\nlast calls:\n{done.stderr[-3000:]}"
    assert done.stdout.startswith("made "), done.stdout


@pytest.mark.parametrize("warp", [None, object()], ids=["None", "object"])
def test_a_distortion_without_a_warp_is_refused(warp):
    class Distortion:
        stream = 1

    Distortion.warp = warp
    images, offset = np.zeros((2, 1, 3, 3), np.uint8), np.zeros(9, np.float32)
    with pytest.raises(TypeError, match="distortion must be the return value"):
        nn.Samples(images, offset=offset, distortion=Distortion())
