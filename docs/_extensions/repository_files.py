"""Pages that show files and folders of the repository to which other pages link.

``[net](../examples/numpy_net.py)`` works as it stands where the repository is hosted; in the built
site it leads to a page with the highlighted source, or, of a folder, with a list of its files.
Texts that are pages here in another place (README.md, CONTRIBUTING.md and others) are linked as
such.
"""

import json
import os
from html import escape
from pathlib import Path

from docutils import nodes
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer, TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.osutil import relative_uri

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "project/contributing",
    "SECURITY.md": "project/security",
    "CHANGELOG.md": "project/changes",
}
SKIPPED = {"__pycache__"}


class RepositoryLinks(SphinxPostTransform):
    default_priority = 4  # before MyST resolves what it takes for pages and downloads

    def run(self, **options):
        for node in list(
            self.document.findall(
                lambda node: node.get("reftarget") if isinstance(node, nodes.Element) else 0
            )
        ):
            path = repository_path(self.env.docname, node["reftarget"])
            if path is None:
                continue
            target = PAGES.get(path)
            if target is None:
                target = page_name(path)
                wanted(self.env, path)
            uri = relative_uri(
                self.app.builder.get_target_uri(self.env.docname),
                self.app.builder.get_target_uri(target),
            )
            reference = nodes.reference("", "", internal=True, refuri=uri)
            reference += node.children
            node.replace_self(reference)


def repository_path(docname, target):
    """Return the path in the repository that a page links to, if it exists outside docs."""
    target = target.partition("#")[0]
    folder = Path("docs", docname).parent.as_posix()
    included = docname.startswith("project/")  # a text that stands in the root, and is included
    for base in ([""] if included else []) + [folder]:
        path = os.path.relpath(ROOT / base / target, ROOT).replace(os.sep, "/")
        # MyST takes a text outside docs for a page, and its name without the ending.
        for name in (path, f"{path}.md"):
            if (
                (not name.startswith(("..", "docs/")) or name.endswith(".py"))
                and name != "."
                and (ROOT / name).exists()
            ):
                return name
    return None


def page_name(path):
    return f"files/{path}" if (ROOT / path).is_file() else f"files/{path}/contents"


def wanted(env, path):
    if not hasattr(env, "repository_files"):
        env.repository_files = set()
    env.repository_files.add(path)


def collect_pages(app):
    """All linked files, and the files of all linked folders."""
    todo = sorted(getattr(app.env, "repository_files", ()))
    seen = set()
    while todo:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        if (ROOT / path).is_dir():
            inside = sorted(
                p
                for p in (ROOT / path).iterdir()
                if p.name not in SKIPPED and not p.name.startswith(".")
            )
            inside = [p for p in inside if p.is_dir() or is_text(p)]
            todo += [p.relative_to(ROOT).as_posix() for p in inside]
            body = folder_body(app, path, inside)
        elif path.endswith(".ipynb"):
            body = notebook_body(ROOT / path)
        else:
            body = file_body(ROOT / path)
        yield (
            page_name(path),
            {"title": path, "body": f"<h1>{escape(path)}</h1>{body}"},
            "page.html",
        )


def folder_body(app, path, inside):
    here = app.builder.get_target_uri(page_name(path))
    rows = []
    for each in inside:
        target = app.builder.get_target_uri(page_name(each.relative_to(ROOT).as_posix()))
        name = escape(each.name + ("/" if each.is_dir() else ""))
        rows.append(f'<li><a href="{relative_uri(here, target)}">{name}</a></li>')
    return f"<ul>{''.join(rows)}</ul>"


def file_body(path):
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    return source(path.read_text(encoding="utf-8"), lexer)


def source(text, lexer, kind="source"):
    code = highlight(text, lexer, HtmlFormatter())
    return f'<div class="highlight-{kind} notranslate">{code}</div>'


def notebook_body(path):
    """Return the cells of a notebook, and what is printed below them."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(MarkdownIt().render(text).replace("h1>", "h2>"))
            continue
        parts.append(source(text, PythonLexer(), "python"))
        printed = "".join("".join(output["text"]) for output in cell["outputs"])
        if printed:
            parts.append(source(printed, TextLexer(), "output"))
    return "\n".join(parts)


def is_text(path):
    try:
        path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return False
    return True


def setup(app):
    app.add_post_transform(RepositoryLinks)
    app.connect("html-collect-pages", collect_pages)
    return {"parallel_read_safe": False}
