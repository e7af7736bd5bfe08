"""Draw the rooms of the package by floor, with an arrow for each room that another one imports.

The floors are those of the import-linter contract in pyproject.toml, the arrows the imports in the
source. An arrow that follows from two others, by way of a room between, is left out of the drawing.

    python docs/rooms.py            check that docs/images/rooms.svg is that of the source
    python docs/rooms.py --write    draw it anew
"""

import sys
import tomllib
from itertools import product
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
WIDTH, BOX, HEIGHT, GAP, MARGIN = 760, 130, 36, 30, 20
NOTES = {
    "train": "python -m lenet5c.train",
    "__main__": "lenet5c NAME",
    "commands": "a thin file each",
    "demo": "a page in the browser",
    "sklearn": "an estimator",
    "reproduction": "published figures, rerun",
    "export": "ONNX, C, PyTorch",
    "report": "pictures, tables, pages",
    "recognition": "from photos to digits",
    "recipes": "runs, and the named ones",
    "training": "loop, models, statistics",
    "optim": "optimizers, schedules",
    "nn": "layers, nets, losses",
    "datasets": "sources, preparation",
    "reference": "readable float64 versions",
    "kernels": "compiled, on arrays",
    "_files": "atomic writes, tensors",
    "_text": "tables, safe printing",
    "_optional": "libraries of extras",
    "errors": "what a user is told",
}


def read_floors():
    """Return the floors from the top down, each a list of rooms."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = (
        c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers"
    )
    return [layer.replace(":", "|").replace(" ", "").split("|") for layer in contract["layers"]]


def read_arrows(rooms):
    """Return the pairs (importing room, imported room) of the source."""
    graph = grimp.build_graph(
        "lenet5c",
        exclude_type_checking_imports=True,
        cache_dir=None,
        include_external_packages=False,
    )
    return {
        (a, b)
        for a, b in product(rooms, repeat=2)
        if a != b
        and graph.direct_import_exists(
            importer=f"lenet5c.{a}", imported=f"lenet5c.{b}", as_packages=True
        )
    }


def without_shortcuts(arrows):
    """Leave out the arrows that follow from others (the transitive reduction)."""
    reach = {}

    def reachable(room):
        if room not in reach:
            reach[room] = set()
            for a, b in arrows:
                if a == room:
                    reach[room] |= {b} | reachable(b)
        return reach[room]

    return {
        (a, b)
        for a, b in arrows
        if not any(b in reachable(c) for x, c in arrows if x == a and c != b)
    }


def draw(floors, arrows):
    """Return the drawing as the text of an SVG file."""
    places = {}
    for row, rooms in enumerate(floors):
        left = (WIDTH - len(rooms) * BOX - (len(rooms) - 1) * GAP) / 2
        for i, room in enumerate(rooms):
            places[room] = (left + i * (BOX + GAP), MARGIN + row * (HEIGHT + GAP))
    height = 2 * MARGIN + len(floors) * (HEIGHT + GAP) - GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" text-anchor="middle">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#6b7280"/></marker>',
    ]
    row_of = {room: row for row, rooms in enumerate(floors) for room in rooms}
    for a, b in sorted(arrows, key=lambda arrow: (row_of[arrow[0]], arrow)):
        (x1, y1), (x2, y2) = places[a], places[b]
        x1, x2, y1 = x1 + BOX / 2, x2 + BOX / 2, y1 + HEIGHT
        # A long arrow swings out to the side of its end, around the rooms between.
        rows = row_of[b] - row_of[a]
        bend = (
            0
            if rows == 1
            else (70 + 22 * rows) * (1 if x1 + x2 > WIDTH or (x1 == x2 and rows % 2) else -1)
        )
        lines.append(
            f'<path d="M{x1:g} {y1:g}C{x1 + bend:g} {y1 + 22:g} '
            f'{x2 + bend:g} {y2 - 22:g} {x2:g} {y2:g}" '
            'fill="none" stroke="#6b7280" marker-end="url(#head)"/>'
        )
    for room, (x, y) in places.items():
        lines += [
            f'<rect x="{x:g}" y="{y:g}" width="{BOX}" height="{HEIGHT}" rx="5" '
            'fill="#eef4fb" stroke="#2563a8"/>',
            f'<text x="{x + BOX / 2:g}" y="{y + 15:g}" font-size="12" '
            f'font-weight="bold">{room}</text>',
            f'<text x="{x + BOX / 2:g}" y="{y + 28:g}" font-size="9" '
            f'fill="#4b5563">{NOTES[room]}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def main(arguments):
    floors = read_floors()
    rooms = [room for floor in floors[:-1] for room in floor]
    text = draw(floors, without_shortcuts(read_arrows(rooms)))
    if arguments == ["--write"]:
        PICTURE.write_text(text, "utf-8")
    elif arguments:
        sys.exit(__doc__)
    elif not PICTURE.exists() or PICTURE.read_text("utf-8") != text:
        print(f"{PICTURE} is not the drawing of the source; python docs/rooms.py --write draws it")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
