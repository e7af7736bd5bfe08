"""Files of the page, and bundling of its JavaScript modules."""

import re
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable

PAGE = resources.files("lenet5c.export").joinpath("page")
IMPORT = re.compile(r'^import \{ [\w, ]+ \} from "\./(\w+\.js)";\n', re.MULTILINE)


def read_page(name: str, folders: Sequence[Traversable] = (PAGE,)) -> str:
    """Return a file of the page from the first folder that has it, '' if none has."""
    for folder in folders:
        if (path := folder.joinpath(name)).is_file():
            return path.read_text(encoding="utf-8")
    return ""


def bundle(entry: str, folders: Sequence[Traversable] = (PAGE,)) -> str:
    """Bundle a module and everything it imports as one script.

    A page opened from a file cannot import modules. Modules share one scope, so their top-level
    names must be unique; each import must be on its own line, and exports must be declarations.
    """
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in parts:
            return
        text = read_page(name, folders)
        parts[name] = ""  # reserved, in case of circular imports
        for imported in IMPORT.findall(text):
            add(imported)
        del parts[name]
        text = IMPORT.sub("", text)
        parts[name] = re.sub(r"^export ", "", text, flags=re.MULTILINE).strip()

    add(entry)
    return "\n\n".join(parts.values())
