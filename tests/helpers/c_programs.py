"""C compilers, and execution of exported C files."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from lenet5c.export import to_c

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


# The same of an integer model.
INTEGER_READER = """
#include <stdio.h>
#define {P}_DECLARATIONS_ONLY
#include "model.c"
int main(void) {{
    static {type} in[{count}];
    int32_t scores[{P}_CLASSES], best;
    uint16_t probabilities[{P}_CLASSES];
    while (fread(in, sizeof in, 1, stdin) == 1) {{
        best = {p}_{function}(in, scores);
        {p}_softmax(scores, probabilities);
        fwrite(scores, sizeof scores, 1, stdout);
        fwrite(&best, sizeof best, 1, stdout);
        fwrite(probabilities, sizeof probabilities, 1, stdout);
        if ({p}_{function}(in, NULL) != best) return 1;
    }}
    return 0;
}}
"""


def integer_scores(folder, model, x, *options, compiler=None, name="lenet5"):
    """Return (scores, classes, probabilities) that the C code of an integer model computes."""
    bare = model.network.trained is None
    given = model.inputs(x).astype(np.int8) if bare else x
    reader = folder / "reader.c"
    reader.write_text(
        INTEGER_READER.format(
            P=name.upper(),
            p=name,
            count=given[0].size,
            function="predict_input" if bare else "predict",
            type="int8_t" if bare else "uint8_t",
        )
    )
    program = compiled(folder, to_c(model, name), *options, sources=[reader], compiler=compiler)
    done = subprocess.run([program], input=given.tobytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    classes = model.network.output_shape[0]
    fields = [("scores", np.int32, classes), ("best", np.int32), ("shares", np.uint16, classes)]
    result = np.frombuffer(done.stdout, fields)
    return result["scores"], result["best"], result["shares"]


def assert_equal(folder, model, x, *options, **settings):
    """Check that the C file's scores, classes and probabilities are the model's, each bit."""
    scores, classes, probabilities = integer_scores(folder, model, x, *options, **settings)
    expected = model.scores(x)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(classes, expected.argmax(axis=1))
    np.testing.assert_array_equal(probabilities, model.softmax(expected))


def assert_near(model, x, logits, share):
    """Check that logits are the float model's, within a share of their spread."""
    apart = np.sqrt(((model.logits(x) - logits) ** 2).mean())
    assert apart <= share * max(logits.std(), 1e-3)
