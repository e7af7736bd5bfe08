"""``lenet5c runs``: compare the runs in a folder in a table and a picture.

Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted.
"""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lenet5c import _files
from lenet5c._text import printable, table
from lenet5c.commands.cli import directory, file, note, say
from lenet5c.errors import UserError
from lenet5c.report.runs import RunRow, differing_options, draw_runs, list_runs

DESCRIPTION = "Compare the runs in a folder: accuracies, times and differing settings."
EXAMPLES = """examples:
  lenet5c runs
  lenet5c runs sweeps/ --plot sweeps.png
  lenet5c runs --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    text = "folder that contains runs, directly or in subfolders (default: runs)"
    add("folder", nargs="?", type=directory, default=Path("runs"), metavar="DIR", help=text)
    text = "PNG file to write with the loss and accuracy curves of the best 12 runs"
    add("--plot", type=file, metavar="FILE", help=text)
    add("--json", action="store_true", help="print the table as JSON")


def run(options: Namespace) -> None:
    """Print a row for each run, best first."""
    if options.plot is not None and options.plot.suffix.lower() != ".png":
        raise UserError(f"--plot must be a PNG file name, got {options.plot}")
    rows = list_runs(options.folder)
    if not rows:
        raise UserError(
            f"DIR must be a folder with runs, got {options.folder}, which contains none"
        )
    if options.json:
        say(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        say(as_table(rows))
    for row in rows:
        if row.fault:
            note(f"{printable(row.name)}: {printable(row.fault)}")
    if options.plot is not None:
        figure = draw_runs(rows)
        _files.write_bytes(options.plot, figure._repr_png_())  # type: ignore[attr-defined]
        if not options.json:
            say(f"\nCurves: {options.plot}")


def as_table(rows: list[RunRow]) -> str:
    """Return the runs as text."""
    heading = ("run", "test", "95 % interval", "valid.", "epochs", "seconds", "differing settings")
    lines = [
        (
            printable(row.name),
            percent(row.test_accuracy) if row.status == "finished" else row.status,
            " to ".join(f"{100 * end:.2f}" for end in row.interval or ()),
            percent(row.validation_accuracy),
            row.epochs,
            "" if row.seconds is None else f"{row.seconds:.1f}",
            printable(", ".join(differing)) or "-",
        )
        for row, differing in zip(rows, differing_options(rows), strict=True)
    ]
    return table([heading, *lines], "lrrrrrl")


def percent(share: float | None) -> str:
    """Return a fraction as a percentage, '' if unknown."""
    return "" if share is None else f"{100 * share:.2f}%"
