"""Export of a model as an HTML page that works offline in any browser."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import quote

import lenet5c
from lenet5c.datasets import Dataset
from lenet5c.export.html_bundle import PAGE, bundle, read_page
from lenet5c.export.html_model import describe_page
from lenet5c.training import TrainedModel

#: Of the page alone: nothing is loaded, and nothing runs but its own script.
POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
SLOT = re.compile(r"\{\{(\w+)\}\}")


def to_html(
    trained: TrainedModel, name: str = "LeNet-5", *, examples: Dataset | None = None
) -> str:
    """Return a self-contained HTML page on which a user draws and the model answers.

    The page shows the answer while one draws, the values of every layer, and the pixels that speak
    for the answer. It fine-tunes the last layer on drawings that are labeled.

    Parameters
    ----------
    trained : TrainedModel
    name : str, optional
        Name of the model for the page.
    examples : Dataset, optional
        Some images of its training data. The page shows them, and has its answers to them stay
        when the last layer is fine-tuned.

    Raises
    ------
    ExportError
        If a layer has no counterpart outside lenet5c, or `examples` are no images of the model.

    Examples
    --------
    >>> from lenet5c.export import to_html
    >>> from lenet5c.training import open_model
    >>> page = to_html(open_model())
    >>> page[:15], len(page) < 600_000
    ('<!doctype html>', True)
    """
    return build_page(describe_page(trained, name, examples))[0]


def build_page(
    model: Mapping[str, Any],
    entry: str = "main.js",
    folders: Sequence[Traversable] = (PAGE,),
    connect: str = "",
) -> tuple[str, str]:
    """Return the page of a model with this script, and its Content-Security-Policy.

    A slot of index.html, ``{{name}}``, is filled with the file name.html of the first of the
    folders that has it. `connect` is what the page may connect to.
    """
    script = bundle(entry, folders)
    style = "\n".join(
        folder.joinpath("style.css").read_text(encoding="utf-8").strip()
        for folder in reversed(folders)
        if folder.joinpath("style.css").is_file()
    )
    icon = quote(read_page("icon.svg", folders).strip(), safe=" =:/'<>")
    policy = POLICY.format(script=hash_inline(script), style=hash_inline(style))
    policy += f"; connect-src {connect}" if connect else ""
    values = {
        "policy": policy,
        "generator": f"lenet5c {lenet5c.__version__}",
        "title": f"lenet5c: draw {model['subject']}",
        "subject": escape(model["subject"]),
        "icon": escape(f"data:image/svg+xml,{icon}"),
        "style": style,
        "script": script,
        "model": embed_json(model),
    }

    def fill(slot: re.Match[str]) -> str:
        if slot[1] in values:
            return values[slot[1]]
        return read_page(f"{slot[1]}.html", folders).strip()

    return SLOT.sub(fill, read_page("index.html", folders)), policy


def embed_json(value: Any) -> str:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def hash_inline(text: str) -> str:
    """Return the source of a policy that allows an element of this text between line breaks."""
    digest = sha256(f"\n{text}\n".encode()).digest()
    return f"sha256-{b64encode(digest).decode('ascii')}"
