"""C compilers, and what an exported C file computes when it is compiled."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name) and sys.platform != "win32"]
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="needs gcc or clang")
STRICT = [
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-pedantic",
    "-Wconversion",
    "-Wshadow",
    "-Wdouble-promotion",
    "-Werror",
]

# Reads images from standard input and writes scores and classes.
READER = """
#include <stdio.h>
#define {P}_DECLARATIONS_ONLY
#include "{file}"
int main(void) {{
    static {type} in[{count}];
    float scores[{P}_CLASSES];
    while (fread(in, sizeof in, 1, stdin) == 1) {{
        float best = (float){p}_{function}(in, scores);
        fwrite(scores, sizeof scores, 1, stdout);
        fwrite(&best, sizeof best, 1, stdout);
        if ({p}_{function}(in, NULL) != (int)best) return 1;
    }}
    return 0;
}}
"""


def compiled(folder, text, *options, sources=(), compiler=None):
    compiler = compiler or COMPILERS[0]
    (folder / "model.c").write_text(text, encoding="ascii")
    files = [folder / "model.c", *sources]
    command = [compiler, *STRICT, *options, *map(str, files), "-o", str(folder / "program"), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[:2000]
    return folder / "program"


def scores(folder, text, x, *options, compiler=None, name="lenet5"):
    """Return (scores, classes) that the C code computes for x."""
    function = "predict" if x.dtype == np.uint8 else "predict_input"
    reader = folder / "reader.c"
    reader.write_text(
        READER.format(
            P=name.upper(),
            p=name,
            file="model.c",
            count=x[0].size,
            function=function,
            type="uint8_t" if x.dtype == np.uint8 else "float",
        )
    )
    program = compiled(folder, text, *options, sources=[reader], compiler=compiler)
    done = subprocess.run([program], input=x.tobytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    result = np.frombuffer(done.stdout, np.float32).reshape(len(x), -1)
    return result[:, :-1], result[:, -1].astype(int)


def assert_same(found, logits, tolerance=1e-5):
    assert np.abs(found[0] - logits).max() <= tolerance * max(1, np.abs(logits).max())
    assert (found[1] == logits.argmax(axis=1)).all()
