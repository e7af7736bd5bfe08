"""The files of the page, and its JavaScript modules as one."""

import re
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable

PAGE = resources.files("lenet5c.export").joinpath("page")
IMPORT = re.compile(r'^import \{ [\w, ]+ \} from "\./(\w+\.js)";\n', re.MULTILINE)


def read_page(name: str, folders: Sequence[Traversable] = (PAGE,)) -> str:
    """Return a file of the page, from the first of the folders that has it; '' if none has."""
    for folder in folders:
        if (path := folder.joinpath(name)).is_file():
            return path.read_text(encoding="utf-8")
    return ""


def bundle(entry: str, folders: Sequence[Traversable] = (PAGE,)) -> str:
    """Return a module, and all that it imports, as one script in the order of the imports.

    A page that is opened as a file can import no other. Modules share one scope: names at their
    top differ, imports have a line each, and nothing is exported but by its declaration.
    """
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in parts:
            return
        text = read_page(name, folders)
        parts[name] = ""  # its place, should one that it imports import it
        for imported in IMPORT.findall(text):
            add(imported)
        del parts[name]
        text = IMPORT.sub("", text)
        parts[name] = re.sub(r"^export ", "", text, flags=re.MULTILINE).strip()

    add(entry)
    return "\n\n".join(parts.values())
