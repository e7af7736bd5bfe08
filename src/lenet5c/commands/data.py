"""``lenet5c data``: look at a folder of images before training on it, and fetch data sets.

Exit codes: 0 done, 1 failed, or `inspect --strict` has warnings, 2 bad use.
"""

import json
import sys
from pathlib import Path

from lenet5c.commands.cli import FAILED, one_of, say
from lenet5c.datasets import DatasetError
from lenet5c.datasets.registry import NAMED_SETS

DESCRIPTION = "Look at a folder of images before training on it, and fetch data sets."
EXAMPLES = """examples:
  lenet5c data inspect my-pictures                          counts, sizes, duplicates, files that cannot be read
  lenet5c data inspect my-pictures --contact-sheet sheet.png
  lenet5c data inspect my-pictures --strict                 exit code 1 if there is anything to warn of
  lenet5c data list                                         the data sets that have a name
  lenet5c data list fashion                                 its files, their addresses and checksums
  lenet5c data download fashion kmnist                      into the cache; train --data fashion does so itself
  lenet5c data path                                         where that is"""
BUNDLED = ("mnist", "MNIST: handwritten digits", (60000, 10000), 10, "CC BY-SA 3.0")


def add_arguments(parser):
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    inner = commands.add_parser(
        "inspect",
        help="look at all images of a data set",
        description="Count the images of each part and class, and warn of duplicates, leaks from training to test, "
        "labels that disagree, files that cannot be read, blank images and rare classes.",
        epilog=EXAMPLES,
    )
    inner.add_argument("data", metavar="NAME_OR_DIR", help="as for lenet5c train --data")
    inner.add_argument(
        "--contact-sheet", metavar="FILE", help="draw examples of each class into this PNG file"
    )
    inner.add_argument("--json", action="store_true", help="print all that was found as JSON")
    inner.add_argument("--strict", action="store_true", help="exit with 1 if there are warnings")

    inner = commands.add_parser(
        "list",
        help="list the data sets that have a name",
        description="List the data sets that have a name; of those that are named, their files.",
        epilog=EXAMPLES,
    )
    inner.add_argument(
        "names", nargs="*", type=one_of(NAMED_SETS), metavar="NAME", help="tell more about these"
    )
    inner.add_argument("--json", action="store_true", help="print it as JSON")

    inner = commands.add_parser(
        "download",
        help="fetch data sets into the cache",
        description="Fetch data sets into the cache. What is there is checked, not fetched again; what broke off is "
        "continued.",
        epilog=EXAMPLES,
    )
    inner.add_argument(
        "names", nargs="+", choices=NAMED_SETS, metavar="NAME", help=", ".join(NAMED_SETS)
    )

    inner = commands.add_parser(
        "path",
        help="print where fetched data sets are kept",
        description="Print the folder that fetched data sets are kept in: $LENET5C_DATA, or where this system keeps "
        "caches.",
        epilog=EXAMPLES,
    )
    inner.add_argument(
        "name", nargs="?", choices=NAMED_SETS, metavar="NAME", help="print that of this data set"
    )


def run(options):
    """Do what the subcommand says."""
    return ACTIONS[options.command](options)


def inspect(options):
    # These load what only this needs.
    from lenet5c.datasets.contact_sheet import COLUMNS, write_contact_sheet
    from lenet5c.datasets.inspection import inspect as inspect_data
    from lenet5c.datasets.source import source_name

    sheet = options.contact_sheet and checked_sheet(options.contact_sheet)
    name = source_name(options.data, "the data to inspect")
    found = inspect_data(name, max(COLUMNS.values()) if sheet else 0, tell)
    if sheet:
        write_contact_sheet(sheet, found)
    say(
        json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
        if options.json
        else described(found)
    )
    if sheet and not options.json:
        say(f"\nThe contact sheet is {sheet}")
    return FAILED if options.strict and found.warnings() else 0


def checked_sheet(path):
    """What would only come to light after all images are read."""
    from lenet5c._optional import require

    require("PIL.Image", "images", "contact sheets")
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise DatasetError(f"--contact-sheet is {str(path)!r}; it should be the name of a PNG file")
    if not path.parent.is_dir():
        raise DatasetError(
            f"--contact-sheet is {str(path)!r}, but there is no folder {path.parent}; make it first"
        )
    return path


def described(found):
    """What was found, for people."""
    parts = list(found.counts)
    rows = [("class", *parts)]
    rows += [
        (name, *(f"{found.counts[part][i]:,}" for part in parts))
        for i, name in enumerate(found.class_names)
    ]
    rows.append(("all", *(f"{sum(found.counts[part]):,}" for part in parts)))
    channels, height, width = found.image_shape
    lines = [found.name, "", *table(rows), ""]
    lines += [
        f"sizes     {listed(found.sizes)} (height x width)",
        f"kinds     {listed(found.kinds)}",
    ]
    lines += [
        f"pixels    mean {numbers(found.mean)}, standard deviation {numbers(found.std)}, of the training images"
    ]
    lines += [f"read      as {channels} x {height} x {width}"]
    lines += [f"note      {note}" for note in found.notes]
    warnings = found.warnings()
    lines += ["", *(f"warning   {line}" for line in warnings)] if warnings else ["", "No warnings."]
    return "\n".join(lines)


def list_sets(options):
    from lenet5c.datasets.named import missing_files, place_of

    states = {}
    for name in options.names or NAMED_SETS:
        try:
            states[name] = "no" if missing_files(NAMED_SETS[name]) else "yes"
        except DatasetError:
            states[name] = "damaged"
    if options.json:
        say(
            json.dumps(
                {name: entry(NAMED_SETS[name], states[name]) for name in states},
                indent=2,
                ensure_ascii=False,
            )
        )
    elif options.names:
        say(
            "\n\n".join(
                details(NAMED_SETS[name], states[name], place_of(NAMED_SETS[name]))
                for name in states
            )
        )
    else:
        name, title, counts, classes, license = BUNDLED
        rows = [("name", "what", "train", "test", "classes", "download", "cached", "license")]
        rows.append(
            (
                name,
                title,
                f"{counts[0]:,}",
                f"{counts[1]:,}",
                str(classes),
                "none",
                "bundled",
                license,
            )
        )
        for name, named in NAMED_SETS.items():
            rows.append(
                (
                    name,
                    named.title,
                    *(f"{count:,}" for count in named.counts),
                    str(len(named.class_names)),
                    megabytes(named),
                    states[name],
                    named.license,
                )
            )
        say("\n".join(table(rows, left=(0, 1, 6, 7))))
        say(
            "\nAll of EMNIST is one download. lenet5c data list NAME tells more; lenet5c train --data NAME fetches it."
        )


def entry(named, state):
    """A data set for JSON."""
    from lenet5c.datasets.named import place_of

    return {
        "title": named.title,
        "train": named.counts[0],
        "test": named.counts[1],
        "class_names": named.class_names,
        "license": named.license,
        "homepage": named.homepage,
        "folder": str(place_of(named)),
        "cached": state,
        "files": [
            {
                "name": file.name,
                "bytes": file.size if file.exact else None,
                "sha256": file.sha256,
                "urls": file.urls,
            }
            for file in named.files
        ],
    }


def details(named, state, place):
    """A data set for people: what it takes to fetch it by hand, too."""
    lines = [
        f"{named.name}: {named.title}",
        f"images    {named.counts[0]:,} to train, {named.counts[1]:,} to test; read as {named.reading}",
        f"classes   {', '.join(named.class_names)}",
        f"license   {named.license}; {named.homepage}",
        f"folder    {place} (cached: {state})",
    ]
    for file in named.files:
        lines.append(
            f"file      {file.name}, {f'{file.size:,} bytes, ' if file.exact else ''}SHA-256 {file.sha256}"
        )
        lines += [f"          {url}" for url in file.urls]
    return "\n".join(lines)


def download(options):
    from lenet5c.datasets.cache import OFFLINE, is_offline
    from lenet5c.datasets.named import download_named, missing_files, place_of

    for name in dict.fromkeys(options.names):
        named = NAMED_SETS[name]
        if not missing_files(named):
            say(f"{name} is in {place_of(named)}")
        elif is_offline():
            raise DatasetError(
                f"{OFFLINE} is set, which forbids downloads; unset it to fetch {name}"
            )
        else:
            say(f"{name} is now in {download_named(named, tell=tell)}")


def path(options):
    from lenet5c.datasets.cache import cache_folder
    from lenet5c.datasets.named import place_of

    say(place_of(NAMED_SETS[options.name]) if options.name else cache_folder())


def tell(line):
    """To standard error: what is printed may go into a pipe."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def table(rows, left=(0,)):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "   ".join(
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def listed(counts, most=6):
    shown = ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")


def numbers(values):
    return " ".join(f"{value:.4f}" for value in values)


def megabytes(named):
    return f"{'' if all(file.exact for file in named.files) else '< '}{named.download_size / 1e6:,.1f} MB"


ACTIONS = {"inspect": inspect, "list": list_sets, "download": download, "path": path}
