"""Run the Python of the pages, compare its output, and draw their pictures.

    python docs/pages.py                  # all pages; pictures go into docs/images/tutorial
    python docs/pages.py docs/tutorial/1-from-the-pixel-to-the-maps.md
    python docs/pages.py --write PAGE...  # puts the output of the code into the page

In a page, in one namespace and in order:

* a block ``python`` is executed; what it prints must be the block ``output`` that follows it, if
  one does;
* a block ``pycon`` is run as doctest does;
* a comment ``<!-- picture NAME`` … ``-->`` holds code that readers do not see. It leaves a
  `figure`, which is saved as
  NAME. `drawing.py` is in its namespace, and what the page has computed;
* a comment ``<!-- run`` … ``-->`` holds code that makes ready what the page takes for granted;
* a comment ``<!-- not run -->`` before a block leaves it alone; ``<!-- about 0.02 -->`` before an
  output lets numbers
  differ by this share, where they depend on the instruction set.
"""

import contextlib
import doctest
import io
import re
import sys
import tempfile
from math import isclose
from pathlib import Path

from lenet5c.commands.cli import wait_briefly

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "images" / "tutorial"
PARTS = re.compile(
    r"^<!-- picture (?P<name>\S+)\n(?P<drawing>.*?)^-->$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->$"
    r"|^<!-- about (?P<about>[\d.]+) -->$"
    r"|^<!-- (?P<skip>not run) -->$"
    r"|^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


class PageError(AssertionError):
    """A block of a page failed, or printed something else than the page says."""


def pages():
    """All pages with Python in them."""
    found = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
    return [
        path
        for path in found
        if any(part["language"] in ("python", "pycon") for part in parts(path))
    ]


def parts(path):
    return list(PARTS.finditer(path.read_text(encoding="utf-8")))


def run_page(path, pictures=None, write=False):
    """Execute a page; its pictures are saved in the folder `pictures`, and not drawn without one.

    With `write`, outputs that differ are put into the page instead of raising.
    """
    text, changes = path.read_text(encoding="utf-8"), []
    namespace = {"__name__": "__main__"}
    printed, about, skip = None, 0.0, False
    for part in parts(path):
        line = text[: part.start()].count("\n") + 1
        where = f"{path.name}, line {line}"
        if part["skip"]:
            skip = True
        elif part["about"]:
            about = float(part["about"])
        elif part["hidden"]:
            execute(part["hidden"], namespace, where)
        elif part["name"]:
            if pictures is not None:
                draw(part, namespace, pictures, where)
        elif skip:
            skip, printed = False, None
        elif part["language"] == "python":
            printed = execute(part["code"], namespace, where)
        elif part["language"] == "pycon":
            check_session(part["code"], namespace, where)
        elif part["language"] == "output" and printed is not None:
            if not same(printed, part["code"], about):
                if not write:
                    raise PageError(
                        f"{where}: the page says\n{part['code']}but the code prints\n{printed}"
                    )
                changes.append(
                    (
                        *part.span("code"),
                        "".join(f"{line.rstrip()}\n" for line in printed.splitlines()),
                    )
                )
            printed, about = None, 0.0
    for start, stop, output in reversed(changes):
        text = text[:start] + output + text[stop:]
    if changes:
        path.write_text(text, encoding="utf-8")


def execute(code, namespace, where):
    """Run a block; returns what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(
                compile(
                    "\n" * int(where.rpartition(" ")[2]) + code, where.partition(",")[0], "exec"
                ),
                namespace,
            )
        except Exception as error:
            raise PageError(f"{where}: {type(error).__name__}: {error}") from error
    return out.getvalue()


def check_session(code, namespace, where):
    test = doctest.DocTestParser().get_doctest(code, namespace, where, where, 0)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.write, clear_globs=False)
    namespace.update(test.globs)
    if runner.failures:
        raise PageError(f"{where}:\n{report.getvalue()}")


def same(printed, expected, about):
    """Return whether two texts agree, but for line ends and a share `about` of numbers."""
    ours, theirs = (
        [line.rstrip() for line in text.strip("\n").splitlines()] for text in (printed, expected)
    )
    if not about:
        return ours == theirs
    ours, theirs = "\n".join(ours), "\n".join(theirs)
    if re.sub(r"[ ]+", " ", NUMBER.sub("#", ours)) != re.sub(r"[ ]+", " ", NUMBER.sub("#", theirs)):
        return False
    pairs = zip(*(map(value, NUMBER.findall(text)) for text in (ours, theirs)), strict=True)
    return all(isclose(a, b, rel_tol=about, abs_tol=about) for a, b in pairs)


def value(text):
    return float(text.replace(",", ""))


def draw(part, namespace, folder, where):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sys.path.insert(0, str(DOCS))
    try:
        import drawing
    finally:
        sys.path.remove(str(DOCS))
    known = {
        name: thing for name, thing in vars(drawing).items() if not name.startswith("_")
    } | namespace
    with matplotlib.rc_context(drawing.STYLE):
        execute(part["drawing"], known, where)
        # Without the versions of the tools, which change a file and not its picture.
        known["figure"].savefig(folder / part["name"], dpi=drawing.DPI, metadata={"Software": None})
    plt.close("all")


def main(arguments):
    PICTURES.mkdir(parents=True, exist_ok=True)
    write = "--write" in arguments
    for path in [
        Path(argument).resolve() for argument in arguments if argument != "--write"
    ] or pages():
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.chdir(folder),
        ):  # for what a page writes
            run_page(path, PICTURES, write)
        print(f"{path.relative_to(DOCS)}: as it says")


if __name__ == "__main__":
    wait_briefly()  # before a page loads OpenMP: the machine may have other work
    main(sys.argv[1:])
