"""Image folders: names and content of files and folders."""

import os
from collections.abc import Iterator
from pathlib import Path

from lenet5c.datasets import image_folder, open_source
from lenet5c.datasets.folder_files import list_folder
from torture.fuzz.support import clear, make_folder
from torture.fuzz.targets import pictures

MAX_LENGTH = 1024
MAX_FILES = 24
DICTIONARY = [
    b"train/",
    b"test/",
    b"val/",
    b".png\n",
    b".PGM\n",
    b"__MACOSX/",
    b"\n->",
    b"Thumbs.db",
]

root = make_folder() / "images"
root.mkdir()
picture = next(pictures.seeds())


def read(data: bytes) -> None:
    """Make the files and links that the lines of the input name, and read the folder."""
    clear(root)
    for line in data.split(b"\n")[:MAX_FILES]:
        make_file(line)
    list_folder(root)
    if data[-1:] == b"\n":  # a share: it starts threads
        image_folder(root, skip_bad=True)
        open_source(str(root))


def make_file(line: bytes) -> None:
    """Make a picture, a bad file where the name ends with ``!``, or a link by NAME->TARGET."""
    name, link, target = line.partition(b"->")
    bad = name.endswith(b"!")
    name = name.removesuffix(b"!").replace(b"\0", b"").lstrip(b"/")
    if not name or b".." in name + target or target.startswith(b"/") or name.count(b"/") > 40:
        return
    path = Path(root, os.fsdecode(name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if link:
            path.symlink_to(os.fsdecode(target))
        else:
            path.write_bytes(b"bad" if bad else picture)
    except (OSError, ValueError):  # no name of a file
        return


def seeds() -> Iterator[bytes]:
    """Yield folders of all layouts, and unusual names."""
    classes = b"a/1.png\na/2.png\na/3.png\nb/1.png\nb/2.png\nb/x.pgm!"
    yield classes
    yield classes + b"\n"
    lines = classes.split(b"\n")
    parts = [b"train/" + line for line in lines] + [b"test/" + line for line in lines]
    yield b"\n".join(parts)
    yield b"\n".join(parts) + b"\n"
    yield b"\n".join([*parts, b"val/a/1.png", b"val/c/1.png"])
    yield "é/1.png\ne\u0301/1.png\n١/1.png\n2/1.png\n10/1.png".encode()
    yield b"a/1.png\na/b->..\nb->a\nc/1.png\nd->d\n.hidden/1.png\n__MACOSX/1.png\nThumbs.db"
    yield b"\xff/1.png\nb/\xff.png\n" + b"9" * 200 + b"/1.png\n"
    yield b"/".join([b"a"] * 40) + b".png\nb/1.png\n"
    yield b"train-images-idx3-ubyte\ntrain-labels-idx1-ubyte\n"
