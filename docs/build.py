"""Build the documentation from the installed package: warnings are errors, nothing is fetched.

pip install '.[docs]'
python docs/build.py               # into docs/_build/html
python docs/build.py --out FOLDER
"""

import argparse
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

DOCS = Path(__file__).resolve().parent


def main(argv=None):
    parser = argparse.ArgumentParser(description="Build the documentation; any warning fails.")
    parser.add_argument(
        "--out",
        type=Path,
        default=DOCS / "_build" / "html",
        metavar="DIR",
        help="default: docs/_build/html",
    )
    out = parser.parse_args(argv).out.resolve()
    # Always anew: a page that is gone must not linger, and all that can warn does.
    for folder in (out, DOCS / "reference" / "generated"):
        shutil.rmtree(folder, ignore_errors=True)
    doctrees = out.with_name(f"{out.name}-doctrees")
    failed = sphinx_build(
        [
            "-q",
            "-W",
            "--keep-going",
            "-E",
            "-n",
            "-b",
            "html",
            "-d",
            str(doctrees),
            str(DOCS),
            str(out),
        ]
    )
    shutil.rmtree(doctrees, ignore_errors=True)
    if not failed:
        print(f"Built: {out / 'index.html'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
