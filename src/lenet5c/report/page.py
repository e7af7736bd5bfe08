"""Pages of HTML that need no other file: no script, no address, pictures inside.

Each function returns HTML, with its texts escaped.
"""

import base64
from collections.abc import Collection, Sequence
from html import escape

from lenet5c import _files

CSS = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6168; --line: #d9dce0; --page: #fff; --card: #f5f6f8;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a3a9b1; --line: #3a3f46; --page: #16181b; --card: #1f2226; --accent: #6cb8e6; }
  figure .scroll { filter: brightness(.9); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.lead { color: var(--soft); margin-top: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.5rem 0 0; }
.facts div { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.facts dt { color: var(--soft); font-size: .8rem; }
.facts dd { margin: 0; font-size: 1.05rem; font-weight: 600; overflow-wrap: anywhere; }
.facts .first { grid-column: 1 / -1; }
.facts .first dd { font-size: 2rem; line-height: 1.2; color: var(--accent); }
.facts small { display: block; color: var(--soft); font-weight: 400; font-size: .8rem; }
figure { margin: 1rem 0; }
.scroll { overflow-x: auto; }
figure .scroll { background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }
figure img { display: block; margin: 0 auto; max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; max-width: 46rem; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.changed td { font-weight: 600; }
pre { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; font-size: .8rem;
  line-height: 1.45; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 40rem) { figure .scroll { padding: .4rem; } figure img { max-width: 44rem; } }
@media print { body { max-width: none; } figure, table, pre { break-inside: avoid; } }
"""


def page(title: str, *parts: str) -> str:
    """Return a whole document.

    Examples
    --------
    >>> from lenet5c.report.page import page, paragraph
    >>> text = page("a <b>", paragraph("1 < 2"))
    >>> "<title>a &lt;b&gt;</title>" in text, "<p>1 &lt; 2</p>" in text
    (True, True)
    """
    digest = base64.b64encode(bytes.fromhex(_files.digest(CSS))).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Return a value as text for HTML: escaped, and without what is no character."""
    characters = str(value).encode("utf-8", "replace").decode()
    return escape(characters.replace("\0", "\N{REPLACEMENT CHARACTER}"))


def heading(title: str, lead: str = "") -> str:
    """Return the title of a page and a paragraph below it."""
    return f"<h1>{text(title)}</h1>\n" + (f'<p class="lead">{text(lead)}</p>' if lead else "")


def section(title: str, *blocks: str) -> str:
    """Return a heading and its blocks; nothing if all blocks are empty."""
    if not any(blocks):
        return ""
    return "\n".join([f"<section>\n<h2>{text(title)}</h2>", *filter(None, blocks), "</section>"])


def paragraph(words: str) -> str:
    """Return a paragraph."""
    return f"<p>{text(words)}</p>"


def facts(*cards: tuple[str, object, str]) -> str:
    """Return cards of (name, value, note); the first one is large."""
    items = []
    for number, (name, value, note) in enumerate(cards):
        small = f"<small>{text(note)}</small>" if note else ""
        first = "" if number else ' class="first"'
        items.append(f"<div{first}><dt>{text(name)}</dt><dd>{text(value)}{small}</dd></div>")
    return '<dl class="facts">' + "".join(items) + "</dl>"


def picture(png: bytes, caption: str, alternative: str) -> str:
    """Return a PNG file as part of the page; on a phone, a wide one is scrolled sideways."""
    data = base64.b64encode(png).decode()
    # Three pixels of the file on two of the page: sharp on sharp screens.
    width, height = (round(int.from_bytes(png[at : at + 4], "big") / 1.5) for at in (16, 20))
    return (
        f'<figure><div class="scroll" tabindex="0"><img width="{width}" height="{height}" '
        f'alt="{text(alternative)}" src="data:image/png;base64,{data}"></div>\n'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def table(
    heads: Sequence[object],
    rows: Sequence[Sequence[object]],
    numbers: Collection[int] = (),
    marked: Collection[int] = (),
) -> str:
    """Return a table; columns in `numbers` are right-aligned, rows in `marked` stand out."""

    def line(cells: Sequence[object], tag: str, kind: str = "") -> str:
        made = (
            f"<{tag}{' class=n' if i in numbers else ''}>{text(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr{kind}>{''.join(made)}</tr>"

    body = "\n".join(
        line(row, "td", " class=changed" if i in marked else "") for i, row in enumerate(rows)
    )
    head = line(heads, "th")
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead>{head}</thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def preformatted(lines: str, command: bool = False) -> str:
    """Return lines as they are, in a fixed font; a command is wrapped."""
    return f"<pre{' class=command' if command else ''}><code>{text(lines)}</code></pre>"
