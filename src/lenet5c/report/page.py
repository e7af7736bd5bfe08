"""Self-contained HTML pages without scripts, with embedded pictures.

Each function returns HTML, with its texts escaped.
"""

import base64
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from lenet5c import _files
from lenet5c._text import to_html

STYLE = Path(__file__).with_name("page.css")


def page(title: str, *parts: str) -> str:
    """Return a complete document.

    Examples
    --------
    >>> from lenet5c.report.page import page, paragraph
    >>> text = page("a <b>", paragraph("1 < 2"))
    >>> "<title>a &lt;b&gt;</title>" in text, "<p>1 &lt; 2</p>" in text
    (True, True)
    """
    css = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(bytes.fromhex(_files.digest(css))).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{to_html(title)}</title>\n<style>{css}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )


def heading(title: str, lead: str = "") -> str:
    """Return the title of a page and a paragraph below it."""
    return f"<h1>{to_html(title)}</h1>\n" + (f'<p class="lead">{to_html(lead)}</p>' if lead else "")


def section(title: str, *blocks: str) -> str:
    """Return a heading and its blocks; nothing if all blocks are empty."""
    if not any(blocks):
        return ""
    return "\n".join([f"<section>\n<h2>{to_html(title)}</h2>", *filter(None, blocks), "</section>"])


def paragraph(words: str) -> str:
    """Return a paragraph."""
    return f"<p>{to_html(words)}</p>"


def facts(*cards: tuple[str, object, str]) -> str:
    """Return cards of (name, value, note); the first one is large."""
    items = []
    for number, (name, value, note) in enumerate(cards):
        small = f"<small>{to_html(note)}</small>" if note else ""
        first = "" if number else ' class="first"'
        items.append(f"<div{first}><dt>{to_html(name)}</dt><dd>{to_html(value)}{small}</dd></div>")
    return '<dl class="facts">' + "".join(items) + "</dl>"


def picture(png: bytes, caption: str, alternative: str) -> str:
    """Return a PNG file as part of the page; on a phone, a wide one is scrolled sideways."""
    data = base64.b64encode(png).decode()
    # Three pixels of the file on two of the page: sharp on sharp screens.
    width, height = (round(int.from_bytes(png[at : at + 4], "big") / 1.5) for at in (16, 20))
    return (
        f'<figure><div class="scroll" tabindex="0"><img width="{width}" height="{height}" '
        f'alt="{to_html(alternative)}" src="data:image/png;base64,{data}"></div>\n'
        f"<figcaption>{to_html(caption)}</figcaption></figure>"
    )


class Link(NamedTuple):
    """A cell of a `table` with a link; the address is escaped for HTML, but not changed."""

    text: str
    address: str


def table(
    headers: Sequence[object],
    rows: Sequence[Sequence[object]],
    numbers: Collection[int] = (),
    marked: Collection[int] = (),
) -> str:
    """Return a table; columns in `numbers` are right-aligned, rows in `marked` are highlighted."""

    def line(cells: Sequence[object], tag: str, kind: str = "") -> str:
        made = (
            f"<{tag}{' class=n' if i in numbers else ''}>{_fill(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr{kind}>{''.join(made)}</tr>"

    body = "\n".join(
        line(row, "td", " class=changed" if i in marked else "") for i, row in enumerate(rows)
    )
    head = line(headers, "th")
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead>{head}</thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _fill(cell: object) -> str:
    if isinstance(cell, Link):
        return f'<a href="{to_html(cell.address)}">{to_html(cell.text)}</a>'
    return to_html(cell)


def preformatted(lines: str, command: bool = False) -> str:
    """Return lines as preformatted text; a command is wrapped."""
    return f"<pre{' class=command' if command else ''}><code>{to_html(lines)}</code></pre>"
