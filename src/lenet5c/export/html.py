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

#: Content-Security-Policy: nothing is loaded, and only the page's own script runs.
POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
SLOT = re.compile(r"\{\{(\w+)\}\}")


def to_html(
    trained: TrainedModel, name: str = "LeNet-5", *, examples: Dataset | None = None
) -> str:
    """Return a self-contained HTML page on which to draw digits for the model to classify.

    The page shows the prediction while drawing, the values of every layer, and the pixels that
    support the prediction. It can fine-tune the last layer on labeled drawings.

    Parameters
    ----------
    trained : TrainedModel
    name : str, optional
        Name of the model on the page.
    examples : Dataset, optional
        Some training images, which are shown on the page and used to preserve predictions when the
        last layer is fine-tuned.

    Raises
    ------
    ExportError
        If a layer has no counterpart outside lenet5c, or `examples` do not match the model.

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

    A placeholder ``{{name}}`` in index.html is replaced by the file name.html from the first folder
    that has it. `connect` is the source to which the page may connect.
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
    """Return the policy source that allows an inline element with this text."""
    digest = sha256(f"\n{text}\n".encode()).digest()
    return f"sha256-{b64encode(digest).decode('ascii')}"
