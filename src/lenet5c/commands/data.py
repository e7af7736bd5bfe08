"""``lenet5c data``: inspect data before training on it, and download data sets.

Exit codes: 0 done, 1 failed, or warnings with `inspect --strict`, 2 bad use, 3 no net can be
trained on the inspected data.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from lenet5c._optional import require
from lenet5c._text import list_some, printable, table
from lenet5c.commands.cli import (
    FAILED,
    add_read_options,
    file,
    name_or_settings,
    note,
    one_of,
    read_options,
    say,
)
from lenet5c.datasets import DatasetError, Distortion
from lenet5c.datasets.inspection import Inspection
from lenet5c.datasets.records import ALL, ReadOptions
from lenet5c.datasets.registry import NAMED_SETS, NamedSet

UNTRAINABLE = 3
DESCRIPTION = "Inspect data before training on it, and download data sets."
EXAMPLES = """examples:
  lenet5c data inspect my-pictures            counts, sizes, duplicates, damaged files
  lenet5c data inspect my-pictures --contact-sheet sheet.png
  lenet5c data inspect my-pictures --augment pictures
                                              augmented training images, in augmented.png
  lenet5c data inspect my-pictures --strict   exit code 1 if there are warnings, 3 if no
                                              model can be trained on it
  lenet5c data list                           the named data sets
  lenet5c data list fashion                   its files, their addresses and checksums
  lenet5c data download fashion kmnist        into the cache, like train --data fashion
  lenet5c data path                           the folder of the cache"""
BUNDLED = [
    (name, title, *counts, "none", "bundled", "CC BY-SA 3.0")
    for name, title, *counts in (
        ("mnist", "MNIST: handwritten digits", "60,000", "10,000", "10"),
        ("signs", "MNIST, drawn arithmetic signs, and other ink", "131,207", "20,634", "20"),
    )
]
GAP = 3
AUGMENTED = "augmented.png"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    inner = commands.add_parser(
        "inspect",
        help="inspect all images of a data set",
        description="Count the images of each part and class, and warn of duplicates, overlap of "
        "training and test sets, conflicting labels, files that cannot be read, blank images, rare "
        "classes, small test sets, and folders that look like train/test splits. Exit codes: 0 "
        "done, 1 failed, or warnings with --strict, 2 bad use, 3 no model can be trained on the "
        "data.",
        epilog=EXAMPLES,
    )
    inner.set_defaults(action=inspect)
    inner.add_argument("data", metavar="NAME_OR_PATH", help="data set, as for lenet5c train")
    text = "PNG file to write with examples of each class"
    inner.add_argument("--contact-sheet", type=file, metavar="FILE", help=text)
    text = (
        "draw training images with this augmentation into the file of --contact-sheet (default: "
        f"{AUGMENTED}); a name, as for lenet5c train --distortion, or "
        'settings such as \'{"flip": 0.5, "hue": 10}\''
    )
    inner.add_argument("--augment", type=name_or_settings, metavar="NAME_OR_JSON", help=text)
    add_read_options(inner)
    inner.add_argument("--json", action="store_true", help="print the results as JSON")
    inner.add_argument(
        "--strict", action="store_true", help="exit with code 1 if there are warnings"
    )

    inner = commands.add_parser(
        "list",
        help="list the named data sets",
        description="List the named data sets, or the files of some of them.",
        epilog=EXAMPLES,
    )
    inner.set_defaults(action=list_sets)
    inner.add_argument(
        "names",
        nargs="*",
        type=one_of(NAMED_SETS),
        metavar="NAME",
        help="data sets to show in detail (default: a short list of all)",
    )
    inner.add_argument("--json", action="store_true", help="print the list as JSON")

    inner = commands.add_parser(
        "download",
        help="download data sets into the cache",
        description=(
            "Download data sets into the cache. Existing files are verified, not downloaded again; "
            "an interrupted download is resumed."
        ),
        epilog=EXAMPLES,
    )
    inner.set_defaults(action=download)
    inner.add_argument(
        "names", nargs="+", choices=NAMED_SETS, metavar="NAME", help=", ".join(NAMED_SETS)
    )

    inner = commands.add_parser(
        "path",
        help="print the cache folder",
        description=(
            "Print the folder of downloaded data sets: $LENET5C_DATA, or the cache folder of this "
            "system."
        ),
        epilog=EXAMPLES,
    )
    inner.set_defaults(action=print_path)
    text = "data set whose folder to print"
    inner.add_argument("name", nargs="?", choices=NAMED_SETS, metavar="NAME", help=text)


def run(options: Namespace) -> int | None:
    """Run the subcommand."""
    return options.action(options)


def inspect(options: Namespace) -> int:
    """Print the contents of a data set; return the exit code."""
    # Imported here, as only this subcommand needs them.
    from lenet5c.datasets.contact_sheet import COLUMNS, write_contact_sheet
    from lenet5c.datasets.inspection import inspect as inspect_data
    from lenet5c.datasets.source import source_name

    sheet, distortion = options.contact_sheet, None
    if options.augment is not None:
        distortion = read_distortion(options.augment)
        sheet = sheet or Path(AUGMENTED)
    if sheet is not None:
        check_sheet(sheet)
    name = source_name(options.data, "NAME_OR_PATH")
    how = read_options(options)
    found = inspect_data(name, max(COLUMNS.values()), how, note)
    if how.transpose is None and (warning := look_for_sideways(found)):
        found.suspicions.append(warning)
    if distortion is not None and found.faults:
        sheet = None  # no training possible
    elif distortion is not None:
        write_augmented(sheet, name, how, distortion, str(options.augment))
    elif sheet is not None:
        write_contact_sheet(sheet, found)
    if options.json:
        say(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        say(describe(found))
        if sheet is not None:
            kind = "contact sheet" if distortion is None else "sheet of augmented images"
            say(f"\nThe {kind} is {sheet}")
    if found.faults:
        return UNTRAINABLE
    return FAILED if options.strict and found.warnings() else 0


def look_for_sideways(found: Inspection) -> str | None:
    """Return a warning if the examples are transposed digits."""
    from lenet5c.datasets import Dataset
    from lenet5c.training import open_model
    from lenet5c.training.orientation import warn_if_sideways

    examples = [
        (picture, label)
        for (_, label), pictures in found.examples.items()
        for picture in pictures
        if picture.shape[2] == 1
    ]
    if not (examples and found.class_names) or len({each.shape for each, _ in examples}) > 1:
        return None
    images = np.stack([picture.transpose(2, 0, 1) for picture, _ in examples])
    labels = np.array([label for _, label in examples])
    dataset = Dataset(images, labels, len(found.class_names), class_names=found.class_names)
    return warn_if_sideways(open_model(), dataset)


def read_distortion(given: str | dict[str, Any]) -> Distortion:
    """Return the augmentation for a name or settings."""
    try:
        return Distortion.from_dict(given) if isinstance(given, dict) else Distortion.named(given)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"--augment: {error}") from None


def write_augmented(
    sheet: Path, name: str, how: ReadOptions, distortion: Distortion, title: str
) -> None:
    """Draw augmented training images with the default settings."""
    from lenet5c import recipes
    from lenet5c.datasets.augmentation_sheet import write_augmentation_sheet

    known = {each.name for each in fields(recipes.RunConfig)}
    chosen = {each: value for each, value in asdict(how).items() if each in known}
    trainer = recipes.trainer(data=name, **chosen | {"skip_bad": True})
    write_augmentation_sheet(sheet, trainer.train_set, distortion, trainer.seed, title)


def check_sheet(path: Path) -> None:
    """Check arguments before reading images."""
    require("PIL.Image", "images", "contact sheets")
    if path.suffix.lower() != ".png":
        raise DatasetError(f"--contact-sheet must be a PNG file name, got {str(path)!r}")
    if not path.parent.is_dir():
        raise DatasetError(
            f"--contact-sheet must be in an existing folder, got {str(path)!r}; create "
            f"{path.parent} first"
        )


def describe(found: Inspection) -> str:
    """Return an inspection as text."""
    parts = list(found.counts)
    rows = [("class", *parts)]
    rows += [
        (printable(name), *(f"{found.counts[part][i]:,}" for part in parts))
        for i, name in enumerate(found.class_names)
    ]
    rows.append(("all", *(f"{sum(found.counts[part]):,}" for part in parts)))
    lines = []
    if found.sizes:
        lines += [
            f"sizes     {list_counts(found.sizes)} (height x width)",
            f"kinds     {list_counts(found.kinds)}",
        ]
    if any(found.counts.get("train", found.counts.get(ALL, ()))):
        mean, std = (" ".join(f"{value:.4f}" for value in each) for each in (found.mean, found.std))
        lines += [
            f"pixels    mean {mean}, standard deviation {std}, of the training images",
            f"read      as {' x '.join(map(str, found.image_shape))}",
        ]
    lines += [f"note      {text}" for text in found.notes]
    faults = [f"fault     {line}" for line in found.faults]
    warnings = [f"warning   {line}" for line in found.warnings()]
    return "\n".join(
        [
            f"{found.name}\n",
            table(rows, "l" + "r" * len(parts), GAP),
            "",
            *lines,
            "",
            *(faults + warnings or ["No warnings."]),
        ]
    )


def list_counts(counts: Mapping[str, int]) -> str:
    """Return the first counts as text."""
    return list_some((f"{name} ({number:,})" for name, number in counts.items()), 6)


def list_sets(options: Namespace) -> None:
    """Print the named data sets, or the details of some."""
    from lenet5c.datasets.named import missing_files

    states = {}
    for name in options.names or NAMED_SETS:
        try:
            states[name] = "no" if missing_files(NAMED_SETS[name]) else "yes"
        except DatasetError:
            states[name] = "damaged"
    facts = {name: list_facts(NAMED_SETS[name], state) for name, state in states.items()}
    if options.json:
        say(json.dumps(facts, indent=2, ensure_ascii=False))
    elif options.names:
        say("\n\n".join(describe_set(NAMED_SETS[name], facts[name]) for name in states))
    else:
        say(table(list_rows(states), "llrrrrll", GAP))
        say(
            "\nThe EMNIST sets are one download. For details, use lenet5c data list NAME; "
            "lenet5c train --data NAME downloads a data set."
        )


def list_rows(states: Mapping[str, str]) -> list[Sequence[str]]:
    """Return a row for each data set."""
    rows: list[Sequence[str]] = [
        ("name", "what", "train", "test", "classes", "download", "cached", "license"),
        *BUNDLED,
    ]
    for name, state in states.items():
        named = NAMED_SETS[name]
        most = "" if all(each.exact for each in named.files) else "< "
        rows.append(
            (
                name,
                named.title,
                *(f"{number:,}" for number in named.counts),
                str(len(named.class_names)),
                f"{most}{named.download_size / 1e6:,.1f} MB",
                state,
                named.license,
            )
        )
    return rows


def list_facts(named: NamedSet, state: str) -> dict[str, Any]:
    """Return a data set for JSON."""
    from lenet5c.datasets.named import get_folder

    return {
        "title": named.title,
        "train": named.counts[0],
        "test": named.counts[1],
        "class_names": named.class_names,
        "license": named.license,
        "homepage": named.homepage,
        "folder": str(get_folder(named)),
        "cached": state,
        "files": [
            {
                "name": each.name,
                "bytes": each.size if each.exact else None,
                "sha256": each.sha256,
                "urls": each.urls,
            }
            for each in named.files
        ],
    }


def describe_set(named: NamedSet, facts: Mapping[str, Any]) -> str:
    """Return a data set as text, with the details needed to download it manually."""
    lines = [
        f"{named.name}: {named.title}",
        f"images    {facts['train']:,} for training, {facts['test']:,} for testing; "
        f"read as {named.reading}",
        f"classes   {', '.join(named.class_names)}",
        f"license   {named.license}; {named.homepage}",
        f"folder    {facts['folder']} (cached: {facts['cached']})",
    ]
    for each in named.files:
        size = f"{each.size:,} bytes, " if each.exact else ""
        lines.append(f"file      {each.name}, {size}SHA-256 {each.sha256}")
        lines += [f"          {url}" for url in each.urls]
    return "\n".join(lines)


def download(options: Namespace) -> None:
    """Download data sets that are not in the cache."""
    from lenet5c.datasets.cache import OFFLINE, is_offline
    from lenet5c.datasets.named import download_named, get_folder, missing_files

    for name in dict.fromkeys(options.names):
        named = NAMED_SETS[name]
        if not missing_files(named):
            say(f"{name} is in {get_folder(named)}")
        elif is_offline():
            raise DatasetError(f"{OFFLINE} must be unset to download {name}")
        else:
            say(f"{name} is now in {download_named(named, on_message=note)}")


def print_path(options: Namespace) -> None:
    """Print the folder of the cache or of a data set in it."""
    from lenet5c.datasets.cache import cache_folder
    from lenet5c.datasets.named import get_folder

    say(get_folder(NAMED_SETS[options.name]) if options.name else cache_folder())
